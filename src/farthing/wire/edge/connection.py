"""One client connection: requests out of its bytes, one exchange at a time, answers in order."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, cast

from farthing.wire.edge.answers import CLOSED, CONTINUE, KEPT, KEPT_SAID, refusal
from farthing.wire.edge.exchange import Exchange
from farthing.wire.edge.intake import Intake
from farthing.wire.edge.refusal import ClientGoneError, RefusedError

if TYPE_CHECKING:
    from farthing.wire.edge.server import Edge

_BLANK_LINES = re.compile(rb"(?:\r\n)*")
#: SO_LINGER with zero seconds: closing sends a reset instead of an end.
_RESET = struct.pack("ii", 1, 0)


class Phase(Enum):
    """What the connection waits for; decides what the passing of `deadline` means."""

    FIRST = auto()  # the first byte of the first request
    IDLE = auto()  # the first byte of the next one
    HEAD = auto()  # the rest of a head
    BODY = auto()  # the rest of a body
    ANSWER = auto()  # the handler
    REST = auto()  # the rest of a body that nobody wants
    END = auto()  # the client's end, or the last bytes' way out, before the connection closes


#: Looked up once: an enum's members are found by a slow way, and these are set with each request.
_IDLE, _BODY, _ANSWER = Phase.IDLE, Phase.BODY, Phase.ANSWER


class Connection(asyncio.Protocol):
    """Reads strictly, answers in order, and holds a bounded number of bytes in either direction.

    Has no timer of its own: the edge's sweep calls `expire` when `deadline` has passed, and `stalled` when
    `stall_deadline` has. Both are seconds of the loop's clock.
    """

    __slots__ = (
        "_drain_waiters",
        "_edge",
        "_exchange",
        "_has_ended",
        "_held",
        "_is_reading",
        "_scheme",
        "_transport",
        "address",
        "deadline",
        "is_paused",
        "limits",
        "phase",
        "stall_deadline",
        "write",
    )

    write: Callable[[bytes], None]

    def __init__(self, edge: Edge) -> None:
        self.limits = edge.limits
        self.address: str | None = None
        self.phase = Phase.FIRST
        self.deadline = inf
        self.stall_deadline = inf
        self.is_paused = False
        self._edge = edge
        self._exchange: Exchange | None = None
        self._held = b""  # bytes behind the current request, or a head's beginning
        self._has_ended = False  # the client has shut down its sending side
        self._is_reading = True
        self._drain_waiters: list[asyncio.Future[None]] = []

    # --- told by the transport --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.write = self._transport.write
        address = transport.get_extra_info("peername")
        self.address = address[0] if isinstance(address, tuple) else None
        self._scheme = "https" if transport.get_extra_info("ssl_object") is not None else "http"
        self._transport.set_write_buffer_limits(high=self.limits.high_water)
        peer = transport.get_extra_info("socket")
        if peer is not None:
            # asyncio sets it only on sockets that name their protocol; without it, a small write waits for
            # the acknowledgement of the one before.
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_admitted = self._edge.admit(self)
        self.deadline = self._edge.now + self.limits.head_s
        if not is_admitted:
            self._refuse(RefusedError("Too many connections are open.", status=503))

    def connection_lost(self, exc: Exception | None) -> None:
        self._edge.forget(self)
        self._held = b""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.gone()
        waiters, self._drain_waiters = self._drain_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(ClientGoneError())

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        try:
            if phase is _BODY or phase is Phase.REST:
                self._take_body(data)
            elif phase is _ANSWER or self.is_paused:
                self._hold(data)
            elif phase is not Phase.END:
                self._read_request(self._held, data)
        except RefusedError as refused:
            self._refuse(refused)

    def eof_received(self) -> bool:
        """The client will send no more. True keeps the connection open for an answer under way."""
        exchange = self._exchange
        if exchange is None or self.phase is not _ANSWER or self._scheme == "https":
            return False  # a TLS connection has no half-closed state here
        self._has_ended = True
        exchange.keep_alive = False
        self._expect_life()
        return True

    def pause_writing(self) -> None:
        self.is_paused = True
        self.stall_deadline = self._edge.now + self.limits.stalled_reader_s
        if self._exchange is not None:
            self._exchange.paused()

    def resume_writing(self) -> None:
        self.is_paused = False
        self.stall_deadline = inf
        exchange = self._exchange
        if exchange is not None:
            exchange.resumed()
        if self.is_paused:  # by what the exchange had kept back
            return
        waiters, self._drain_waiters = self._drain_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self.phase is Phase.END:
            self.deadline = self._edge.now + self.limits.linger_s
        elif self.phase is _IDLE and self._held:
            self._read_held()

    # --- told by the exchange ---------------------------------------------------------------------

    def lay_out(self, exchange: Exchange, status: int, lines: bytes) -> bytes:
        """The answer's head, saying whether the connection goes on. lines: its headers."""
        edge = self._edge
        if (
            exchange.keep_alive
            and not edge.is_draining
            and (exchange.intake is None or self._can_discard(exchange.intake, exchange))
        ):
            ending = KEPT if exchange.head.line.minor else KEPT_SAID
        else:
            exchange.keep_alive = False
            ending = CLOSED
        return edge.openings[status] + lines + ending

    def invite_body(self, exchange: Exchange) -> None:
        """Read on; a client that waits to be told so is told."""
        intake = exchange.intake
        if intake is None or intake.is_done:
            return
        self.deadline = self._edge.now + self.limits.body_look_s
        if exchange.expects_continue and not intake.size:
            self.write(CONTINUE)
        self._read_on()

    def finished(self, exchange: Exchange) -> None:
        """The answer is out: the connection goes on, or ends."""
        if exchange is not self._exchange:
            return
        if self.phase is _ANSWER:
            self._exchange = None
            if exchange.keep_alive:
                self._next()
            else:
                self._end(is_clean=True)
        elif exchange.keep_alive:
            assert exchange.intake is not None
            exchange.intake.drop(self.limits.discard)
            self.phase = Phase.REST
            self.deadline = self._edge.now + self.limits.discard_s
            self._read_on()
        else:
            self._exchange = None
            self._end(is_clean=False)

    def abandon(self) -> None:
        """Cut the connection."""
        self._transport.abort()
        if self._exchange is not None:
            self._exchange.gone()

    async def drained(self) -> None:
        """Wait until the transport takes more bytes. Raises ClientGoneError."""
        if not self.is_paused:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._drain_waiters.append(waiter)
        await waiter

    # --- told by the edge -------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """`deadline` has passed."""
        match self.phase:
            case Phase.FIRST | Phase.IDLE:
                self._transport.close()
                self._wait_for_end()
            case Phase.HEAD:
                self._refuse(RefusedError("The request's head did not arrive in time.", status=408))
            case Phase.BODY:
                assert self._exchange is not None and self._exchange.intake is not None
                self.deadline = self._exchange.intake.look(now)
            case Phase.ANSWER:  # set only after the client's end
                self.deadline = inf
                if not self.is_paused:
                    self.abandon()
            case Phase.REST:
                self._exchange = None
                self._end(is_clean=False)
            case Phase.END:
                self._transport.abort()
                self.deadline = inf

    def stalled(self) -> None:
        """The client has taken no bytes for too long."""
        self.stall_deadline = inf
        self.abandon()

    def close_when_idle(self) -> None:
        """The edge drains: close now, or after the answer under way."""
        if self.phase in (Phase.FIRST, Phase.IDLE):
            self._transport.close()
            self._wait_for_end()

    def close(self) -> None:
        """Close once what was written is out."""
        if self.phase is not Phase.END:
            self._transport.close()
            self._wait_for_end()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def unanswered(self, exchange: Exchange) -> None:
        """The handler has returned. An answer that has no end yet gets none: the connection is cut."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        exchange.gone()
        if not exchange.is_started:
            self.write(refusal(self._edge.openings[500], "The request was not answered."))
        elif not exchange.head.line.minor:
            self._set_reset()  # nothing but a reset tells the end of such an answer from its cut
            self._transport.abort()
        self._end(is_clean=self.phase is _ANSWER)

    # --- reading ----------------------------------------------------------------------------------

    def _read_request(self, held: bytes, fresh: bytes) -> None:
        """Start the exchange for the request at the beginning of these bytes, once its head is whole."""
        data = held + fresh if held else fresh
        if data[0] == 0x0D:  # RFC 9112, 2.2: empty lines before a request are passed over
            blank = _BLANK_LINES.match(data)
            assert blank is not None
            data, held, fresh = data[blank.end() :], b"", data[blank.end() :]
        end = data.find(b"\r\n\r\n", max(0, len(held) - 3) if held else 0)
        if end < 0:
            self._wait_for_head(data, held, fresh)
            return
        edge = self._edge
        head = edge.heads.read(data[:end])
        self._held = b""
        length, start = head.length, end + 4
        come = len(data) - start
        if length is not None and come >= length:
            body = data[start : start + length]
            exchange = Exchange(head, self, body, None, self.address, self._scheme)
            if come > length:
                self._hold(data[start + length :])
            self.phase = _ANSWER
            self.deadline = inf
        else:
            intake = Intake(length, self.limits, edge.now)
            exchange = Exchange(head, self, b"", intake, self.address, self._scheme)
            self.phase = _BODY
            self.deadline = edge.now + self.limits.body_look_s
        self._exchange = exchange
        if self.phase is _BODY and come:
            self._take_body(data[start:])
        edge.answer(exchange, self)

    def _wait_for_head(self, data: bytes, held: bytes, fresh: bytes) -> None:
        self._held = data
        if not data:
            return
        self._edge.heads.check_beginning(held, fresh)
        if self.phase is not Phase.HEAD:
            self.phase = Phase.HEAD
            self.deadline = self._edge.now + self.limits.head_s

    def _take_body(self, data: bytes) -> None:
        exchange = self._exchange
        assert exchange is not None and exchange.intake is not None
        intake = exchange.intake
        rest = intake.feed(data)
        if rest:
            self._hold(rest)
        if not intake.is_done:
            if self.phase is Phase.REST and intake.is_overdrawn:
                self._exchange = None
                self._end(is_clean=False)
            elif intake.is_full:
                self._pause_reading()
            return
        if self.phase is Phase.REST:
            self._exchange = None
            self._next()
        else:
            self.phase = _ANSWER
            self.deadline = inf

    def _hold(self, data: bytes) -> None:
        """Keep bytes of later requests for their turn."""
        self._held += data
        if len(self._held) > self.limits.pipelined:
            self._pause_reading()

    def _next(self) -> None:
        """Between requests."""
        if self._has_ended or self._edge.is_draining:
            self._end(is_clean=True)
            return
        self.phase = _IDLE
        self.deadline = self._edge.now + self.limits.idle_s
        if self._held and not self.is_paused:  # a reader that is behind gets no further answers yet
            self._read_held()
        elif not self._is_reading:
            self._read_on()

    def _read_held(self) -> None:
        held, self._held = self._held, b""
        try:
            self._read_request(b"", held)
        except RefusedError as refused:
            self._refuse(refused)
        if len(self._held) <= self.limits.pipelined:
            self._read_on()

    def _pause_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if not self._is_reading and not self._transport.is_closing():
            self._is_reading = True
            self._transport.resume_reading()

    def _can_discard(self, intake: Intake, exchange: Exchange) -> bool:
        """Whether what is left of the body can be read and thrown away, to go on behind it."""
        if intake.is_done:
            return True
        if exchange.expects_continue or intake.is_dropping:
            return False
        return intake.length is None or intake.length - intake.size <= self.limits.discard

    # --- ending -----------------------------------------------------------------------------------

    def _refuse(self, refused: RefusedError) -> None:
        """Answer a request that is none, as far as there is nothing of another answer on its way."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or not exchange.is_started:
            is_head = exchange is not None and exchange.method == "HEAD"
            opening = self._edge.openings[refused.status]
            self.write(refusal(opening, refused.reason, is_head=is_head))
        if exchange is not None:
            exchange.gone()
        self._end(is_clean=False)

    def _end(self, *, is_clean: bool) -> None:
        """Close. is_clean: nothing more is expected from the client, so closing cannot cause a reset."""
        self._held = b""
        transport = self._transport
        if is_clean or self._has_ended or not transport.can_write_eof():
            transport.close()
        elif not transport.is_closing():
            transport.write_eof()
            self._read_on()
        self._wait_for_end()

    def _wait_for_end(self) -> None:
        self.phase = Phase.END
        # What is on its way out has the time of a stalled reader.
        self.deadline = inf if self.is_paused else self._edge.now + self.limits.linger_s

    def _expect_life(self) -> None:
        """The client may be gone for good: only a write that is taken can show that it is not."""
        self.deadline = self._edge.now + self.limits.half_close_s
        exchange = self._exchange
        assert exchange is not None
        transport = self._transport

        def write(data: bytes) -> None:
            # A closed peer answers with a reset, which ends the connection; one that is alive takes it.
            self.deadline = inf
            transport.write(data)

        self.write = write
        exchange.reroute(write)

    def _set_reset(self) -> None:
        peer = self._transport.get_extra_info("socket")
        if peer is not None and peer.fileno() >= 0:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
