"""One provider's pool of HTTP connections: timeouts, size bounds and the border where errors become ours."""

from __future__ import annotations

import asyncio
import io
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from farthing.core.errors import (
    BadRequestError,
    FarthingError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeoutError,
    UpstreamTruncatedError,
    UpstreamUnreachableError,
)
from farthing.core.models import Timeouts
from farthing.providers.detect import is_loopback_url

#: Largest whole answer that is read into memory, bytes (3,072-dimension embeddings of 2,048 inputs: 80 MB).
MAX_ANSWER_BYTES = 128 * 1024 * 1024
#: Largest streamed answer, bytes after decompression. The longest real answers are a few megabytes.
MAX_STREAM_BYTES = 256 * 1024 * 1024
#: How much of an error answer is read, bytes. Vendors' error bodies are below 4 KiB.
MAX_ERROR_BYTES = 64 * 1024
#: How much one step of decompression may produce, bytes, so that a bomb is met in small bites.
_INFLATE_STEP = 1024 * 1024
#: Above this size an answer that is so many times larger than what was sent is taken for a bomb. Text and
#: JSON of models compress 3 to 20 times; gzip cannot exceed 1,032 (zlib, "Maximum Compression Factor").
_SUSPECT_BYTES = 4 * 1024 * 1024
_MAX_SWELLING = 200
#: aiohttp warns about plain `bytes` bodies from this size on; larger ones are sent from a BytesIO.
_LARGE_BODY = 1024 * 1024
#: Idle connections are dropped after this, seconds: below the 60 to 75 s of common load balancers.
_KEEP_ALIVE_S = 45.0
#: How long a complete stream may take to close before its connection is given up, seconds.
DRAIN_S = 0.2

_REQUEST_ID_HEADERS = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "x-goog-request-id",
)


class Upstream:
    """Connections to one provider. Made lazily in the running loop; `aclose` may be called twice.

    At most `max_connections` exchanges run at a time; more wait, inside their first-byte timeout.
    environ: read for HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; loopback never takes a proxy.
    """

    def __init__(self, provider: str, *, max_connections: int, environ: Mapping[str, str]) -> None:
        self._provider = provider
        self._max_connections = max_connections
        self._environ = environ
        self._slots = asyncio.Semaphore(max_connections)
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def exchange(
        self,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str],
        body: bytes = b"",
        timeouts: Timeouts,
        deployment: str | None = None,
    ) -> AsyncIterator[Exchange]:
        """Send one request; entering waits for the answer's status and headers, whatever the status.

        Leaving before the body's end closes the connection, which tells the provider to stop; after the
        end it goes back to the pool. Raises UpstreamUnreachableError, UpstreamTimeoutError,
        UpstreamProtocolError; BadRequestError for a header that HTTP cannot carry.
        """
        border = _Border(self._provider, deployment, timeouts)
        _check_headers(headers)
        await self._take_slot(border)
        try:
            response = await self._request(border, method, url, headers, body)
            try:
                yield Exchange(response, border)
            finally:
                # After the body's end the connection is in the pool already and this does nothing.
                response.close()
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _take_slot(self, border: _Border) -> None:
        try:
            async with asyncio.timeout(border.wait(border.timeouts.first_byte_s)):
                await self._slots.acquire()
        except TimeoutError:
            error = UpstreamTimeoutError(
                f"All {self._max_connections} connections to provider '{self._provider}' stayed busy for "
                f"{border.timeouts.first_byte_s:g} s.",
                hint=f"Raise providers.{self._provider}.max_connections.",
            )
            raise border.place(error, was_sent=False) from None

    async def _request(
        self, border: _Border, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> aiohttp.ClientResponse:
        target = URL(url, encoded=True)
        connect_s = border.timeouts.connect_s
        data = io.BytesIO(body) if len(body) >= _LARGE_BODY else body
        try:
            async with asyncio.timeout(border.wait(border.timeouts.first_byte_s)):
                return await self._open_session().request(
                    method,
                    target,
                    data=data if body else None,
                    headers={"Accept-Encoding": "identity", **headers},
                    allow_redirects=False,
                    proxy=self._proxy(target),
                    timeout=aiohttp.ClientTimeout(
                        total=None, connect=connect_s, sock_connect=connect_s
                    ),
                )
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise border.before_head(error, target.host or "?") from _cause(error)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # `_slots` bounds what is in flight; a second bound here could only deadlock with it.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,  # it would also read ~/.netrc; proxies are looked up by `_proxy`
                skip_auto_headers=("User-Agent", "Content-Type"),
            )
        return self._session

    def _proxy(self, target: URL) -> str | None:
        host = target.host or ""
        if is_loopback_url(str(target)):
            return None
        env = self._environ
        if _is_excluded(host, env.get("no_proxy") or env.get("NO_PROXY") or ""):
            return None
        # Upper-case HTTP_PROXY can be set by a request header under CGI; nobody runs this under CGI.
        names = (
            f"{target.scheme}_proxy",
            f"{target.scheme.upper()}_PROXY",
            "all_proxy",
            "ALL_PROXY",
        )
        proxy = next((env[name] for name in names if env.get(name)), None)
        return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


