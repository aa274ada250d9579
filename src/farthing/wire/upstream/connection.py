"""One HTTP/1.1 connection to a server: a protocol that carries one exchange at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from farthing.wire.upstream.errors import (
    BrokenAnswerError,
    NoAnswerError,
    NotHttpError,
    SilenceError,
    TooLargeError,
)
from farthing.wire.upstream.unread import is_unacknowledged

#: Largest head of an answer with the interim (1xx) ones before it, bytes; vendors' are below 4 KiB.
MAX_HEAD_BYTES = 64 * 1024
#: Longest line of a head, bytes; nginx and others refuse to send more than 8 KiB.
MAX_LINE_BYTES = 16 * 1024
#: Most lines of a head. Vendors send 15 to 40.
MAX_LINES = 256
#: Above this many unread bytes the connection stops reading until its reader has caught up.
MAX_UNREAD_BYTES = 256 * 1024
#: Up to this size a body is joined to its head: one copy is cheaper than a second buffer for the kernel.
_JOINED_BYTES = 64 * 1024
#: uvloop's clock has steps of a millisecond, so a timer may fire that much before its time, seconds.
_TIMER_SLACK_S = 0.002
#: A head up to this size cannot be absurd, bytes; its lines are not counted.
_SMALL_HEAD_BYTES = 4096
_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """Idle, then asked (`ask`), then its answer is read, then given back to the pool or aborted.

    The future of `ask` is done when `status` and `head` are there or `failure` says why not; what came of
    the body by then is parsed already. The body is taken by `read` or `relay`, never by two at a time.

    Borders of the answer are found by llhttp, which refuses folded lines, bare LF, doubled or signed
    lengths and a length beside `transfer-encoding`; `_check_head` adds what it lets pass. llhttp is given
    no header callbacks: `head` keeps the bytes and they are looked into when somebody asks.

    Time: one timer at most, set again only when it fires too early or a nearer limit comes. Nobody waits
    longer than `patience_s` without a byte, nor beyond `deadline` (the loop's clock).
    """

    __slots__ = (
        "_asked_bytes", "_buffered", "_deadline", "_feed", "_idle_until", "_interim", "_is_full",
        "_is_held", "_is_spoiled", "_limit", "_loop", "_on_lost", "_parser", "_passed",
        "_pieces", "_since", "_sink", "_timer", "_timer_at", "_transport", "_waiter",
        "_was_stopped", "born_at", "failure", "has_head", "head", "is_asked", "is_complete",
        "is_kept", "is_lost", "keep_alive_s", "lower", "patience_s", "status", "uses",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[Connection], None]
    ) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._parser = HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self._transport: asyncio.Transport | None = None
        self._pieces: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._idle_until = inf
        #: Exchanges so far.
        self.uses = 0
        self.born_at = loop.time()
        #: What the server says about keeping an idle connection, seconds; None until the first answer.
        self.keep_alive_s: float | None = None
        self.is_lost = self.is_asked = self._is_spoiled = False
        self._clear(0.0, 0.0, 0.0)

    def _clear(self, since: float, patience_s: float, deadline: float) -> None:
        self._since = since
        self.patience_s = patience_s
        self._deadline = deadline
        self.status = self._interim = self._buffered = self._passed = self._limit = 0
        self.head = self.lower = b""
        self.has_head = self.is_complete = self.is_kept = False
        self._is_full = self._is_held = self._was_stopped = False
        self.failure: Exception | None = None
        self._sink: Callable[[bytes], bool] | None = None

    # --- asking ---

    def ask(
        self, head: bytes, body: bytes, *, since: float, patience_s: float, deadline: float
    ) -> asyncio.Future[None]:
        """Send one request. The future is done when the answer's head is in, or `failure` is set.

        head: all lines with the empty one. since: the moment from which `patience_s` counts.
        Whoever stops waiting must `abort`.
        """
        assert self._transport is not None
        self._clear(since, patience_s, deadline)
        self.is_asked = True
        self.uses += 1
        self._asked_bytes = len(head) + len(body)
        if len(body) <= _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        return self._wait()

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent on it."""
        return not (
            self.is_lost or self.is_asked or self._transport is None or self._transport.is_closing()
        )

    @property
    def is_reusable(self) -> bool:
        """Whether the exchange is over on the wire and the server keeps the connection."""
        assert self._transport is not None
        return (
            self.is_complete
            and self.is_kept
            and not self._is_spoiled
            and not self._transport.is_closing()
            and self._transport.get_write_buffer_size() == 0  # it may answer before it has read all
        )

    @property
    def ssl_object(self) -> Any:
        """The `ssl.SSLObject`, None without TLS."""
        return self._transport and self._transport.get_extra_info("ssl_object")

    def now(self) -> float:
        """The loop's clock, seconds."""
        return self._loop.time()

    def rest(self, until: float) -> None:
        """The exchange is over: be idle, and close at `until` (the loop's clock) if still idle then."""
        self.is_asked = self.has_head = False
        self.head = self.lower = b""
        self._pieces.clear()
        if self._is_full or self._is_held:
            self._resume_reading()
        self._idle_until = until
        self._arm(until)

    def abort(self) -> None:
        """Drop the connection at once: the server notices, and nothing more is read."""
        if self._transport is not None and not self.is_lost:
            self._transport.abort()

    # --- reading ---

    async def read(self) -> bytes:
        """All that has come of the body and was not read; waits for some. Empty at its true end only.

        Raises SilenceError, BrokenAnswerError, NotHttpError, after what came before the failure was read.
        """
        while not self._pieces:
            if self.failure is not None:
                raise self.failure
            if self.is_complete:
                return b""
            await self._wait_on()
        return self.taken()

    def taken(self) -> bytes:
        """What has come of the body and was not read; empty when nothing has. Does not wait."""
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._emptied()
        return data

    async def relay(self, sink: Callable[[bytes], bool], limit: int) -> bool:
        """Give every piece to `sink` as it arrives until it returns False; then return True.

        False: the body is over. After True, `read` or `relay` go on where the sink stopped. The sink runs
        in the event loop's reading callback: it must not block, and what it raises is raised here.
        limit: bytes, over all relays of this exchange. Raises TooLargeError and what `read` raises.
        """
        self._limit = limit
        while self._pieces:
            piece = self._pieces.popleft()
            if not self._pieces:
                self._emptied()
            self._count(piece)
            if not sink(piece):
                return True
        if self.failure is None and not self.is_complete:
            self._sink, self._was_stopped = sink, False
            try:
                await self._wait_on()
            finally:
                self._sink = None
            if self._was_stopped:
                return True
        if self.failure is not None:
            raise self.failure
        return False

    def pause(self) -> None:
        """Read no more from the network until `resume`; silence is not counted meanwhile."""
        if not self._is_held:
            self._is_held = True
            if not self._is_full:
                self._stop_reading()

    def resume(self) -> None:
        """Read again."""
        if self._is_held:
            self._is_held = False
            self._since = self._loop.time()
            if not self._is_full:
                self._resume_reading()
            if self._waiter is not None:
                self._arm(self._due())

    # --- the protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do everything that asyncio's do, but do not inherit from them.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.has_head:
            self._since = self._loop.time()
        elif not self.is_asked:
            self.abort()  # nobody asked for this: what follows could pass for the next answer
            return
        else:
            self.head = self.head + data if self.head else data
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade):
            self._not_http()
            return
        if not self.has_head and len(self.head) > MAX_HEAD_BYTES:
            self._not_http()

    def eof_received(self) -> None:
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ended(is_clean=exc is None)
        self._on_lost(self)

    def _ended(self, *, is_clean: bool = True) -> None:
        """The server sends no more (or, not clean, the connection broke)."""
        if not self.is_asked or self.is_complete or self.failure is not None:
            return
        if not self.has_head:
            # Of an answer that has begun, the request was certainly seen.
            is_unsent = (
                is_clean and not self.head and is_unacknowledged(self._transport, self._asked_bytes)
            )
            self._fail(NoAnswerError(is_unsent=is_unsent))
        elif is_clean and self._is_open_ended():
            self._complete()
        else:
            self._fail(BrokenAnswerError("The connection ended inside the body."))

    def _is_open_ended(self) -> bool:
        """Whether the body lasts until the connection ends (RFC 9112, 6.3, rule 8)."""
        return (
            b"\r\ncontent-length:" not in self.lower and b"\r\ntransfer-encoding:" not in self.lower
        )

    # --- called by the parser ---

    def on_message_begin(self) -> None:
        if self.is_complete:  # a second answer to one request
            self._is_spoiled = True

    def on_headers_complete(self) -> None:
        if self._is_spoiled:
            return
        self.status = status = self._parser.get_status_code()
        if status < 200:
            if status in {100, 102, 103}:
                return
            raise NotHttpError("The answer switches protocols, or has no status.")
        self._check_head()
        self.is_kept = self._parser.should_keep_alive()
        self.has_head = True
        self._wake()

    def on_body(self, piece: bytes) -> None:
        if self._sink is not None:
            self._push(piece)
            return
        if self.is_complete:  # a second answer's; see `on_message_begin`
            return
        self._pieces.append(piece)
        self._buffered += len(piece)
        if self._buffered > MAX_UNREAD_BYTES and not self._is_full:
            self._is_full = True
            if not self._is_held:
                self._stop_reading()
        if self._waiter is not None:
            self._wake()

    def on_message_complete(self) -> None:
        if self._is_spoiled:
            return
        if self.has_head:
            self._complete()
        else:
            self._interim += 1

    # --- private ---

    def _check_head(self) -> None:
        """Cut the head out of what came, and refuse what llhttp lets pass."""
        head = self.head
        start = 0
        for _ in range(self._interim):
            start = head.index(_END, start) + 4
        end = head.index(_END, start) + 2
        self.head = head = head[start:end]
        if head[:7] != b"HTTP/1.":
            raise NotHttpError("The answer's head is not HTTP/1.x.")
        if end > _SMALL_HEAD_BYTES:
            if end > MAX_HEAD_BYTES:
                raise NotHttpError("The answer's head is too large.")
            lines = head.split(b"\r\n")
            if len(lines) > MAX_LINES or max(map(len, lines)) > MAX_LINE_BYTES:
                raise NotHttpError("The answer's head has too many lines or too long a one.")
        self.lower = lower = head.lower()
        # One search for both codings, because most answers have neither.
        if b"-encoding:" in lower:
            at = lower.find(b"\r\ntransfer-encoding:")
            if at >= 0 and (
                lower[at + 20 : lower.index(b"\r", at + 20)].strip() != b"chunked"
                or lower.count(b"\r\ntransfer-encoding:") != 1
            ):
                raise NotHttpError("The answer's transfer coding is not chunked.")

    def _push(self, piece: bytes) -> None:
        try:
            self._count(piece)
            assert self._sink is not None
            goes_on = self._sink(piece)
        except Exception as error:  # border: whatever the sink raises belongs to who awaits `relay`
            self._fail(error)
            return
        if not goes_on:
            self._sink, self._was_stopped = None, True
            self._wake()

    def _count(self, piece: bytes) -> None:
        self._passed += len(piece)
        if self._passed > self._limit:
            raise TooLargeError(self._limit)

    def _complete(self) -> None:
        self.is_complete = True
        self._sink = None
        self._wake()

    def _not_http(self) -> None:
        """The parser choked. Its own message quotes bytes, so it goes no further."""
        self._is_spoiled = True
        if not self.is_complete:
            what = "The body's framing is broken." if self.has_head else "The answer is not HTTP."
            self._fail(BrokenAnswerError(what) if self.has_head else NotHttpError(what))

    def _fail(self, failure: Exception) -> None:
        if self.failure is None:
            self.failure = failure
        self._sink = None
        self._wake()
        self.abort()

    def _emptied(self) -> None:
        self._buffered = 0
        if self._is_full:
            self._is_full = False
            if not self._is_held:
                self._resume_reading()

    def _stop_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _wait_on(self) -> asyncio.Future[None]:
        self._since = self._loop.time()
        return self._wait()

    def _wait(self) -> asyncio.Future[None]:
        self._waiter = waiter = self._loop.create_future()
        # Nearly always a timer is set that fires sooner: it was set for an exchange before this one.
        if self._timer_at > self._since + self.patience_s or self._timer_at > self._deadline:
            self._arm(self._due())
        return waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        # A cancelled one belongs to a task that is leaving already.
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- time ---

    def _due(self) -> float:
        """When what is waited for now has taken too long."""
        if not self.is_asked:
            return self._idle_until
        if self._waiter is None:
            return inf
        if self._is_held:
            return self._deadline
        return min(self._since + self.patience_s, self._deadline)

    def _arm(self, due: float) -> None:
        """See to it that `_on_timer` runs at `due` or before."""
        if due >= self._timer_at or self.is_lost:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, inf
        due = self._due()
        if due > self._loop.time() + _TIMER_SLACK_S:
            if due < inf:
                self._arm(due)
        elif self.is_asked:
            self._fail(SilenceError(is_total=due == self._deadline))
        else:
            self.abort()
