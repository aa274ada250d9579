"""One provider's connections: how many at a time, where they lead, and when a request is sent again."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType

from farthing.core.models import Timeouts
from farthing.providers.exchange import (
    DRAIN_S,
    MAX_ANSWER_BYTES,
    MAX_ERROR_BYTES,
    MAX_STREAM_BYTES,
    Exchange,
)
from farthing.wire.upstream.connection import Connection
from farthing.wire.upstream.dial import Dialer
from farthing.wire.upstream.errors import (
    ConnectTimeoutError,
    NoAnswerError,
    SilenceError,
    WireError,
)
from farthing.wire.upstream.origin import Origin, Proxy, proxy_for
from farthing.wire.upstream.pool import IDLE_S, Pool
from farthing.wire.upstream.request import RequestHead
from farthing.wire.upstream.resolve import Resolver

__all__ = [
    "DRAIN_S",
    "MAX_ANSWER_BYTES",
    "MAX_ERROR_BYTES",
    "MAX_STREAM_BYTES",
    "Exchange",
    "RequestHead",
    "Upstream",
]

#: Methods that may be sent twice without harm (RFC 9110, 9.2.2), as far as we use them.
_IDEMPOTENT = frozenset({"GET", "HEAD"})


class Upstream:
    """Connections to one provider. Made lazily in the running loop; `aclose` may be called twice.

    At most `max_connections` exchanges run at a time; more wait, inside their first-byte timeout.
    environ: read for HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; loopback never takes a proxy.
    idle_s: how long an unused connection is kept, seconds; a server's own shorter word counts.
    resolver, tls: the machine's own unless given; `tls` is called once, in a thread.
    """

    def __init__(
        self,
        provider: str,
        *,
        max_connections: int,
        environ: Mapping[str, str],
        idle_s: float = IDLE_S,
        resolver: Resolver | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._provider = provider
        self._max_connections = max_connections
        self._environ = environ
        self._idle_s = idle_s
        self._resolver = resolver or Resolver()
        self._tls = tls
        self._lines: dict[Origin, _Line] = {}
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def start(
        self,
        head: RequestHead,
        extra: bytes,
        body: bytes,
        timeouts: Timeouts,
        deployment: str | None = None,
    ) -> Exchange:
        """Send one request; returns when the answer's status and headers are in, whatever the status.

        extra: more header lines, encoded by `header_lines`, each with its end. The caller must `close` the
        exchange. Raises UpstreamUnreachableError, UpstreamTimeoutError, UpstreamProtocolError.
        """
        loop = asyncio.get_running_loop()
        exchange = Exchange(self._provider, deployment, head.origin.host, timeouts, loop.time())
        if self._busy < self._max_connections:
            self._busy += 1
        else:
            await self._wait_for_slot(exchange)
        connection: Connection | None = None
        try:
            line = self._lines.get(head.origin) or self._open(head.origin)
            lines = head.encoded if line.proxy is None else head.through(line.proxy)
            if body or head.method not in _IDEMPOTENT:
                lines = b"%b%bcontent-length: %d\r\n\r\n" % (lines, extra, len(body))
            else:
                lines = b"%b%b\r\n" % (lines, extra)
            connection = line.pool.take()
            is_fresh = connection is None
            while True:
                if connection is None:
                    connection, is_fresh = await self._dial(exchange, line), True
                await connection.ask(
                    lines,
                    body,
                    since=exchange.began,
                    patience_s=timeouts.first_byte_s,
                    deadline=exchange.deadline,
                )
                if connection.has_head or is_fresh or not _may_repeat(head, connection):
                    break
                connection = None
            exchange.begin(connection, line.closed)
        except BaseException:  # cancellation as well: neither slot nor connection must stay taken
            if connection is not None:
                connection.abort()
            self._free_slot()
            raise
        return exchange

    def exchange(
        self,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str],
        body: bytes = b"",
        timeouts: Timeouts,
        deployment: str | None = None,
    ) -> _Opening:
        """`start` as an async context manager that closes what it opened. For calls that are not many.

        Raises like `start`; BadRequestError for a header that HTTP cannot carry.
        """
        head = RequestHead(method, url, headers)
        return _Opening(self, head, body, timeouts, deployment)

    async def warm(self, url: str, count: int, connect_s: float = Timeouts().connect_s) -> int:
        """Connect ahead of the first calls; how many connections came. Never raises.

        url: any address at the origin. count: how many connections to have open, at most.
        """
        line = self._open(RequestHead("GET", url, {}).origin)
        return await line.pool.warm(min(count, self._max_connections), connect_s)

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        lines, self._lines = list(self._lines.values()), {}
        for line in lines:
            await line.pool.aclose()
        await self._resolver.aclose()

    # --- one request ---

    async def _dial(self, exchange: Exchange, line: _Line) -> Connection:
        timeouts = exchange.timeouts
        now = asyncio.get_running_loop().time()
        until_total = exchange.deadline - now
        left = min(exchange.began + timeouts.first_byte_s - now, until_total)
        try:
            async with asyncio.timeout(min(timeouts.connect_s, left)):
                return await line.pool.dial()
        except TimeoutError:
            failure: WireError = ConnectTimeoutError()
            if left < timeouts.connect_s:
                failure = SilenceError(is_total=left == until_total)
            raise exchange.before_head(failure, was_sent=False) from None
        except WireError as failure:
            raise exchange.before_head(failure, was_sent=False) from failure

    def _open(self, origin: Origin) -> _Line:
        line = self._lines.get(origin)
        if line is None:
            proxy = proxy_for(origin, self._environ)
            dialer = Dialer(origin, resolver=self._resolver, proxy=proxy, tls=self._tls)
            pool = Pool(dialer, max_idle=self._max_connections, idle_s=self._idle_s)
            # Only plain http is forwarded by the proxy itself; TLS goes through a tunnel as if there were none.
            line = _Line(pool, None if origin.is_tls else proxy, self._free_slot)
            self._lines[origin] = line
        return line

    # --- slots ---

    async def _wait_for_slot(self, exchange: Exchange) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        timeouts = exchange.timeouts
        try:
            async with asyncio.timeout(min(timeouts.first_byte_s, timeouts.total_s)):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self._free_slot()  # it was handed over in the very moment of giving up
            else:
                self._waiting.remove(waiter)
            if isinstance(error, TimeoutError):
                raise exchange.no_slot(self._max_connections) from None
            raise

    def _free_slot(self) -> None:
        """Hand the slot to the longest waiting, so that nobody who comes later overtakes it."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._busy -= 1


