"""Estimates token counts from the shape of a text, and bounds them from its size."""

from __future__ import annotations

from farthing.base.tokens.calibration import family_of
from farthing.base.tokens.shape import unescaped, weigh

#: Longer texts are estimated from this many equal slices, so that a large body costs no more than
#: one of 32 kB.
_SLICES = 16
_SLICE_BYTES = 2048
#: Tokens that a vendor's template adds around the text of a call beyond what its JSON writes out.
TEMPLATE_TOKENS = 16
#: The same where the call declares tools: Anthropic adds up to 530 for the instructions (Claude 3 Opus;
#: docs.anthropic.com, "Tool use pricing and tokens", an early copy, read 2026-11-24) and up to 735
#: for one of its own tools (from memory, unverified); three of its own fit in this.
TOOL_TEMPLATE_TOKENS = 3072


def upper_bound_tokens(n_bytes: int, *, has_tools: bool = False) -> int:
    """No fewer than the input tokens of a call whose text has `n_bytes` UTF-8 bytes.

    In a byte-level BPE, and in SentencePiece with byte fallback, each token stands for at least one byte
    of the text; JSON escapes only make the body longer. Added are the vendor's own template tokens.
    """
    return n_bytes + (TOOL_TEMPLATE_TOKENS if has_tools else TEMPLATE_TOKENS)


def estimate_tokens(text: str | bytes, model: str) -> int:
    """About the tokens of the text in the model's tokeniser; `error_share` says how far off on average.

    bytes are taken for a JSON body, and its escapes for the characters they mean. At most one token per
    byte; 0 for nothing. Costs some 50 µs for 2 kB (`benchmarks/tokens.py`) and no more
    than 32 kB do for any size.
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else unescaped(text)
    size = len(data)
    if not size:
        return 0
    weights = family_of(model).weights
    if size <= _SLICES * _SLICE_BYTES:
        estimate = weigh(data, weights)
    else:
        step = (size - _SLICE_BYTES) // (_SLICES - 1)
        slices = [data[i * step : i * step + _SLICE_BYTES] for i in range(_SLICES)]
        estimate = sum(weigh(s, weights) for s in slices) * size / (_SLICES * _SLICE_BYTES)
    return min(size, max(1, round(estimate)))


def error_share(model: str) -> float:
    """The estimator's mean relative error for this model's family (0.03 is 3 %)."""
    return family_of(model).error_share
