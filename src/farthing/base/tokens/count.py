"""Token counts for people and for near limits: exact where tiktoken's ranks are here, else estimated."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from farthing.base.tokens.calibration import family_of
from farthing.base.tokens.estimate import error_share, estimate_tokens


class _Ranks(NamedTuple):
    address: str
    sha256: str


#: Where tiktoken's rank files come from, which also names them in its cache (SHA-1 of the address), and
#: their digests (tiktoken_ext/openai_public.py, 0.14). They are looked for, never fetched.
_HOST = "https://openaipublic.blob.core.windows.net/encodings"
_RANKS = {
    "o200k_base": _Ranks(
        f"{_HOST}/o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": _Ranks(
        f"{_HOST}/cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}


class TokenCount(msgspec.Struct, frozen=True, kw_only=True):
    """A count and how far to trust it. error_share: mean relative error, 0.0 when exact."""

    tokens: int
    is_exact: bool
    error_share: float


def count_tokens(text: str, model: str) -> TokenCount:
    """The tokens of `text` in the model's tokeniser. Never opens a network connection.

    The first exact count of a process loads the ranks, about 0.7 s: off the event loop use
    `count_tokens_in_thread`. Special tokens in the text are counted as plain text.
    """
    encode = _encoder(family_of(model).encoding, rank_folder())
    if encode is None:
        estimate = estimate_tokens(text, model)
        return TokenCount(tokens=estimate, is_exact=False, error_share=error_share(model))
    return TokenCount(tokens=encode(text), is_exact=True, error_share=0.0)


async def count_tokens_in_thread(text: str, model: str) -> TokenCount:
    """`count_tokens` without holding up the event loop."""
    return await asyncio.to_thread(count_tokens, text, model)


def rank_folder() -> Path | None:
    """The folder in which tiktoken keeps rank files, as it chooses it; None when that is turned off."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            return Path(os.environ[variable]) if os.environ[variable] else None
    return Path(tempfile.gettempdir()) / "data-gym-cache"


@cache
def _encoder(encoding: str | None, folder: Path | None) -> Callable[[str], int] | None:
    """Counts with the encoding, or None when its ranks are not on this machine.

    A missing file is remembered as well: ranks put there later are seen by the next process.
    """
    if encoding is None or folder is None:
        return None
    ranks = _RANKS[encoding]
    name = hashlib.sha1(ranks.address.encode(), usedforsecurity=False).hexdigest()
    try:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except OSError:
        return None
    # tiktoken answers a damaged file by fetching another one, so a damaged file must not reach it.
    if digest != ranks.sha256:
        return None
    import tiktoken

    encoder = tiktoken.get_encoding(encoding)
    return lambda text: len(encoder.encode_ordinary(text))