class _Line:
    """The way to one origin. proxy: the one that requests are addressed to, if any."""

    __slots__ = ("_on_closed", "pool", "proxy")

    def __init__(self, pool: Pool, proxy: Proxy | None, on_closed: Callable[[], None]) -> None:
        self.pool = pool
        self.proxy = proxy
        self._on_closed = on_closed

    def closed(self, connection: Connection) -> None:
        """An exchange is over."""
        self.pool.give(connection)
        self._on_closed()


class _Opening:
    """`async with` around one exchange."""

    __slots__ = ("_arguments", "_exchange", "_upstream")

    def __init__(
        self,
        upstream: Upstream,
        head: RequestHead,
        body: bytes,
        timeouts: Timeouts,
        deployment: str | None,
    ) -> None:
        self._upstream = upstream
        self._arguments = (head, b"", body, timeouts, deployment)

    async def __aenter__(self) -> Exchange:
        self._exchange = await self._upstream.start(*self._arguments)
        return self._exchange

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exchange.close()


def _may_repeat(head: RequestHead, connection: Connection) -> bool:
    """Whether a request that an idle connection swallowed is sent again (docs/adr, 14).

    Only when not one byte of an answer came, and either the method may be repeated without harm or the
    kernel shows that the server had not received one byte of it: a model call that ran is paid for.
    """
    failure = connection.failure
    if not isinstance(failure, NoAnswerError) or connection.head:
        return False
    return failure.is_unsent or head.method in _IDEMPOTENT
