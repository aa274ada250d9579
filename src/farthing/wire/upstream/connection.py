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
from farthing.wire.upstream.head import MAX_HEAD_BYTES, check_coding, cut_head, is_open_ended
from farthing.wire.upstream.patience import Patience
from farthing.wire.upstream.unread import is_unacknowledged

#: Above this many unread bytes the connection stops reading until its reader has caught up.
MAX_UNREAD_BYTES = 256 * 1024
#: Up to this size a body is joined to its head: one copy is cheaper than a second buffer for the kernel.
_JOINED_BYTES = 64 * 1024


class Connection(Patience, asyncio.Protocol):
    """Idle, then asked (`ask`), then its answer is read, then given back to the pool or aborted.

    The future of `ask` is done when `status` and `head` are there or `failure` says why not; what came of
    the body by then is parsed already. The body is taken by `read` or `relay`, never by two at a time.

    Borders of the answer are found by llhttp, which refuses folded lines, bare LF, doubled or signed
    lengths and a length beside `transfer-encoding`; `head` adds what it lets pass. llhttp is given no
    header callbacks: `head` and `lower` keep the bytes, which are looked into when somebody asks.
    """

    __slots__ = (
        "_asked_bytes", "_buffered", "_feed", "_gathered", "_interim", "_is_full", "_is_spoiled", "_limit",
        "_on_lost", "_parser", "_passed", "_pieces", "_sink", "_transport", "_was_stopped",
        "born_at", "failure", "has_head", "head", "is_complete", "is_kept", "is_lost",
        "keep_alive_s", "lower", "status", "uses",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[Connection], None]
    ) -> None:
        super().__init__(loop)
        self._on_lost = on_lost
        self._parser = HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self._transport: asyncio.Transport | None = None
        self._pieces: deque[bytes] = deque()
        self._gathered: list[bytes] = []
        #: Exchanges so far.
        self.uses = 0
        self.born_at = loop.time()
        #: How long the server says that it keeps an idle connection, seconds.
        self.keep_alive_s = inf
        self.is_lost = self._is_spoiled = False
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
    def ssl_object(self) -> Any:
        """The `ssl.SSLObject`, None without TLS."""
        return self._transport and self._transport.get_extra_info("ssl_object")

    def rest(self, idle_s: float, max_age_s: float) -> bool:
        """Be idle, if the exchange is over on the wire and all agree to go on; closes itself after a while.

        idle_s: how long to stay when nobody asks, unless the server says less. max_age_s: since the
        connection was made. False: it is still busy, spoiled, not kept or too old, and must be aborted.
        """
        now = self._loop.time()
        transport = self._transport
        idle_s = min(idle_s, self.keep_alive_s)
        if (
            transport is None
            or not ((self.is_kept and self.is_complete) or self.uses == 0)
            or self._is_spoiled
            or idle_s <= 0
            or now - self.born_at > max_age_s
            or transport.is_closing()
            or transport.get_write_buffer_size()  # it may answer before it has read all
        ):
            return False
        self.is_asked = self.has_head = False
        self.head = self.lower = b""
        if self._pieces:
            self._pieces.clear()
        if self._is_full or self._is_held:
            self._resume_reading()
        self._idle_until = until = now + idle_s
        if until < self._timer_at:
            self._arm(until)
        return True

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
        if self._buffered:
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
            self._passed += len(piece)
            if self._passed > limit:
                raise TooLargeError(limit)
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
            self._flush()
            self._not_http()
            return
        if self._gathered:
            self._flush()
        if not self.has_head and len(self.head) > MAX_HEAD_BYTES:
            self._not_http()

    def eof_received(self) -> None:
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        # An orderly end was told by `eof_received`; what comes without it was cut, by them or by us.
        self._ended(is_clean=False)
        self.is_lost = True
        self._disarm()
        self._on_lost(self)
        del self._feed, self._parser  # it refers back to us: without it the memory is free at once

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
        elif is_clean and is_open_ended(self.lower):
            self._complete()
        else:
            self._fail(BrokenAnswerError("The connection ended inside the body."))

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
        self.head = head = cut_head(self.head, self._interim)
        self.lower = lower = head.lower()
        if (
            lower.find(b"-encoding:") >= 0
        ):  # one search for both codings, because most answers have neither
            check_coding(lower)
        self.is_kept = self._parser.should_keep_alive()
        self.has_head = True
        self._wake()

    def on_body(self, piece: bytes) -> None:
        if self._sink is not None:
            self._gathered.append(piece)
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
            if self._gathered:
                self._flush()
            self._complete()
        else:
            self._interim += 1

    # --- private ---

    def _flush(self) -> None:
        """Give the sink all that one read brought, in one piece: each piece costs its client a packet."""
        pieces = self._gathered
        if not pieces:
            return
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        sink = self._sink
        if sink is None:  # the relay failed within this read
            return
        self._passed += len(piece)
        if self._passed > self._limit:
            self._fail(TooLargeError(self._limit))
            return
        try:
            if sink(piece):
                return
        except Exception as error:  # border: whatever the sink raises belongs to who awaits `relay`
            self._fail(error)
            return
        self._sink, self._was_stopped = None, True
        self._wake()

    def _complete(self) -> None:
        self.is_complete = True
        self._sink = None
        if self._waiter is not None:
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

    def _ran_out(self, *, is_total: bool) -> None:
        if self.is_asked:
            self._fail(SilenceError(is_total=is_total))
        else:
            self.abort()
