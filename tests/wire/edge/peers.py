"""An edge on a loopback port, and clients that speak raw bytes to it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import msgspec

from farthing.wire.edge.exchange import Exchange
from farthing.wire.edge.limits import Limits
from farthing.wire.edge.server import Edge

GET = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"


def post(body: bytes, *headers: str, path: str = "/echo") -> bytes:
    """A POST with a stated length."""
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Answer(msgspec.Struct):
    """An answer as its bytes say. headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Peer:
    """A client. `answer` reads one answer; `rest` what comes until the connection's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> Answer:
        """Status and headers; the body stays unread."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return Answer(int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}, b"")

    async def answer(self, *, to_head: bool = False) -> Answer:
        answer = await self.head()
        if to_head or answer.status in (100, 204):
            return answer
        if answer.headers.get("transfer-encoding") == "chunked":
            answer.body = b"".join([chunk async for chunk in self.chunks()])
        elif "content-length" in answer.headers:
            answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
        else:
            answer.body = await self.reader.read()
        return answer

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of a body up to its end. Raises IncompleteReadError when it is cut."""
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            chunk = await self.reader.readexactly(size + 2)
            if not size:
                return
            yield chunk[:-2]

    async def ask(self, request: bytes) -> Answer:
        await self.send(request)
        return await self.answer()

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.read()

    def half_close(self) -> None:
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Leave without a word: the other side sees a reset."""
        peer = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Served(msgspec.Struct):
    """A running edge. `connect` makes a client that is closed with it."""

    edge: Edge
    port: int
    peers: list[Peer]

    async def connect(self, *, receive_buffer: int | None = None) -> Peer:
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.port))
        except OSError:
            client.close()
            raise
        limit = 2**16 if receive_buffer is None else receive_buffer
        reader, writer = await asyncio.open_connection(sock=client, limit=limit)
        peer = Peer(reader, writer)
        self.peers.append(peer)
        return peer

    async def ask(self, request: bytes) -> Answer:
        """One request on a connection of its own."""
        peer = await self.connect()
        try:
            return await peer.ask(request)
        finally:
            peer.close()


@asynccontextmanager
async def edge_of(
    handle: Callable[[Exchange], Awaitable[None]], **limits: float
) -> AsyncIterator[Served]:
    """`async with edge_of(echo, idle_s=0.1) as served:` — an edge with these limits."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    edge = Edge(handle, limits=Limits(**limits))  # type: ignore[arg-type]
    await edge.listen(listener)
    served = Served(edge, listener.getsockname()[1], [])
    try:
        yield served
    finally:
        for peer in served.peers:
            peer.writer.transport.abort()
        await edge.close(2)


async def echo(exchange: Exchange) -> None:
    """What was asked, as lines, then the body."""
    body = await exchange.body(1)
    await exchange.send(200, f"{exchange.method} {exchange.path}\n".encode() + body)


async def until(is_so: Callable[[], object]) -> None:
    """Wait for what must become true within seconds."""
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0.002)


def splits(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Both parts of `data` for every place to cut it."""
    for at in range(1, len(data)):
        yield data[:at], data[at:]
