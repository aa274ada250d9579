"""One answer under way: its status, its headers, its bytes; errors in the words of `core`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from functools import lru_cache

from farthing.core.errors import UpstreamError
from farthing.core.models import Timeouts
from farthing.providers.border import Border
from farthing.wire.upstream.connection import Connection
from farthing.wire.upstream.errors import (
    BrokenAnswerError,
    CompressionError,
    TooLargeError,
    WireError,
)
from farthing.wire.upstream.inflate import Inflater, inflater

#: Largest whole answer that is read into memory, bytes (3,072-dimension embeddings of 2,048 inputs: 80 MB).
MAX_ANSWER_BYTES = 128 * 1024 * 1024
#: Largest streamed answer, bytes after decompression. The longest real answers are a few megabytes.
MAX_STREAM_BYTES = 256 * 1024 * 1024
#: How much of an error answer is read, bytes. Vendors' error bodies are below 4 KiB.
MAX_ERROR_BYTES = 64 * 1024
#: How long a complete stream may take to close before its connection is given up, seconds.
DRAIN_S = 0.2

_REQUEST_IDS = (
    b"\r\nx-request-id:",
    b"\r\nrequest-id:",
    b"\r\napim-request-id:",
    b"\r\nx-ms-request-id:",
    b"\r\nx-goog-request-id:",
)


class Exchange(Border):
    """Made by `Upstream.start`, which returns it when the head is in. Whoever has it must `close` it.

    Nothing of it may be awaited after `close`; status and headers stay.
    """

    __slots__ = ("_connection", "_count", "_head", "_headers", "_inflate", "_lower", "_on_close")

    def __init__(
        self, provider: str, deployment: str | None, host: str, timeouts: Timeouts, began: float
    ) -> None:
        Border.__init__(self, provider, deployment, host, timeouts, began)
        self._connection: Connection | None = None
        self._head = self._lower = b""
        self._headers: dict[str, str] | None = None
        self._inflate: Inflater | None = None
        self._count = 0

    def begin(self, connection: Connection, on_close: Callable[[Connection], None]) -> None:
        """The answer that came on `connection`. `on_close` gets the connection back. Raises why there is no head."""
        if not connection.has_head:
            failure = connection.failure
            assert isinstance(failure, WireError)
            raise self.before_head(failure, was_sent=True) from failure
        self.status = connection.status
        self._head = connection.head
        lower = self._lower = connection.lower
        connection.patience_s = self.timeouts.between_bytes_s
        if (
            lower.find(b"content-encoding:") >= 0
        ):  # `in` tries an integer first, and fails at a cost
            try:
                self._inflate = inflater(self.header("content-encoding") or "")
            except CompressionError as error:
                raise self.in_body(error) from error
        self._connection, self._on_close = connection, on_close

    # --- the head ---

    @property
    def headers(self) -> dict[str, str]:
        """All headers, names in lower case; of a name that comes twice, the last value."""
        if self._headers is None:
            lines = self._head.decode("utf-8", "surrogateescape").split("\r\n")
            pairs = (line.partition(":") for line in lines[1:] if line)
            self._headers = {name.lower(): value.strip(" \t") for name, _, value in pairs}
        return self._headers

    def header(self, name: str) -> str | None:
        """One header without building all. name: lower case."""
        return self._value(_needle(name))

    def headers_like(self, pattern: re.Pattern[bytes]) -> tuple[tuple[str, str], ...]:
        """Those whose line the pattern matches, its first group being the name; names in lower case."""
        found = []
        for match in pattern.finditer(self._lower):
            name, at = match[1], match.end()
            value = self._head[at : self._head.index(b"\r", at)]
            found.append(
                (name.decode("ascii"), value.decode("utf-8", "surrogateescape").strip(" \t"))
            )
        return tuple(found)

    @property
    def request_id(self) -> str | None:
        """How the provider calls this request, if it says so."""
        if self._lower.find(b"request-id:") >= 0:  # all their names end so
            for needle in _REQUEST_IDS:
                value = self._value(needle)
                if value is not None:
                    return value
        return None

    @property
    def content_type(self) -> str:
        """The media type alone, lower case; empty when there is none."""
        lower = self._lower
        at = lower.rfind(b"\r\ncontent-type:")
        return _media_type(lower[at + 15 : lower.find(b"\r", at + 15)]) if at >= 0 else ""

    # --- the body ---

    async def read(self) -> bytes:
        """All that has come since the last read, decompressed; waits for some. Empty at the true end only.

        Raises UpstreamTimeoutError (silence, or the whole try took too long), UpstreamTruncatedError
        (reset, or fewer bytes than promised), UpstreamProtocolError (broken compression).
        """
        connection = self._live()
        inflate = self._inflate
        try:
            if inflate is None:
                return await connection.read()
            while not (piece := inflate.take()):
                packed = await connection.read()
                if not packed:
                    if inflate.is_whole:
                        return b""
                    raise BrokenAnswerError("The compressed body has no end.")
                inflate.give(packed)
            return piece
        except WireError as failure:
            raise self.in_body(failure) from failure

    async def relay(self, feed: Callable[[bytes], bool], limit: int) -> bool:
        """Give every piece of the body to `feed`, from the event loop's own callback, as it arrives.

        Until `feed` returns False: then True is returned, and later pieces wait for the next `read` or
        `relay`. At the body's true end False is returned. limit: bytes, over all relays of the exchange.
        Raises like `chunks`; what `feed` raises is raised here and ends the exchange.
        """
        if self._inflate is not None:
            return await self._relay_inflated(feed, limit)
        try:
            return await self._live().relay(feed, limit)
        except WireError as failure:
            raise self.in_body(failure) from failure

    async def chunks(self, limit: int) -> AsyncGenerator[bytes]:
        """The body as it comes, decompressed. Ends only at its true end.

        Raises like `read`, and UpstreamProtocolError above `limit` bytes.
        """
        while piece := await self.read():
            self._check(piece, limit)
            yield piece

    def whole(self, limit: int) -> bytes | None:
        """The whole body if it has come already; None: wait for it with `body`. Raises like `chunks`."""
        connection = self._live()
        if not connection.is_complete or self._inflate is not None:
            return None
        whole = connection.taken()
        self._check(whole, limit)
        return whole

    async def body(self, limit: int = MAX_ANSWER_BYTES) -> bytes:
        """The whole body, at most `limit` bytes. Raises like `chunks`."""
        return b"".join([piece async for piece in self.chunks(limit)])

    async def beginning(self, limit: int) -> bytes:
        """Up to `limit` bytes of the body, whatever goes wrong with the rest. For error answers."""
        pieces: list[bytes] = []
        try:
            async for piece in self.chunks(limit):
                pieces.append(piece)  # noqa: PERF401 -- what came before an error must stay
        except UpstreamError:
            pass  # the status says what matters; half a body is better than a second error
        return b"".join(pieces)[:limit]

    async def drain(self) -> None:
        """Give a finished answer a moment to close properly, so that its connection can be used again."""
        connection = self._live()
        if connection.is_complete:
            return
        try:
            async with asyncio.timeout(DRAIN_S):
                while await connection.read():
                    pass
        except (WireError, TimeoutError):
            pass  # the answer was complete; the connection is closed instead of pooled

    def pause(self) -> None:
        """Read no more from the network until `resume`. Silence is not counted meanwhile, `total_s` is."""
        self._live().pause()

    def resume(self) -> None:
        """Read again. Does nothing unless paused."""
        self._live().resume()

    def close(self) -> None:
        """The answer is not needed any more. Idempotent; never waits.

        After the body's end on the wire the connection goes back to its pool, whether or not all was read;
        before it the connection is closed, which tells the provider to stop.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            self._on_close(connection)

    # --- private ---

    def _value(self, needle: bytes) -> str | None:
        at = self._lower.rfind(needle)
        if at < 0:
            return None
        at += len(needle)
        value = self._head[at : self._head.find(b"\r", at)]
        return value.decode("utf-8", "surrogateescape").strip(" \t")

    def _live(self) -> Connection:
        assert self._connection is not None, "the exchange is closed"
        return self._connection

    def _check(self, piece: bytes, limit: int) -> None:
        self._count += len(piece)
        if self._count > limit:
            raise self.in_body(TooLargeError(limit))

    async def _relay_inflated(self, feed: Callable[[bytes], bool], limit: int) -> bool:
        # Rare: answers are asked for uncompressed. One packet may swell a thousandfold, so it is unpacked
        # step by step here and not in the reading callback.
        while piece := await self.read():
            self._check(piece, limit)
            if not feed(piece):
                return True
        return False


@lru_cache(256)
def _needle(name: str) -> bytes:
    return f"\r\n{name}:".encode()


@lru_cache(256)
def _media_type(value: bytes) -> str:
    return value.partition(b";")[0].strip().decode("utf-8", "surrogateescape")
