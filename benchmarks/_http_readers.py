"""Three readers of HTTP/1.1 that say which requests they see in the same bytes: ours, h11, nginx."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which
from typing import Any, TypeVar

import h11
import msgspec

from benchmarks._harness import free_port
from farthing.wire.edge.connection import Connection, Phase
from farthing.wire.edge.exchange import Exchange
from farthing.wire.edge.head import HeadReader, split_target
from farthing.wire.edge.limits import Limits
from farthing.wire.edge.server import Edge

T = TypeVar("T")

_STATUS = re.compile(rb"HTTP/1\.1 (\d+) ")


class Message(msgspec.Struct, frozen=True):
    """A request whose end was seen. path: "" where a reader does not tell it as it came."""

    method: str
    path: str
    body: bytes


class Seen(msgspec.Struct, frozen=True):
    """What a reader made of a connection's bytes.

    is_refused: it stopped because of their form. is_closed: it stopped because the client had asked it to.
    """

    messages: tuple[Message, ...]
    is_refused: bool = False
    is_closed: bool = False


# --- ours ----------------------------------------------------------------------------------------


class _Wire:
    """A transport that keeps nothing but what was written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def set_write_buffer_limits(self, high: int) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class _Desk(Edge):
    """An edge that leaves the answering to whoever feeds its connection."""

    def __init__(self) -> None:
        super().__init__(_nobody)
        self.heads = _HEADS
        self.waiting: list[Exchange] = []

    def admit(self, connection: Connection) -> bool:
        return True

    def answer(self, exchange: Exchange, connection: Connection) -> None:
        self.waiting.append(exchange)


#: One for all cases, so that remembered lines are met as well.
_HEADS = HeadReader(Limits())


def ours(pieces: Sequence[bytes]) -> Seen:
    """What the edge's own connection sees, fed piece by piece."""
    desk, wire = _Desk(), _Wire()
    connection = Connection(desk)
    connection.connection_made(wire)  # type: ignore[arg-type]
    messages: list[Message] = []
    for piece in pieces:
        connection.data_received(piece)
        while desk.waiting and connection.phase is Phase.ANSWER:
            exchange = desk.waiting.pop()
            body = _at_once(exchange.body(1))
            messages.append(Message(exchange.method, exchange.path, body))
            _at_once(exchange.send(299, b""))
    # A request's answer has the status 299; any other is a refusal.
    statuses = _STATUS.findall(wire.written)
    is_refused = any(status[:1] in b"45" for status in statuses)
    is_closed = not is_refused and b"\r\nconnection: close\r\n" in wire.written
    return Seen(tuple(messages), is_refused, is_closed)


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has no reason to wait."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("It waited.")


async def _nobody(exchange: Exchange) -> None:
    raise AssertionError("The desk answers.")


# --- h11 -----------------------------------------------------------------------------------------


def h11s(pieces: Sequence[bytes]) -> Seen:
    """What h11 sees."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    messages: list[Message] = []
    request: h11.Request | None = None
    body = b""
    try:
        for piece in pieces:
            reader.receive_data(piece)
            while True:
                event = reader.next_event()
                if event in (h11.NEED_DATA, h11.PAUSED):
                    break
                if isinstance(event, h11.Request):
                    request, body = event, b""
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    assert request is not None
                    messages.append(_of_h11(request, body))
                    if request.http_version == b"1.0":
                        return Seen(tuple(messages), is_closed=True)  # h11 never keeps these
                    reader.send(h11.Response(status_code=299, headers=[("content-length", "0")]))
                    reader.send(h11.EndOfMessage())
                    if reader.our_state is not h11.DONE:
                        return Seen(tuple(messages))
                    reader.start_next_cycle()
                else:
                    return Seen(tuple(messages))
    except h11.RemoteProtocolError:
        return Seen(tuple(messages), is_refused=True)
    return Seen(tuple(messages))


def _of_h11(request: h11.Request, body: bytes) -> Message:
    method = request.method.decode("ascii")
    try:
        path = split_target(method, request.target.decode("ascii")).path
    except Exception:  # a form that we refuse; the path cannot be compared
        path = ""
    return Message(method, path, body)


# --- nginx ---------------------------------------------------------------------------------------

_CONF = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_max_body_size 0; lingering_close off; keepalive_requests 100;
  large_client_header_buffers 8 64k; client_header_timeout 2s; client_body_timeout 2s;
  upstream echo {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      proxy_pass http://echo; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Case $remote_port; proxy_ignore_client_abort on;
    }}
  }}
}}
"""


class Nginx:
    """nginx before an upstream that notes the requests it is sent, by the port of their client."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._noted: dict[int, list[Message]] = {}

    def note(self, client: int, message: Message) -> None:
        self._noted.setdefault(client, []).append(message)

    async def see(self, data: bytes) -> Seen:
        """What nginx sees in `data`, sent at once on a connection of its own and followed by its end."""
        client = socket.socket()
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(client, ("127.0.0.1", self._port))
            key = client.getsockname()[1]
            self._noted.pop(key, None)
            answered, is_cut = b"", False
            try:
                await loop.sock_sendall(client, data)
                client.shutdown(socket.SHUT_WR)
                while got := await loop.sock_recv(client, 65536):
                    answered += got
            except OSError:
                is_cut = True  # refused before all of it was read; the answer may be lost
            messages = tuple(self._noted.pop(key, ()))
            is_refused = is_cut or any(each[:1] in b"45" for each in _STATUS.findall(answered))
            return Seen(messages, is_refused)
        finally:
            # A reset leaves no port in TIME_WAIT; there would not be enough of them.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()


@asynccontextmanager
async def nginx() -> AsyncIterator[Nginx | None]:
    """A running nginx, None where there is none."""
    program = which("nginx") or which("nginx", path="/usr/sbin")
    if program is None:
        yield None
        return
    port = free_port()
    reader = Nginx(port)

    async def upstream(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        # nginx writes its requests anew, always in the same form.
        try:
            while True:
                head = await source.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
                body = await source.readexactly(int(fields.get("content-length", 0)))
                reader.note(int(fields["x-case"]), Message(first.split(" ")[0], "", body))
                sink.write(b"HTTP/1.1 299 Seen\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            sink.close()

    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder) / "nginx.conf"
        conf.write_text(
            _CONF.format(folder=folder, port=port, upstream=server.sockets[0].getsockname()[1])
        )
        process = subprocess.Popen([program, "-c", str(conf), "-p", folder])
        try:
            async with asyncio.timeout(10):
                while True:
                    try:
                        (await asyncio.open_connection("127.0.0.1", port))[1].close()
                        break
                    except OSError:
                        await asyncio.sleep(0.05)
            yield reader
        finally:
            process.terminate()
            process.wait()
            server.close()
