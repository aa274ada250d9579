"""Sealed thoughts carry the name of who sealed them, so that they return to that vendor only."""

from __future__ import annotations

_GOOGLE = "google:"


def seal(data: str) -> str:
    """Google's thought signature as it travels inside core words and through other vendors' clients."""
    return _GOOGLE + data


def is_sealed(value: str) -> bool:
    """Whether a signature or sealed thought is marked as another vendor's (today: Google's)."""
    return value.startswith(_GOOGLE)


def unsealed(value: str | None) -> str | None:
    """Google's own thought signature, or None when the value was sealed by someone else."""
    return value.removeprefix(_GOOGLE) if value is not None and value.startswith(_GOOGLE) else None
