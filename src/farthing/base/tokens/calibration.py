"""Weights of the estimator by tokeniser family, fitted by `benchmarks/tokens.py --fit`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """Models that share a tokeniser.

    weights: tokens per occurrence of a pattern of byte classes (`shape.PATTERNS`); the rest weigh nothing.
    error_share: mean relative error; is_measured says whether against the tokeniser itself, or assumed
    from a related one. encoding: the tokeniser's name in tiktoken, None where it has none.
    """

    name: str
    weights: Mapping[bytes, float]
    error_share: float
    is_measured: bool = True
    encoding: str | None = None


_O200K = {
    b"sa": 0.896,
    b"sA": 1.4649,
    b"na": 1.5102,
    b"nA": 0.1851,
    b"pa": 0.7927,
    b"pA": 1.4044,
    b"aA": 0.7776,
    b"0a": 3.1327,
    b"aaa": 0.0409,
    b"aaaaa": 0.1097,
    b"aaaaaaaa": 0.1637,
    b"0": 0.4512,
    b"s0": 2.5516,
    b"p": 0.4594,
    b"pp": 0.0795,
    b"sp": 0.272,
    b"pn": 0.0156,
    b"ps": 0.4078,
    b"ns": 1.3723,
    b"L": 0.5662,
    b"aL": 0.1281,
    b"Y": 0.186,
    b"sY": 0.4817,
    b"R": 0.1892,
    b"sR": 0.4189,
    b"RcRcRcRc": 0.3209,
    b"sI": 0.2332,
    b"IccIccIcc": 1.3159,
    b"P": 1.3587,
    b"K": 0.6571,
    b"H": 0.5569,
    b"HccHcc": 0.4187,
    b"O": 0.5618,
    b"sO": 0.2636,
    b"M": 0.6,
    b"E": 2.0,
}
_CL100K = {
    b"sa": 0.6948,
    b"sA": 1.9404,
    b"na": 1.5588,
    b"pa": 0.9181,
    b"pA": 1.8158,
    b"aA": 0.3256,
    b"0a": 2.9947,
    b"aaa": 0.1588,
    b"aaaaa": 0.0296,
    b"aaaaaaaa": 0.3043,
    b"0": 0.5252,
    b"s0": 1.1774,
    b"p": 0.3597,
    b"pp": 0.162,
    b"sp": 0.1792,
    b"ps": 0.651,
    b"ss": 0.0064,
    b"ns": 1.2325,
    b"L": 0.7952,
    b"aL": 0.6783,
    b"Y": 0.3475,
    b"sY": 0.542,
    b"R": 0.502,
    b"sR": 0.94,
    b"RcRcRcRc": 0.8168,
    b"I": 0.8027,
    b"sI": 0.5823,
    b"IccIccIcc": 1.1779,
    b"P": 1.4128,
    b"K": 0.9891,
    b"H": 0.636,
    b"HccHcc": 0.6394,
    b"O": 1.0124,
    b"sO": 0.0043,
    b"M": 0.6069,
    b"E": 2.5,
}

#: The weights of `E` (emoji) and, for o200k, of `M` are set by hand: the texts hold too few to fit them.
#: error_share: mean of the held-out errors over twelve kinds of text (docs/log/2026-11-24-token-estimates.md).
O200K = Family(name="o200k", weights=_O200K, error_share=0.027, encoding="o200k_base")
CL100K = Family(name="cl100k", weights=_CL100K, error_share=0.027, encoding="cl100k_base")
#: Tokenisers that are not published, or whose ranks are not at hand. Estimated like o200k; the share is an
#: assumption with room, not a measurement.
OTHER = Family(name="other", weights=_O200K, error_share=0.25, is_measured=False)

#: Beginnings of model names, the first that fits wins. By tiktoken's own table (tiktoken/model.py, 0.14).
_PREFIXES: tuple[tuple[str, Family], ...] = (
    ("gpt-4o", O200K),
    ("gpt-4.", O200K),
    ("gpt-5", O200K),
    ("gpt-oss", O200K),
    ("chatgpt-4o", O200K),
    ("o1", O200K),
    ("o3", O200K),
    ("o4", O200K),
    ("gpt-4", CL100K),
    ("gpt-3.5", CL100K),
    ("gpt-35", CL100K),  # Azure's spelling
    ("text-embedding-", CL100K),
)


def family_of(model: str) -> Family:
    """The family of a model's name; a `provider/` before it is not looked at."""
    bare = model.rpartition("/")[2].lower()
    for prefix, family in _PREFIXES:
        if bare.startswith(prefix):
            return family
    return OTHER
