"""The engine behind real sockets: a port per region, a control port, and every way to misbehave."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import cast
from urllib.parse import parse_qsl, unquote

import httptools

from farthing.base.clock import Clock, SystemClock
from farthing.core.errors import ConfigError
from farthing.sim.control import Control
from farthing.sim.engine import Inbound, Region
from farthing.sim.exchange import Exchange
from farthing.sim.invoice import Invoice
from farthing.sim.scenario import Scenario
from farthing.sim.script import Script, Step

#: Bodies above this are refused, bytes.
MAX_BODY_BYTES = 64 * 1024 * 1024
#: How often scheduled dead ports are opened and closed, seconds.
_WATCH_S = 0.05
#: Real seconds between the last byte before a reset and the reset, so that the byte is read first.
_LINGER_S = 0.005
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}

Handler = Callable[[Inbound], Exchange]


class Simulator:
    """All regions of a scenario on loopback ports.

        async with Simulator(scenario) as sim:
            sim.url("eastus")      # http://127.0.0.1:PORT

    clock: waits and quotas run on it. Raises ConfigError when a port is taken.
    """

    def __init__(
        self, scenario: Scenario, *, clock: Clock | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.scenario = scenario
        self.clock = clock or SystemClock()
        self.host = host
        self.invoice = Invoice()
        self.regions = {
            name: Region(name, scenario, self.clock, self.invoice) for name in scenario.regions
        }
        self.control = Control(self)
        self._listeners: dict[str, _Listener] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Simulator:
        async with AsyncExitStack() as stack:
            for name, region in self.regions.items():
                await self._listen(stack, name, region.receive, region.table.port)
            await self._listen(stack, "", self.control.receive, self.scenario.control_port)
            watch = asyncio.create_task(self._watch())
            stack.push_async_callback(_stop, watch)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def url(self, region: str) -> str:
        """The region's address, without a path."""
        return f"http://{self.host}:{self._listeners[region].port}"

    @property
    def control_url(self) -> str:
        """The control port's address."""
        return self.url("")

    async def set_alive(self, region: str, is_alive: bool) -> None:
        """Kill or revive a region: its port is really closed, its connections are reset."""
        self.regions[region].is_alive = is_alive
        await self._apply(region)

    async def _listen(self, stack: AsyncExitStack, name: str, handler: Handler, port: int) -> None:
        listener = _Listener(self.host, port, handler, self.clock)
        await listener.open()
        stack.push_async_callback(listener.close)
        self._listeners[name] = listener

    async def _watch(self) -> None:
        while True:
            for name in self.regions:
                await self._apply(name)
            await asyncio.sleep(_WATCH_S)

    async def _apply(self, name: str) -> None:
        region, listener = self.regions[name], self._listeners[name]
        if region.is_alive and not region.scheduled("refused"):
            await listener.open()
        else:
            await listener.close()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Listener:
    """A port that can be closed and opened again under the same number."""

    def __init__(self, host: str, port: int, handler: Handler, clock: Clock) -> None:
        self.port = port
        self._host = host
        self._handler = handler
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Listen. Does nothing when it listens already. Raises ConfigError when the port is taken."""
        async with self._lock:
            if self._server is not None:
                return
            loop = asyncio.get_running_loop()
            try:
                self._server = await loop.create_server(
                    self._connect, self._host, self.port, reuse_address=True, backlog=1024
                )
            except OSError as error:
                raise ConfigError(
                    f"Port {self.port} on {self._host} cannot be opened: {error.strerror}.",
                    hint="Another program may use it; choose another port, or 0 for any.",
                ) from error
            self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and reset every connection. Idempotent."""
        async with self._lock:
            server, self._server = self._server, None
            if server is None:
                return
            server.close()
            tasks = [task for c in self._connections if (task := c.kill()) is not None]
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()

    def _connect(self) -> _Connection:
        return _Connection(self._handler, self._clock, self._connections)


