"""The connections to one origin: the last one given back is the first one taken."""

from __future__ import annotations

import asyncio

from farthing.wire.upstream.connection import Connection
from farthing.wire.upstream.dial import Dialer
from farthing.wire.upstream.errors import ConnectError, WireError

#: Idle connections are closed after this, seconds: below the 60 to 75 s of common load balancers, so that
#: it is we who close and no request meets a connection that the server has just given up.
IDLE_S = 45.0
#: A connection is used no longer than this, seconds, so that load spreads to servers that came later.
MAX_AGE_S = 600.0
#: A server that says how long it keeps connections is believed, less the time a request may be under way.
_HINT_MARGIN_S = 1.0


class Pool:
    """LIFO, so that a lull lets the surplus of a rush grow old and close, and the warm ones stay warm.

    max_idle: how many are kept while nobody uses them. It does not bound those in use: its owner does.
    """

    def __init__(
        self,
        dialer: Dialer,
        *,
        max_idle: int,
        idle_s: float = IDLE_S,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        self._dialer = dialer
        self._max_idle = max_idle
        self._idle_s = idle_s
        self._max_age_s = max_age_s
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._is_closed = False
        self._emptied = asyncio.Event()

    @property
    def open_now(self) -> int:
        """Connections that exist, idle or in use."""
        return len(self._open)

    @property
    def idle_now(self) -> int:
        return len(self._idle)

    def take(self) -> Connection | None:
        """An idle connection that nobody has closed as far as is known; None when there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def dial(self) -> Connection:
        """A fresh connection. Raises ConnectError; the time it may take is the caller's to bound."""
        connection = await self._dialer.dial(self._lost)
        if connection.is_lost:  # nobody would be told any more
            raise ConnectError("the connection was closed at once")
        self._open.add(connection)
        if self._is_closed:
            connection.abort()
            raise ConnectError("it is being closed")
        return connection

    def give(self, connection: Connection) -> None:
        """Take back what `take` or `dial` gave: kept when its answer is over and all agree, else closed."""
        if connection.uses == 1:
            connection.keep_alive_s = keep_alive_s(connection.lower)
            self._dialer.remember(connection)
        if (
            self._is_closed
            or len(self._idle) >= self._max_idle
            or not connection.rest(self._idle_s, self._max_age_s)
        ):
            connection.abort()
        else:
            self._idle.append(connection)

    async def warm(self, count: int, connect_s: float) -> int:
        """Dial until `count` connections are open, within `connect_s` seconds; how many came. Never raises."""
        missing = min(count, self._max_idle) - len(self._open)
        tasks = [asyncio.create_task(self._one_more(connect_s)) for _ in range(missing)]
        return sum(await asyncio.gather(*tasks))

    async def _one_more(self, connect_s: float) -> bool:
        try:
            async with asyncio.timeout(connect_s):
                connection = await self.dial()
        except (WireError, TimeoutError):
            return False  # the first call will meet the same failure, and tell it
        if self._is_closed or not connection.rest(self._idle_s, self._max_age_s):
            connection.abort()
            return False
        self._idle.append(connection)
        return True

    async def aclose(self) -> None:
        """Abort every connection, also those in use, and wait until they are gone. Idempotent."""
        self._is_closed = True
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()
        if self._open:
            await self._emptied.wait()

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not connection.is_asked and connection in self._idle:
            self._idle.remove(connection)
        if self._is_closed and not self._open:
            self._emptied.set()


def keep_alive_s(lower: bytes) -> float:
    """How long an idle connection may be used, by the server's own `Keep-Alive: timeout=`; else endless.

    lower: an answer's head in lower case. (RFC 2068, 19.7.1.1; nginx, Apache and Node send it.)
    """
    at = lower.find(b"\r\nkeep-alive:")
    if at < 0:
        return float("inf")
    line = lower[at + 13 : lower.index(b"\r", at + 13)]
    for part in line.split(b","):
        name, _, value = part.strip().partition(b"=")
        if name == b"timeout" and value.isdigit():
            return max(0.0, float(value[:9]) - _HINT_MARGIN_S)
    return float("inf")
