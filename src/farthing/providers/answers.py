"""A vendor's answer as the gateway reads it: one whole body, or a stream's events."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from functools import lru_cache

import msgspec

from farthing.core.calls import Event, EventKind, Tally
from farthing.core.errors import FarthingError
from farthing.core.protocols import AnswerHead, Take, TakeEvents
from farthing.providers.connection import MAX_STREAM_BYTES, Exchange
from farthing.wire.codec import Codec, StreamReader
from farthing.wire.upstream.errors import TooLargeError

#: Answer headers that accounting or quota read, or that help a caller; all others stay here.
_KEPT = re.compile(
    rb"\r\n((?:x-ratelimit-|anthropic-ratelimit-|x-ms-|azure-openai-)[^:\r]*|retry-after|retry-after-ms"
    rb"|x-request-id|request-id|apim-request-id|openai-processing-ms|openai-version|x-farthing-simulated):"
)
#: After so many pieces in a row that were no plain content, a stream is read in the ordinary way.
_MISSES = 8
_NOTHING = Tally()


class LazyHead(AnswerHead):
    """The head of an exchange, searched when somebody asks: nearly no call reads the headers."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self.status = exchange.status
        self.request_id = exchange.request_id
        self._exchange = exchange

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """All that are kept."""
        return self._exchange.headers_like(_KEPT)

    def header(self, name: str) -> str | None:
        """See `AnswerHead.header`."""
        return self._exchange.header(name) if _is_kept(name) else None


class WholeAnswer:
    """An unstreamed answer: one event of kind WHOLE. limit: bytes that it may have."""

    __slots__ = ("_dialect", "_exchange", "_is_read", "_limit", "head", "tally")

    def __init__(self, exchange: Exchange, dialect: Codec, *, limit: int) -> None:
        self._limit = limit
        self.head = LazyHead(exchange)
        self._exchange = exchange
        self._dialect = dialect
        #: Empty until the body was read.
        self.tally = _NOTHING
        self._is_read = False

    @property
    def events(self) -> WholeAnswer:
        """Itself."""
        return self

    def __aiter__(self) -> WholeAnswer:
        return self

    def whole(self) -> Event | None:
        """See `core.protocols.ComesWhole`."""
        body = None if self._is_read else self._exchange.whole(self._limit)
        return None if body is None else self._event(body)

    async def __anext__(self) -> Event:
        if self._is_read:
            raise StopAsyncIteration
        return self._event(await self._exchange.body(self._limit))

    async def aclose(self) -> None:
        """Hand out nothing more."""
        self._is_read = True

    def _event(self, body: bytes) -> Event:
        self._is_read = True
        if body.find(b'"error"', 0, 4096) >= 0 and (status := error_status(body)) is not None:
            raise self._exchange.place(
                self._dialect.decode_error(status, self._exchange.headers, body)
            )
        try:
            self.tally = self._dialect.tally(body)
        except FarthingError as error:
            self._exchange.place(error)
            raise
        return Event(wire=body, kind=EventKind.WHOLE)