class _Connection(asyncio.Protocol):
    """One client connection: parses requests, plays scripts one after the other."""

    def __init__(self, handler: Handler, clock: Clock, siblings: set[_Connection]) -> None:
        self._handler = handler
        self._clock = clock
        self._siblings = siblings
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: asyncio.Queue[tuple[Inbound, bool]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.set_write_buffer_limits(high=0)
        self._siblings.add(self)
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # an upgrade offer (h2c) is ignored; the request itself is complete
        except httptools.HttpParserError:
            self._transport.write(
                b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._siblings.discard(self)
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def kill(self) -> asyncio.Task[None] | None:
        """Reset the connection. The task to wait for, if any."""
        self._reset()
        return self._task

    # --- httptools callbacks ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if (
            self._headers.get("expect", "").lower() == "100-continue"
            and self._transport is not None
        ):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_BODY_BYTES:
            self._reset()

    def on_message_complete(self) -> None:
        url = httptools.parse_url(self._url)
        inbound = Inbound(
            method=self._parser.get_method().decode("ascii"),
            path=unquote((url.path or b"/").decode("latin-1")),
            query=dict(parse_qsl((url.query or b"").decode("latin-1"), keep_blank_values=True)),
            headers=self._headers,
            body=bytes(self._body),
        )
        self._queue.put_nowait((inbound, self._parser.should_keep_alive()))

    # --- playing ----------------------------------------------------------------------------------

    async def _serve(self) -> None:
        while self._transport is not None:
            inbound, keep_alive = await self._queue.get()
            exchange = self._handler(inbound)
            is_reusable = await self._play(exchange, keep_alive)
            if not (is_reusable and keep_alive):
                self._transport.close()
                return

    async def _play(self, exchange: Exchange, keep_alive: bool) -> bool:
        """Play the script; settle before the client can see the end. Whether the connection goes on."""
        script = exchange.script
        tokens = 0
        has_head = False
        try:
            await self._clock.sleep(script.head_wait_s)
            if script.before != "send":
                return await self._act(script.before)
            if script.is_stream or any(step.wait_s for step in script.steps):
                self._write(_head(script, keep_alive))
                has_head = True
            last = max((i for i, s in enumerate(script.steps) if s.data), default=0)
            for index, step in enumerate(script.steps):
                await self._clock.sleep(step.wait_s)
                tokens += step.tokens
                if index == last:
                    exchange.settle(tokens=None if exchange.bills_all else tokens)
                head = b"" if has_head else _head(script, keep_alive)
                has_head = True
                await self._send(step, script, head)
                if step.act != "send":
                    return await self._act(step.act)
            if not has_head:
                self._write(_head(script, keep_alive))
            if script.is_stream:
                self._write(b"0\r\n\r\n")
            return True
        finally:
            # Reached with nothing settled only when the client left (the task was cancelled).
            exchange.settle(
                tokens=tokens if script.is_stream else exchange.generated(), is_aborted=True
            )

    async def _send(self, step: Step, script: Script, head: bytes) -> None:
        if not step.pause_s:
            self._write(head + (_chunk(step.data) if script.is_stream else step.data))
            await self._writable.wait()
            return
        self._write(head)
        for offset in range(len(step.data)):
            byte = step.data[offset : offset + 1]
            self._write(_chunk(byte) if script.is_stream else byte)
            await self._clock.sleep(step.pause_s)

    async def _act(self, act: str) -> bool:
        if act == "reset":
            # Let what was written leave first; a reset would discard it.
            await self._writable.wait()
            await asyncio.sleep(_LINGER_S)
            self._reset()
        elif act == "hold":
            await asyncio.Event().wait()
        return False

    def _write(self, data: bytes) -> None:
        if self._transport is not None and data and not self._transport.is_closing():
            self._transport.write(data)

    def _reset(self) -> None:
        if self._transport is None:
            return
        connection = self._transport.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            # SO_LINGER with zero seconds: close sends RST instead of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _head(script: Script, keep_alive: bool) -> bytes:
    reason = _REASONS.get(script.status, "Simulated")
    lines = [f"HTTP/1.1 {script.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in script.headers]
    if script.is_stream:
        lines.append("transfer-encoding: chunked")
    else:
        size = len(script.body) if script.length is None else script.length
        lines.append(f"content-length: {size}")
    lines.append("connection: keep-alive" if keep_alive else "connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