class Exchange:
    """An answer under way: its status, its headers (lower-case names), its bytes."""

    def __init__(self, response: aiohttp.ClientResponse, border: _Border) -> None:
        self._response = response
        self._border = border
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.request_id = next(
            (self.headers[name] for name in _REQUEST_ID_HEADERS if name in self.headers), None
        )
        border.request_id = self.request_id
        border.status = self.status
        self.content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._inflate = self._inflater()
        self._packed = self._unpacked = 0

    def place(self, error: FarthingError) -> FarthingError:
        """The same error, with provider, deployment, request id and status filled in where empty."""
        return self._border.place(error)

    async def chunks(self, limit: int) -> AsyncGenerator[bytes]:
        """The body as it comes, decompressed. Ends only at its true end.

        Raises UpstreamTimeoutError (silence, or the whole try took too long), UpstreamTruncatedError
        (reset, or fewer bytes than promised), UpstreamProtocolError (broken compression, over `limit`).
        """
        count = 0
        while raw := await self._read():
            pieces = (raw,) if self._inflate is None else self._inflated(raw)
            for piece in pieces:
                count += len(piece)
                if count > limit:
                    raise self._border.place(
                        UpstreamProtocolError(
                            f"Provider '{self._border.provider}' sent an answer of more than "
                            f"{limit // (1024 * 1024)} MB; it was cut off."
                        )
                    )
                yield piece
        if self._inflate is not None and not self._inflate.eof:
            raise self._border.truncated()

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
        try:
            async with asyncio.timeout(DRAIN_S):
                while await self._response.content.readany():
                    pass
        except (aiohttp.ClientError, OSError):
            pass  # the answer was complete; the connection is closed instead of pooled

    async def _read(self) -> bytes:
        border = self._border
        try:
            async with asyncio.timeout(border.wait(border.timeouts.between_bytes_s)):
                return await self._response.content.readany()
        except TimeoutError:
            raise border.silent() from None
        except (aiohttp.ClientError, OSError) as error:
            raise border.truncated() from _cause(error)

    def _inflater(self) -> zlib._Decompress | None:
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("", "identity"):
            return None
        if encoding in ("gzip", "x-gzip", "deflate"):
            return zlib.decompressobj(
                wbits=zlib.MAX_WBITS | 32
            )  # 32: gzip or zlib, told by the header
        raise self._border.place(
            UpstreamProtocolError(
                f"Provider '{self._border.provider}' compressed its answer although it was asked not to."
            )
        )

    def _inflated(self, raw: bytes) -> Iterator[bytes]:
        """One network chunk decompressed, piece by piece; refuses what swells as no text does."""
        assert self._inflate is not None
        self._packed += len(raw)
        while raw:
            try:
                piece = self._inflate.decompress(raw, _INFLATE_STEP)
            except zlib.error:
                raise self._compression("is broken") from None
            self._unpacked += len(piece)
            if self._unpacked > max(_SUSPECT_BYTES, _MAX_SWELLING * self._packed):
                raise self._compression(f"swells more than {_MAX_SWELLING} times")
            yield piece
            raw = self._inflate.unconsumed_tail

    def _compression(self, what: str) -> FarthingError:
        return self._border.place(
            UpstreamProtocolError(
                f"Provider '{self._border.provider}' sent an answer whose compression {what}."
            )
        )