class StreamedAnswer:
    """A streamed answer: the reader's events, and an error when it stops before its end.

    Beside iterating there is `relay` (`core.protocols.Relays`) for a reader that can tell plain content.
    """

    def __init__(self, exchange: Exchange, reader: StreamReader) -> None:
        self.head = LazyHead(exchange)
        self._exchange = exchange
        self._reader = reader
        #: `Skims.skim` where the reader has it; None as well once it has found nothing for too long.
        self._skim: Callable[[bytes, int], int] | None = getattr(reader, "skim", None)
        self._misses = 0
        self._ready: deque[Event] = deque()
        self._piece = b""  # as it came; what is left of it begins at `_at`
        self._at = 0
        self._failure: FarthingError | None = None
        self._size = 0
        self._is_over = False

    @property
    def tally(self) -> Tally:
        """Right at every moment for what was read."""
        return self._reader.tally

    @property
    def events(self) -> StreamedAnswer:
        """Itself."""
        return self

    def __aiter__(self) -> StreamedAnswer:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            if self._is_over:
                raise StopAsyncIteration
            try:
                await self._read()
            except FarthingError as error:
                self._exchange.place(error)
                raise
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Hand out nothing more."""
        self._is_over = True
        self._ready.clear()

    async def relay(self, take: Take) -> bool:
        """See `core.protocols.Relays`."""
        skim, has_enough = self._skim, False
        if skim is None or self._ready or self._is_over or self._failure:
            return False

        def feed(piece: bytes) -> bool:
            nonlocal has_enough
            size, end = len(piece), skim(piece, 0)
            self._size += size
            if end == size:  # the short way, which nearly every piece of a stream goes
                self._misses = 0
                has_enough = not take(piece)
                return not has_enough
            self._piece, self._at = piece, 0
            has_enough = not self._hand_on(end, take)
            return False

        if self._at < len(self._piece):
            has_enough = not self._hand_on(skim(self._piece, self._at), take)
            if has_enough or self._at < len(self._piece):
                return has_enough
        try:
            await self._exchange.relay(feed, MAX_STREAM_BYTES)
        except FarthingError as error:
            self._failure = error  # `events` raises it, where the call waits for it
        return has_enough

    async def relay_events(self, take: TakeEvents) -> None:
        """See `core.protocols.Relays`."""
        if self._ready or self._is_over or self._failure or self._at < len(self._piece):
            return

        def feed(piece: bytes) -> bool:
            self._size += len(piece)
            left = take(self._reader.feed(piece))
            if left is not None:
                self._accept(left)
            return left is None

        try:
            await self._exchange.relay(feed, MAX_STREAM_BYTES)
        except FarthingError as error:
            self._failure = error  # as above

    def _accept(self, events: list[Event]) -> None:
        for event in events:
            self._ready.append(event)
            self._is_over = self._is_over or event.kind is EventKind.END

    def _hand_on(self, end: int, take: Take) -> bool:
        """Give the plain content of the piece, which reaches until `end`. False: the reader has enough."""
        start, self._at = self._at, end
        if end > start:
            self._misses = 0
            return take(self._piece[start:end])
        self._misses += 1
        if self._misses > _MISSES:
            self._skim = None
        return True

    async def _read(self) -> None:
        """The next events, or the end."""
        if self._failure is not None:
            raise self._failure
        if self._at >= len(self._piece):
            self._piece, self._at = await self._exchange.read(), 0
            self._size += len(self._piece)
            if self._size > MAX_STREAM_BYTES:
                raise self._exchange.in_body(TooLargeError(MAX_STREAM_BYTES))
        piece, at = self._piece, self._at
        if not piece:
            self._is_over = True
            self._ready.extend(self._reader.eof())
            return
        border = piece.find(b"\n\n", at) + 2 if self._skim is not None else 1
        self._at = border if border > 1 else len(piece)  # one event: the next ones may be skimmed
        self._accept(self._reader.feed(piece[at : self._at]))
        if self._is_over:
            # Some servers keep the connection open after the end mark: the answer is complete.
            await self._exchange.drain()


@lru_cache(256)
def _is_kept(name: str) -> bool:
    return _KEPT.match(f"\r\n{name}:".encode()) is not None


class _ErrorBody(msgspec.Struct):
    error: msgspec.Raw = (
        msgspec.Raw()
    )  # empty: absent. `Raw | None` would mean null or nothing else
    choices: msgspec.Raw = msgspec.Raw()


class _ErrorCode(msgspec.Struct):
    code: object = None
    status: object = None


def error_status(body: bytes) -> int | None:
    """The status that an error body under status 200 stands for; None when it is no error body.

    OpenRouter and some local servers answer 200 with `{"error": {"code": 429, …}}`; a code that is no HTTP
    status counts as 502.
    """
    try:
        parsed = msgspec.json.decode(body, type=_ErrorBody)
        if bytes(parsed.error) in (b"", b"null") or bytes(parsed.choices):
            return None
        if not bytes(parsed.error).startswith(b"{"):
            return 502
        error = msgspec.json.decode(parsed.error, type=_ErrorCode)
    except msgspec.DecodeError:
        return None
    for value in (error.code, error.status):
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    return 502
