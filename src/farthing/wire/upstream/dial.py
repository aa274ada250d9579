"""Making a connection: several addresses in a staggered race, TLS, and a proxy on the way."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable

from farthing.wire.upstream.connection import Connection
from farthing.wire.upstream.errors import CertificateError, ConnectError
from farthing.wire.upstream.origin import Origin, Proxy
from farthing.wire.upstream.resolve import Address, Resolver
from farthing.wire.upstream.tls import ClientContext
from farthing.wire.upstream.tunnel import Tunnel

#: How long one address may be silent before the next one is tried beside it, seconds (RFC 8305, 5 and 8).
STAGGER_S = 0.25
#: The kernel asks a quiet peer after this many seconds, this often: a model may think for minutes, and
#: load balancers and NAT forget a connection without traffic (AWS after 350 s, Azure after 240 s).
_PROBE_S = 60
_PROBES = 5


class Dialer:
    """Makes connections to one origin. tls: asked for once, at the first TLS connection.

    Loading the machine's certificates takes 10 to 30 ms of CPU, so `tls` is called in a thread.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        resolver: Resolver,
        proxy: Proxy | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        stagger_s: float = STAGGER_S,
    ) -> None:
        self._origin = origin
        self._resolver = resolver
        self._proxy = proxy
        self._make_tls = tls or ClientContext
        self._tls: ssl.SSLContext | None = None
        self._making_tls = asyncio.Lock()
        self._stagger_s = stagger_s

    async def dial(self, on_lost: Callable[[Connection], None]) -> Connection:
        """A fresh connection on which a request can be sent. Raises ConnectError; may be cancelled."""
        loop = asyncio.get_running_loop()
        hop = self._origin if self._proxy is None else self._proxy.origin
        try:
            tls = await self._context(hop)
            sock = await self._race(await self._resolver.addresses(hop.host), hop)
            connection = Connection(loop, on_lost)
            if self._proxy is not None and self._origin.is_tls:
                await self._through(self._proxy, sock, tls, connection)
            else:
                await _attach(lambda: connection, sock, hop, tls)
        except ssl.SSLError as error:
            raise CertificateError("TLS failed") from error
        except OSError as error:
            raise ConnectError(_reason(error)) from error
        return connection

    def remember(self, connection: Connection) -> None:
        """The connection has had its first answer: its TLS session may serve the next one."""
        if isinstance(self._tls, ClientContext) and connection.ssl_object is not None:
            self._tls.remember(connection.ssl_object)

    async def _context(self, hop: Origin) -> ssl.SSLContext | None:
        if not (hop.is_tls or self._origin.is_tls):
            return None
        if self._tls is None:
            async with self._making_tls:  # one context for all, or sessions of one meet another
                if self._tls is None:
                    self._tls = await asyncio.to_thread(self._make_tls)
        return self._tls

    async def _through(
        self, proxy: Proxy, sock: socket.socket, tls: ssl.SSLContext | None, connection: Connection
    ) -> None:
        """CONNECT, then TLS with the origin inside the tunnel."""
        loop = asyncio.get_running_loop()
        tunnel = Tunnel(loop, self._origin.authority, proxy.authorization)
        transport = await _attach(lambda: tunnel, sock, proxy.origin, tls)
        inner: asyncio.BaseTransport | None = None
        try:
            await tunnel.opened()
            assert tls is not None
            inner = await loop.start_tls(
                transport, connection, tls, server_hostname=self._origin.host
            )
            if inner is None:  # asyncio's answer when the connection was lost meanwhile
                raise ConnectError("the proxy closed the connection")
        finally:
            if inner is None:
                transport.abort()
        connection.connection_made(inner)

    async def _race(self, addresses: list[Address], hop: Origin) -> socket.socket:
        """The first of the addresses that connects; the next is tried when one fails or is slow."""
        if len(addresses) == 1:
            return await _connected(addresses[0], hop.port)
        waiting = deque(addresses)
        running: dict[asyncio.Task[socket.socket], Address] = {}
        failure: BaseException = OSError("no address")
        won: socket.socket | None = None
        try:
            while waiting or running:
                if waiting:
                    address = waiting.popleft()
                    running[asyncio.create_task(_connected(address, hop.port))] = address
                done, _ = await asyncio.wait(
                    running,
                    timeout=self._stagger_s if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    if won is None and task.exception() is None:
                        won = task.result()
                        del running[task]
                    elif (error := task.exception()) is not None:
                        self._resolver.demote(hop.host, running.pop(task))
                        failure = error
                if won is not None:
                    for slow in running.values():
                        self._resolver.demote(hop.host, slow)
                    return won
            raise failure
        finally:
            _drop(running)


async def _connected(address: Address, port: int) -> socket.socket:
    family, host = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _prepare(sock)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:  # cancellation as well: the socket is ours alone
        sock.close()
        raise
    return sock


def _reason(error: OSError) -> str:
    # The loops put their own words and the address in place of the system's: "Connect call failed (…)".
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return (error.strerror or type(error).__name__).lower()


def _prepare(sock: socket.socket) -> None:
    # Without it a request in two segments waits for the acknowledgement of the first (Nagle), up to 40 ms.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _PROBE_S), ("TCP_KEEPINTVL", _PROBE_S), ("TCP_KEEPCNT", _PROBES)
    ):  # fmt: skip
        if hasattr(socket, name):  # other systems have other names, and keep their own times
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _attach(
    protocol: Callable[[], asyncio.Protocol],
    sock: socket.socket,
    hop: Origin,
    tls: ssl.SSLContext | None,
) -> asyncio.Transport:
    """The loop's transport over a connected socket, with TLS if the hop wants it."""
    loop = asyncio.get_running_loop()
    try:
        if not hop.is_tls:
            transport, _ = await loop.create_connection(protocol, sock=sock)
        else:
            transport, _ = await loop.create_connection(
                protocol, sock=sock, ssl=tls, server_hostname=hop.host
            )
    except BaseException:  # cancellation as well; a transport that took the socket closes it itself
        sock.close()
        raise
    return transport


def _drop(tasks: Iterable[asyncio.Task[socket.socket]]) -> None:
    """Stop the losers of a race; what they open in the last moment is closed."""
    for task in tasks:
        task.add_done_callback(_close_result)
        task.cancel()


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
