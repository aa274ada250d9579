"""A body that was not all there when its head was read: taken in with bounds on size, time and pace."""

from __future__ import annotations

import asyncio

from farthing.wire.edge.chunks import ChunkReader
from farthing.wire.edge.limits import Limits
from farthing.wire.edge.refusal import ClientGoneError


class TooLongError(Exception):
    """The body is larger than asked for. size: bytes seen so far, or stated."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class TooSlowError(Exception):
    """The body did not arrive in time, or comes in too slowly to do so."""


class Intake:
    """The body's bytes until it is complete. One reader at a time.

    length: as stated by the head, None for chunks. size: bytes of the body that came in so far.
    is_done: the body is complete, whether or not anybody wanted it.
    """

    def __init__(self, length: int | None, limits: Limits, began: float) -> None:
        self.length = length
        self.size = 0
        self.is_done = False
        self.is_dropping = False
        self._limits = limits
        self._began = began
        self._pieces: list[bytes] = []
        self._chunks = ChunkReader(limits) if length is None else None
        self._wanted: int | None = None
        self._budget = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_wanted(self) -> bool:
        """Somebody waits for it, so its pace matters."""
        return self._waiter is not None

    @property
    def is_full(self) -> bool:
        """Enough is here until somebody asks."""
        return self._waiter is None and not self.is_dropping and self.size > self._limits.read_ahead

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body; returns what lies behind its end. Raises RefusedError."""
        fresh: list[bytes] = []
        rest = self._cut(data, fresh)
        came = sum(map(len, fresh))
        self.size += came
        if self.is_dropping:
            self._budget -= came
        else:
            self._pieces += fresh
        too_much = self._wanted is not None and self.size > self._wanted
        if self.is_done or too_much or (self.is_dropping and self._budget < 0):
            self._wake()
        return rest

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises TooLongError at the first byte over `limit`, TooSlowError, ClientGoneError."""
        self._wanted = limit
        if not self.is_done and self.size <= limit:
            await self._wait()
        self._wanted = None
        if self.size > limit:
            self._pieces.clear()
            raise TooLongError(self.size)
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def dropped(self, budget: int) -> None:
        """Throw away the rest: until the body ends, `budget` bytes were seen, or the time is over."""
        self.drop(budget)
        if self.is_done or budget <= 0:
            return
        try:
            await self._wait()
        except TooSlowError:
            return

    def drop(self, budget: int) -> None:
        """Keep nothing of what comes from now on."""
        self._pieces.clear()
        self.is_dropping = True
        self._budget = budget

    @property
    def is_overdrawn(self) -> bool:
        """More was thrown away than was granted."""
        return self.is_dropping and self._budget < 0

    def look(self, now: float) -> float:
        """Fail the reader of a body that comes too slowly; else, when to look again. now: seconds."""
        limits = self._limits
        elapsed = now - self._began
        if elapsed >= limits.body_s or self.size < limits.body_rate * elapsed or self.is_dropping:
            self.fail(TooSlowError())
        return min(now + limits.body_look_s, self._began + limits.body_s)

    def gone(self) -> None:
        """The client has left."""
        self._pieces.clear()
        self.fail(ClientGoneError())

    def fail(self, error: Exception) -> None:
        """Wake the reader with an error."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def _cut(self, data: bytes, fresh: list[bytes]) -> bytes:
        if self._chunks is not None:
            rest = self._chunks.feed(data, fresh)
            self.is_done = self._chunks.is_done
            return rest
        assert self.length is not None
        left = self.length - self.size
        self.is_done = len(data) >= left
        if len(data) <= left:
            fresh.append(data)
            return b""
        fresh.append(data[:left])
        return data[left:]

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