class _Border:
    """Where foreign exceptions become ours: it knows whose answer this is and how long it may take."""

    def __init__(self, provider: str, deployment: str | None, timeouts: Timeouts) -> None:
        self.provider = provider
        self.deployment = deployment
        self.timeouts = timeouts
        self.request_id: str | None = None
        self.status: int | None = None
        self._deadline = asyncio.get_running_loop().time() + timeouts.total_s

    def wait(self, seconds: float) -> float:
        """`seconds`, or what the whole try has left if that is less."""
        return max(0.0, min(seconds, self._deadline - asyncio.get_running_loop().time()))

    def place(self, error: FarthingError, *, was_sent: bool | None = None) -> FarthingError:
        """Fill in where the error happened, as far as it does not say so itself."""
        if error.provider is None:
            error.provider = self.provider
            if error.message.startswith("The provider "):  # a codec's words: it cannot know which
                error.message = f"The provider '{self.provider}'" + error.message[12:]
        error.deployment = error.deployment or self.deployment
        error.request_id = error.request_id or self.request_id
        if error.upstream_status is None:
            error.upstream_status = self.status
        if was_sent is not None and isinstance(error, UpstreamError):
            error.was_sent = was_sent
        return error

    def before_head(self, error: Exception, host: str) -> FarthingError:
        """The error for a request that got no answer."""
        who = f"Provider '{self.provider}' ({host})"
        if isinstance(error, aiohttp.ServerTimeoutError):
            text = f"{who} could not be connected to within {self.timeouts.connect_s:g} s."
            return self.place(UpstreamTimeoutError(text), was_sent=False)
        if isinstance(error, TimeoutError):
            return self.place(
                UpstreamTimeoutError(f"{who} {self._ran_out('first_byte_s', 'did not answer')}")
            )
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
            text = f"{who} showed a TLS certificate that could not be verified, or no TLS at all."
            hint = f"Check providers.{self.provider}.base_url and this machine's certificate store."
            return self.place(UpstreamUnreachableError(text, hint=hint), was_sent=False)
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = (error.os_error.strerror or type(error.os_error).__name__).lower()
            hint = f"Is it running, and is providers.{self.provider}.base_url right?"
            text = f"{who} could not be reached: {reason}."
            return self.place(UpstreamUnreachableError(text, hint=hint), was_sent=False)
        if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL):
            return self.place(UpstreamProtocolError(f"{who} gave an answer that is not HTTP."))
        return self.place(
            UpstreamUnreachableError(f"{who} closed the connection before it answered.")
        )

    def silent(self) -> FarthingError:
        """The error for an answer that stopped coming."""
        return self.place(
            UpstreamTimeoutError(
                f"Provider '{self.provider}' {self._ran_out('between_bytes_s', 'sent nothing more')}"
            )
        )

    def truncated(self) -> FarthingError:
        """The error for an answer whose connection broke."""
        return self.place(
            UpstreamTruncatedError(
                f"Provider '{self.provider}' closed the connection in the middle of its answer.",
                hint="What came before is incomplete; ask again.",
            )
        )

    def _ran_out(self, setting: str, what: str) -> str:
        if self._deadline <= asyncio.get_running_loop().time():
            return f"did not finish within {self.timeouts.total_s:g} s (timeouts.total_s)."
        return f"{what} within {getattr(self.timeouts, setting):g} s (timeouts.{setting})."


def _is_excluded(host: str, no_proxy: str) -> bool:
    """Whether NO_PROXY (`*`, or hosts and domain suffixes parted by commas) names this host."""
    entries = (entry.strip().partition(":")[0].lstrip(".") for entry in no_proxy.split(","))
    return any(e == "*" or (e and (host == e or host.endswith(f".{e}"))) for e in entries)


def _cause(error: Exception) -> Exception | None:
    # An HTTP parser quotes the bytes that it choked on, which may be an answer's text.
    return (
        None
        if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError)
        else error
    )


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if any(character in "\r\n\0" for character in value):
            raise BadRequestError(
                f"The header '{name}' contains a line break.", hint="Remove it.", param=name
            )
