"""Seeded draws: numbers and ids that depend on seed, region and request ordinal only."""

from __future__ import annotations

import math
from hashlib import blake2b
from statistics import NormalDist

_NORMAL = NormalDist()
_LIMIT = 1 << 64


class Draws:
    """A stateless source of repeatable numbers for one request.

    The same seed, scope and label give the same number on every machine, whatever was drawn before;
    so two runs agree request by request even when their tasks interleave differently.
    """

    __slots__ = ("_scope",)

    def __init__(self, seed: int, *scope: object) -> None:
        self._scope = "\x1f".join((str(seed), *map(str, scope)))

    def digest(self, label: str, size: int = 8) -> bytes:
        """`size` bytes (up to 64) for `label`."""
        return blake2b(f"{self._scope}\x1f{label}".encode(), digest_size=size).digest()

    def uniform(self, label: str) -> float:
        """In the open interval (0, 1)."""
        return (int.from_bytes(self.digest(label), "big") + 0.5) / _LIMIT

    def lognormal(self, label: str, *, p50: float, p99: float) -> float:
        """A positive number whose median and 99th percentile are as given; p50 when they are equal."""
        if p50 <= 0 or p99 <= p50:
            return max(0.0, p50)
        sigma = math.log(p99 / p50) / _NORMAL.inv_cdf(0.99)
        return math.exp(math.log(p50) + sigma * _NORMAL.inv_cdf(self.uniform(label)))

    def token(self, label: str, length: int = 24) -> str:
        """Lower-case hexadecimal, for ids."""
        return self.digest(label, 32).hex()[:length]
