"""What the tests of the connections share: both event loops, servers on loopback, a transport of memory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from farthing.core.models import Timeouts
from farthing.providers.connection import RequestHead, Upstream
from farthing.providers.exchange import Exchange

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TIMES = Timeouts(connect_s=2.0, first_byte_s=2.0, between_bytes_s=2.0, total_s=5.0)

_LOOPS = pytest.mark.parametrize("loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def on_each_loop(test: Callable[..., Awaitable[None]]) -> Any:
    """The test runs under asyncio's own loop and under uvloop, and leaves neither task nor transport."""

    @_LOOPS
    def run(loop: Callable[..., None]) -> None:
        loop(_alone(test))

    run.__name__ = test.__name__
    return run


async def _alone(test: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(10):
        await test()
    for _ in range(3):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in left if "serving" not in repr(task) and "handle" not in repr(task)]


@asynccontextmanager
async def upstream(**more: Any) -> AsyncIterator[Upstream]:
    """Connections that are all gone at the end."""
    made = Upstream("acme", **{"max_connections": 8, "environ": {}, **more})
    try:
        yield made
    finally:
        await made.aclose()


async def ask(
    via: Upstream, url: str, *, method: str = "POST", body: bytes = b"{}", times: Timeouts = TIMES
) -> Exchange:
    return await via.start(RequestHead(method, url, {}), b"", body, times)


async def answered(via: Upstream, url: str, **more: Any) -> bytes:
    """One whole exchange."""
    exchange = await ask(via, url, **more)
    try:
        return await exchange.body()
    finally:
        exchange.close()


def open_now(via: Upstream) -> int:
    return sum(line.pool.open_now for line in via._lines.values())


class Listener:
    """A listening socket that the test answers by hand, step by step."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, backlog: int = 16) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setblocking(False)
        self.socket.bind((host, port))
        self.socket.listen(backlog)
        self.port = self.socket.getsockname()[1]
        self.url = f"http://{host}:{self.port}/v1"
        self._peers: list[socket.socket] = []

    async def accept(self) -> socket.socket:
        peer, _ = await asyncio.get_running_loop().sock_accept(self.socket)
        peer.setblocking(False)
        self._peers.append(peer)
        return peer

    async def hear(self, peer: socket.socket) -> bytes:
        return await asyncio.get_running_loop().sock_recv(peer, 1 << 20)

    async def say(self, peer: socket.socket, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(peer, data)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self.socket, *self._peers):
            each.close()


class MemoryTransport(asyncio.Transport):
    """Counts what a connection asks of its transport."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_reading = True  # type: ignore[assignment]
        self.is_gone = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def writelines(self, list_of_data: Any) -> None:
        self.written += b"".join(list_of_data)

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False  # type: ignore[assignment]

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True  # type: ignore[assignment]

    def is_closing(self) -> bool:
        return self.is_gone

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.is_gone = True
