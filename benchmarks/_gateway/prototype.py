"""A bare proxy: what an HTTP relay costs in Python when it does nothing else.

`asyncio.Protocol`, httptools, uvloop, pooled raw connections upstream. No key, no limit, no account, no
time-out, no retry: a lower bound to measure a gateway against, not a gateway.

    python prototype.py PORT UPSTREAM_PORT
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import cast

import httptools
import uvloop


class Client(asyncio.Protocol):
    """One client connection. Requests are served in order; one is under way at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpRequestParser(self)
        self._head = bytearray()
        self._body: list[bytes] = []
        self._waiting: deque[bytes] = deque()
        self._is_busy = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_url(self, url: bytes) -> None:
        self._head = bytearray(self._parser.get_method() + b" " + url + b" HTTP/1.1\r\n")
        self._body = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in {b"connection", b"content-length", b"transfer-encoding"}:
            self._head += name + b": " + value + b"\r\n"

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._body)
        self._head += b"Content-Length: %d\r\n\r\n" % len(body)
        self._waiting.append(bytes(self._head) + body)
        if not self._is_busy:
            self.next()

    def next(self) -> None:
        """Send the next request that waits, if there is one."""
        self._is_busy = bool(self._waiting)
        if self._is_busy:
            self._pool.send(self._waiting.popleft(), self)


class Upstream(asyncio.Protocol):
    """One upstream connection: its bytes go to the client as they are; the parser finds the end."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._client: Client | None = None
        self._parser: httptools.HttpResponseParser
        self._is_done = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def send(self, request: bytes, client: Client) -> None:
        """Send one request whose answer belongs to `client`."""
        self._client = client
        self._parser = httptools.HttpResponseParser(self)
        self._is_done = False
        self.transport.write(request)

    def on_message_complete(self) -> None:
        self._is_done = True

    def data_received(self, data: bytes) -> None:
        client = self._client
        if client is None:
            self.transport.close()
            return
        client.transport.write(data)
        self._parser.feed_data(data)
        if self._is_done:
            self._client = None
            self._pool.idle.append(self)
            client.next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._pool.idle:
            self._pool.idle.remove(self)
        if self._client is not None:
            self._client.transport.close()


class Pool:
    """Idle upstream connections, the last used first."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.idle: list[Upstream] = []
        self._opening: set[asyncio.Task[None]] = set()

    def send(self, request: bytes, client: Client) -> None:
        """Send `request` on an idle connection, or on a new one."""
        if self.idle:
            self.idle.pop().send(request, client)
            return
        task = asyncio.get_running_loop().create_task(self._open(request, client))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, request: bytes, client: Client) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, upstream = await loop.create_connection(
                lambda: Upstream(self), "127.0.0.1", self._port
            )
        except OSError:
            client.transport.close()
            return
        upstream.send(request, client)


async def serve(port: int, upstream: int) -> None:
    """Serve on `port` of loopback until the process is ended."""
    pool = Pool(upstream)
    server = await asyncio.get_running_loop().create_server(
        lambda: Client(pool), "127.0.0.1", port, backlog=4096
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
