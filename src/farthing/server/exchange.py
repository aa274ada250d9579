"""One HTTP request and its answer over plain ASGI, without objects per event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from farthing.core.errors import BadRequestError, PayloadTooLargeError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

#: A client that takes no byte for this long, while we have some for it, is treated as gone.
STALLED_READER_S = 120.0
#: A body may take this long to arrive, whatever its size.
BODY_S = 120.0
#: How much of a body that is too large is read and thrown away, so that the client gets to read the answer.
DISCARDED_LIMITS = 8
DISCARD_S = 10.0

_BYTES_PER_MB = 1_000_000


class ClientGoneError(Exception):
    """The client closed the connection; there is nobody to answer."""


class Exchange:
    """One request as it arrived and the answer under way.

    extra_headers: sent with every answer (CORS). is_started: a status line has been sent. is_finished: the
    last byte was handed over; the connection may close now.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._query: dict[str, list[str]] | None = None
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.extra_headers: list[Header] = []
        self.is_started = False
        self.is_finished = False

    @property
    def client_host(self) -> str | None:
        """The peer's address, as text."""
        client = self._scope.get("client")
        return client[0] if client else None

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return str(self._scope.get("scheme", "http"))

    @property
    def header_pairs(self) -> Sequence[Header]:
        """All headers, names in lower case."""
        pairs: Sequence[Header] = self._scope["headers"]
        return pairs

    def header(self, name: str) -> str | None:
        """One header's value (the last, where repeated); `name` in lower case."""
        value = self._headers.get(name.encode("ascii"))
        return None if value is None else value.decode("latin-1").strip()

    def query(self, name: str) -> str | None:
        """One query parameter's first value."""
        if self._query is None:
            text = self._scope.get("query_string", b"").decode("latin-1")
            try:
                self._query = parse_qs(text, keep_blank_values=True, max_num_fields=100)
            except ValueError:
                raise BadRequestError("The address has more than 100 query parameters.") from None
        values = self._query.get(name)
        return values[0] if values else None

    async def body(self, max_mb: int) -> bytes:
        """The whole body, at most `max_mb` million bytes.

        Raises PayloadTooLargeError (the bound holds while reading, with or without Content-Length),
        BadRequestError for a compressed body or one that does not arrive in time, ClientGoneError.
        """
        encoding = self.header("content-encoding")
        if encoding and encoding.lower() != "identity":
            raise BadRequestError(
                f"The body is compressed ({encoding[:40]}), which is not read here.",
                hint="Send it without Content-Encoding.",
                status=415,
            )
        limit = max_mb * _BYTES_PER_MB
        stated = self.header("content-length")
        if stated is not None and stated.isdecimal() and int(stated) > limit:
            if self.header("expect") is None:
                await self._discard(limit)
            raise _too_large(max_mb, int(stated))
        try:
            async with asyncio.timeout(BODY_S):
                return await self._read(max_mb, limit)
        except TimeoutError:
            raise BadRequestError(
                f"The body did not arrive within {BODY_S:.0f} seconds.", status=408
            ) from None

    async def send(
        self,
        status: int,
        body: bytes,
        headers: Sequence[Header] = (),
        *,
        media: bytes | None = None,
    ) -> None:
        """The whole answer. media: the content type, JSON when not stated."""
        await self._start(
            status,
            [
                (b"content-type", media or b"application/json"),
                (b"content-length", b"%d" % len(body)),
                *headers,
            ],
        )
        await self._write(b"" if self.method == "HEAD" else body, more=False)

    async def send_empty(self, status: int, headers: Sequence[Header]) -> None:
        """An answer without a body (204)."""
        await self._start(status, list(headers))
        await self._write(b"", more=False)

    async def start_stream(self, headers: Sequence[Header], *, media: bytes) -> None:
        """Status line and headers of a streamed answer."""
        unbuffered = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
        await self._start(200, [(b"content-type", media), *unbuffered, *headers])

    async def write(self, chunk: bytes) -> None:
        """More of a streamed answer. Raises ClientGoneError when the client has stopped reading."""
        await self._write(chunk, more=True)

    async def finish(self) -> None:
        """The end of a streamed answer."""
        await self._write(b"", more=False)

    async def gone(self) -> None:
        """Return when the client has closed the connection. Only once the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _read(self, max_mb: int, limit: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > limit:
                pieces.clear()
                if message.get("more_body"):
                    await self._discard(limit)
                raise _too_large(max_mb, size)
            if piece:
                pieces.append(piece)
            if not message.get("more_body"):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _discard(self, limit: int) -> None:
        # Closing on a client that is still sending makes the kernel reset the connection, and the client
        # would see that instead of the 413.
        left = limit * DISCARDED_LIMITS
        try:
            async with asyncio.timeout(DISCARD_S):
                while left > 0:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    left -= len(message.get("body", b""))
                    if not message.get("more_body"):
                        return
        except TimeoutError:
            return

    async def _start(self, status: int, headers: list[Header]) -> None:
        self.is_started = True
        if self.extra_headers:
            headers += self.extra_headers
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _write(self, chunk: bytes, *, more: bool) -> None:
        self.is_finished = not more
        try:
            async with asyncio.timeout(STALLED_READER_S):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
        except (TimeoutError, OSError) as error:
            raise ClientGoneError from error


def _too_large(max_mb: int, size: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"The body is larger than {max_mb} MB (at least {size / _BYTES_PER_MB:.1f} MB).",
        hint="Send less, or raise server.max_body_mb in the settings.",
    )
