"""Estimates token counts from the shape of a text, and bounds them from its size."""

from __future__ import annotations


def upper_bound_tokens(n_bytes: int) -> int:
    """No fewer than the tokens of a text of `n_bytes` UTF-8 bytes, in any byte-level BPE."""
    return n_bytes


def estimate_tokens(text: str | bytes, model: str) -> int:
    """Roughly the tokens of the text in the model's tokeniser."""
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8"))
    return -(-size // 4)
