"""The edge itself: connections of one listening socket, their tasks, one sweep for all deadlines."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable

from farthing.base.clock import Clock, SystemClock
from farthing.base.telemetry.logs import describe_exception
from farthing.wire.edge.answers import Openings
from farthing.wire.edge.connection import Connection
from farthing.wire.edge.exchange import Exchange
from farthing.wire.edge.head import HeadReader
from farthing.wire.edge.limits import Limits
from farthing.wire.edge.refusal import ClientGoneError

_log = logging.getLogger("farthing.wire")

#: Answers one exchange, or leaves it unfinished, which cuts the connection.
Handler = Callable[[Exchange], Awaitable[None]]


class Edge:
    """Serves `handle` on sockets: `listen`, then `drain`, then `close`.

    now: the loop's time at the last sweep; cheap, and exact enough for deadlines. is_draining: every answer
    is its connection's last.
    """

    def __init__(
        self, handle: Handler, *, limits: Limits | None = None, clock: Clock | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.heads = HeadReader(self.limits)
        self.openings = Openings()
        self.now = 0.0
        self.is_draining = False
        self._handle = handle
        self._clock = clock or SystemClock()
        self._connections: set[Connection] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._per_address: dict[str | None, int] = {}
        self._tasks: dict[Exchange, asyncio.Task[None]] = {}
        self._servers: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    @property
    def active(self) -> int:
        """Handlers at work."""
        return len(self._tasks)

    async def listen(self, listener: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Answer on a bound socket."""
        loop = self._loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(self),
            sock=listener,
            ssl=tls,
            ssl_handshake_timeout=self.limits.head_s if tls is not None else None,
        )
        self._servers.append(server)

    async def drain(self) -> None:
        """Refuse new connections, close idle ones, let answers under way be their connections' last."""
        self.is_draining = True
        # Connections that the kernel has completed already are taken in, not reset.
        await asyncio.sleep(0)
        self._stop_listening()
        for connection in list(self._connections):
            connection.close_when_idle()

    async def hand_over(self) -> None:
        """Leave new connections to another process on the same port; who is connected here is still answered.

        Each answer is its connection's last. Returns when nobody is connected any more, or after
        `Limits.hand_over_s`: until then a client may send what it connected for.
        """
        self.is_draining = True
        await asyncio.sleep(0)
        self._stop_listening()
        try:
            async with asyncio.timeout(self.limits.hand_over_s):
                await self._is_empty.wait()
        except TimeoutError:
            pass  # `drain` closes those that say nothing

    async def close(self, within_s: float) -> None:
        """Cancel the handlers, close the connections; what is left after `within_s` seconds is cut."""
        await self.drain()
        tasks = set(self._tasks.values())
        for task in tasks:
            task.cancel()
        try:
            async with asyncio.timeout(within_s):
                if tasks:
                    await asyncio.wait(tasks)
                for connection in list(self._connections):
                    connection.close()
                await self._is_empty.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- told by connections ----------------------------------------------------------------------

    def admit(self, connection: Connection) -> bool:
        """Count a new connection in; False when there are too many. It is swept in either case."""
        if not self._connections:
            self._is_empty.clear()
            if self._timer is None:
                self._tick()
        self._connections.add(connection)
        count = self._per_address.get(connection.address, 0) + 1
        self._per_address[connection.address] = count
        limits = self.limits
        return len(self._connections) <= limits.connections and count <= (
            limits.connections_per_address
        )

    def forget(self, connection: Connection) -> None:
        """The connection is lost."""
        self._connections.discard(connection)
        if not self._connections:
            self._is_empty.set()
        left = self._per_address[connection.address] - 1
        if left:
            self._per_address[connection.address] = left
        else:
            del self._per_address[connection.address]

    def answer(self, exchange: Exchange, connection: Connection) -> None:
        """Start the handler."""
        assert self._loop is not None
        task = self._loop.create_task(self._run(exchange, connection))
        exchange.task = self._tasks[exchange] = task

    async def _run(self, exchange: Exchange, connection: Connection) -> None:
        try:
            await self._handle(exchange)
        except (asyncio.CancelledError, ClientGoneError):
            pass  # by `close`, or there is nobody to answer; the connection is cut below
        # Border: request handler. The handler answers for its own faults; this one escaped it.
        except Exception as error:
            _log.error("A request's handler failed.\n%s", describe_exception(error))
        finally:
            del self._tasks[exchange]
            exchange.task = None
            if not exchange.is_finished:
                connection.unanswered(exchange)

    # --- the sweep --------------------------------------------------------------------------------

    def _tick(self) -> None:
        assert self._loop is not None
        self.now = self._loop.time()
        self.openings.tell(self._clock.now())
        self._timer = self._loop.call_later(self.limits.sweep_s, self._sweep)

    def _sweep(self) -> None:
        """Look at every deadline. Stops when there is no connection; the next one starts it again."""
        self._timer = None
        if not self._connections:
            return
        self._tick()
        now = self.now
        late = [each for each in self._connections if each.deadline < now]
        stalled = [each for each in self._connections if each.stall_deadline < now]
        for connection in late:
            connection.expire(now)
        for connection in stalled:
            connection.stalled()

    def _stop_listening(self) -> None:
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
