"""The only source of time, randomness and identifiers, so that tests own all three."""

from __future__ import annotations

import asyncio
import heapq
import os
import random
import sys
import time
from typing import Protocol

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
#: Two digits at a time: every call needs an id.
_PAIRS = tuple(high + low for high in _CROCKFORD for low in _CROCKFORD)
_SHIFTS = tuple(range(120, -10, -10))
#: 80 bits of an id are random, five in each digit.
_RANDOM_DIGITS = 16
#: Random digits that are drawn at once, for ids; secrets never come from them.
_POOL_DIGITS = 32 * _RANDOM_DIGITS
_DIGIT_OF_BYTE = bytes(ord(_CROCKFORD[byte & 31]) for byte in range(256))
#: The random digits of the ids to come.
_drawn: list[str] = []
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_drawn.clear)  # a fork must not repeat its parent's


class Clock(Protocol):
    """Time, randomness and ids. `now` is unix seconds; `monotonic` never goes back; both are floats."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def random(self) -> float: ...

    def token_bytes(self, count: int) -> bytes: ...

    def new_id(self, prefix: str) -> str: ...


class SystemClock:
    """The machine's own clock and entropy.

    now: unix seconds. monotonic: seconds from an arbitrary start; for durations. random: uniform in
    [0, 1); for jitter and weights, never for secrets. They are the system's own functions: each call asks
    for them again and again.
    """

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.random = random.Random(os.urandom(16)).random
        self._span = -1
        self._prefix = ""

    async def sleep(self, seconds: float) -> None:
        """Suspend the task."""
        await asyncio.sleep(max(0.0, seconds))

    def token_bytes(self, count: int) -> bytes:
        """Cryptographically strong bytes."""
        return os.urandom(count)

    def new_id(self, prefix: str) -> str:
        """`prefix_` and 26 characters that sort by time of creation (the layout of ULID)."""
        moment = int(time.time() * 1000)
        if moment >> 10 != self._span:  # all digits of the time but the last two
            self._prefix = _digits(moment << 80)[: -_RANDOM_DIGITS - 2]
            self._span = moment >> 10
        try:
            random_digits = _drawn.pop()
        except IndexError:
            random_digits = _draw()
        return f"{prefix}_{self._prefix}{_PAIRS[moment & 1023]}{random_digits}"


class FakeClock:
    """A clock that moves only when told, with seeded randomness. Sleepers wake in order of their time.

    `await clock.advance(s)` moves it and lets every sleeper that is due run before it returns.
    """

    def __init__(self, *, start: float = 1_800_000_000.0, seed: int = 0) -> None:
        self._now = start
        self._monotonic = 0.0
        self._rng = random.Random(seed)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._count += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, self._count, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, waking sleepers one after the other at their own moments."""
        target = self._monotonic + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, future = heapq.heappop(self._sleepers)
            self._now += due - self._monotonic
            self._monotonic = due
            if not future.done():
                future.set_result(None)
            await self._settle()
        self._now += target - self._monotonic
        self._monotonic = target

    def random(self) -> float:
        return self._rng.random()

    def token_bytes(self, count: int) -> bytes:
        return self._rng.randbytes(count)

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{ulid(self._now, self.token_bytes(10))}"

    async def _settle(self) -> None:
        # Tasks woken by one event may wake others; a handful of turns lets such chains run out.
        for _ in range(20):
            await asyncio.sleep(0)


def ulid(unix_seconds: float, entropy: bytes) -> str:
    """48 bits of milliseconds and 80 bits of entropy in Crockford's base 32, lower case."""
    return _digits((int(unix_seconds * 1000) << 80) | int.from_bytes(entropy[:10], "big"))


def _digits(number: int) -> str:
    """128 bits as 26 digits."""
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])


def _draw() -> str:
    """The random digits of an id, and those of some that follow."""
    digits = os.urandom(_POOL_DIGITS).translate(_DIGIT_OF_BYTE).decode("ascii")
    starts = range(_RANDOM_DIGITS, _POOL_DIGITS, _RANDOM_DIGITS)
    _drawn.extend([digits[start : start + _RANDOM_DIGITS] for start in starts])
    return digits[:_RANDOM_DIGITS]
