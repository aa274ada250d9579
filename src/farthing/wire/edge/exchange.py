"""One HTTP request and its answer, as a handler sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from farthing.wire.edge.answers import LAST_CHUNK, Header, lines_of
from farthing.wire.edge.head import RequestHead, split_target
from farthing.wire.edge.intake import Intake
from farthing.wire.edge.link import Link
from farthing.wire.edge.refusal import ClientGoneError
from farthing.wire.edge.request import Request

_UNBUFFERED = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"
_CHUNK = b"%x\r\n%b\r\n"


class Exchange(Request):
    """One request as it arrived and the answer under way.

    extra_headers: sent with every answer (CORS). is_started: a status line has been sent. is_finished: the
    last byte was handed over. keep_alive: the connection goes on after the answer; a handler may set it to
    False before it answers, and never sends a `connection` header itself. task: runs the handler, None
    before and after.

    Headers are pairs, or bytes that `lines_of` has laid out: most are the same in every answer.

    Streams have two ways out. `await write(chunk)` waits for a slow reader. `push(chunk)` never waits: it
    returns False when the reader is behind, and then the producer awaits `drained()` before it goes on.
    """

    __slots__ = (
        "_flows",
        "_is_chunked",
        "_link",
        "_on_gone",
        "_unsent",
        "_write",
        "extra_headers",
        "is_finished",
        "is_started",
        "keep_alive",
        "task",
        "unsent_bytes",
    )

    def __init__(
        self,
        head: RequestHead,
        link: Link | None,
        body: bytes = b"",
        intake: Intake | None = None,
        client_host: str | None = None,
        scheme: str = "http",
    ) -> None:
        line = head.line
        self.head = head
        self.method = line.method
        self.path = line.path
        self.client_host = client_host
        self.scheme = scheme
        self.intake = intake
        self.is_gone = False
        self._body = body
        self._query = None
        self.keep_alive = head.keep_alive
        self.extra_headers: Sequence[Header] = ()
        self.is_started = False
        self.is_finished = False
        #: Pushed, and kept here because the transport takes no more.
        self.unsent_bytes = 0
        self._link = link
        self._write = _nowhere if link is None else link.write
        self.task: asyncio.Task[None] | None = None
        self._on_gone: Callable[[], object] | None = None
        self._is_chunked = False
        self._flows = False  # chunks may take the short way
        self._unsent: list[bytes] = []

    @classmethod
    def apart(
        cls,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        *,
        peer: str | None = None,
    ) -> Exchange:
        """A request without a connection, to be looked at but not answered. headers: lower-case names."""
        fields = dict(headers or {})
        lines = [f"{name}: {value}".encode("latin-1") for name, value in fields.items()]
        head = RequestHead(split_target(method, target), fields, lines, 0, keep_alive=False)
        return cls(head, None, client_host=peer)

    async def send(
        self,
        status: int,
        body: bytes,
        headers: bytes | Iterable[Header] = b"",
        *,
        media: bytes = b"application/json",
    ) -> None:
        """The whole answer, in one write. media: the content type.

        Suspends only when the reader is behind. Raises ClientGoneError.
        """
        lines = headers if isinstance(headers, bytes) else lines_of(headers)
        told = b"%bcontent-length: %d\r\n%b" % (_content_type(media), len(body), lines)
        head = self._start(status, told)
        link = self._link
        assert link is not None  # `_start` has seen to it
        self.is_finished = True
        self._write(head if self.method == "HEAD" else head + body)
        link.finished(self)
        if link.is_paused:
            await link.drained()

    async def send_empty(self, status: int, headers: Iterable[Header]) -> None:
        """An answer that has no body by its status (204)."""
        link = self._end(self._start(status, lines_of(headers)))
        if link.is_paused:
            await link.drained()

    async def start_stream(self, headers: bytes | Iterable[Header], *, media: bytes) -> None:
        """Status line and headers of a streamed answer. Raises ClientGoneError."""
        lines = headers if isinstance(headers, bytes) else lines_of(headers)
        told = _content_type(media) + _UNBUFFERED + lines
        if self.head.line.minor:
            told += _CHUNKED
            self._is_chunked = True
        else:
            self.keep_alive = False  # HTTP/1.0 has no chunks: the connection's end is the answer's
        self._write(self._start(200, told))
        self.resumed()

    def push(self, chunk: bytes) -> bool:
        """Hand over more of a streamed answer at once. False: await `drained()` before the next.

        What is pushed in spite of a False is kept and later sent in one piece, up to `Limits.unsent`.
        Raises ClientGoneError when the client is gone, or further behind than that.
        """
        if self._flows and chunk:  # an empty chunk would look like the end
            self._write(_CHUNK % (len(chunk), chunk))
            return self._flows
        return self._push_aside(chunk)

    async def drained(self) -> None:
        """Wait until the reader has caught up. Raises ClientGoneError when it stalls or leaves."""
        await self._connection().drained()

    async def write(self, chunk: bytes) -> None:
        """More of a streamed answer, at the reader's pace. Raises ClientGoneError."""
        if not self.push(chunk):
            await self.drained()

    async def finish(self) -> None:
        """The end of a streamed answer. Raises ClientGoneError."""
        end = self._take_unsent()
        if self._is_chunked and self.method != "HEAD":
            end += LAST_CHUNK
        link = self._end(end)
        if link.is_paused:
            await link.drained()

    def on_gone(self, callback: Callable[[], object] | None) -> None:
        """Call back when the client leaves before the answer's end; at once when it has left already."""
        self._on_gone = callback
        if self.is_gone and callback is not None:
            callback()

    def invite(self) -> None:
        """Tell the client and the connection that the body is wanted now."""
        self._connection().invite_body(self)

    # --- told by the connection -------------------------------------------------------------------

    def paused(self) -> None:
        """The transport holds as many bytes as it should."""
        self._flows = False

    def resumed(self) -> None:
        """The transport takes bytes: first those kept back, in one piece."""
        link = self._link
        if link is None or not self.is_started or self.is_finished or self.is_gone:
            return
        self._flows = self._is_chunked and self.method != "HEAD" and not link.is_paused
        if self._unsent and not link.is_paused:
            self._write(self._take_unsent())

    def reroute(self, write: Callable[[bytes], None]) -> None:
        """Bytes go this way from now on."""
        self._write = write

    def gone(self) -> None:
        """The connection is lost. Wakes whoever waits for the body, and calls back."""
        if self.is_gone:
            return
        self.is_gone = True
        self._flows = False
        self._unsent.clear()
        self.unsent_bytes = 0
        if self.intake is not None:
            self.intake.gone()
        if self._on_gone is not None and not self.is_finished:
            self._on_gone()

    # --- inside -----------------------------------------------------------------------------------

    def _connection(self) -> Link:
        if self.is_gone:
            raise ClientGoneError
        if self._link is None:
            raise RuntimeError("This exchange has no connection.")
        return self._link

    def _start(self, status: int, lines: bytes) -> bytes:
        link = self._link
        if link is None or self.is_gone:
            link = self._connection()
        if self.is_started:
            raise RuntimeError("An exchange is answered once.")
        if self.extra_headers:
            lines += lines_of(self.extra_headers)
        head = link.lay_out(self, status, lines)
        self.is_started = True
        return head

    def _end(self, last: bytes) -> Link:
        link = self._link
        if link is None or self.is_gone:
            link = self._connection()
        self.is_finished = True
        self._flows = False
        if last:
            self._write(last)
        link.finished(self)
        return link

    def _push_aside(self, chunk: bytes) -> bool:
        """Where the short way is closed: the reader is behind or gone, or there are no chunks."""
        link = self._connection()
        if self.method == "HEAD" or not chunk:
            return True
        if not link.is_paused:
            self._write(_CHUNK % (len(chunk), chunk) if self._is_chunked else chunk)
            return not link.is_paused
        self._unsent.append(chunk)
        self.unsent_bytes += len(chunk)
        if self.unsent_bytes > link.limits.unsent:
            link.abandon()
            raise ClientGoneError
        return False

    def _take_unsent(self) -> bytes:
        chunk = b"".join(self._unsent)
        self._unsent.clear()
        self.unsent_bytes = 0
        if chunk and self._is_chunked:
            return _CHUNK % (len(chunk), chunk)
        return chunk


@lru_cache(maxsize=64)
def _content_type(media: bytes) -> bytes:
    return lines_of(((b"content-type", media),))


def _nowhere(data: bytes) -> None:
    raise RuntimeError("This exchange has no connection.")
