"""Fetches the images that a flow's inputs give by their addresses, from the public Internet and nowhere else.

An input's text comes from whoever asks, and the machine that fetches may stand where they do not: so only http and
https, no host inside (see `wire.upstream.public`), usual ports, few redirects, each looked at like the first address,
bounds on size and time, and images only. Hosts of one's own are named in the settings.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from farthing.base.config.settings import Images
from farthing.core.errors import ConfigError, FlowInputError, UpstreamError, UpstreamTimeoutError
from farthing.core.models import Timeouts
from farthing.flows.prompts.images import ANY_TYPE, Image, unfetched, with_bytes
from farthing.providers.connection import Upstream
from farthing.providers.exchange import Exchange
from farthing.wire.upstream.errors import CertificateError, CompressionError, ConnectError
from farthing.wire.upstream.origin import Origin, origin_of, proxy_for
from farthing.wire.upstream.public import NotPublicError, PublicResolver
from farthing.wire.upstream.resolve import Lookup, Resolver

#: Redirects of one image.
MAX_REDIRECTS = 5
#: Images of one line that are fetched, and their bytes together; vendors take no more in one request.
MAX_IMAGES = 50
MAX_LINE_BYTES = 64 * 1024 * 1024
#: At a time, of one line.
_AT_ONCE = 4
_CONNECT_S = 5.0
_MOVED = (301, 302, 303, 307, 308)
#: What stores say of files whose type nobody has told them.
_UNTOLD = ("", "application/octet-stream", "binary/octet-stream")
_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}")
_HEADERS = {"accept": "image/*", "user-agent": "farthing"}
_HINT = (
    'Send the image itself, {"data:image/png;base64": "…"}; or, if it may be fetched from there, name the host in '
    "`images.allowed_hosts` of the settings."
)


class _RefusedError(Exception):
    """reason: what follows "cannot be fetched: "."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ImageFetcher:
    """Fetches by these rules. It keeps nothing, neither images nor connections, and can be sent to a process.

    environ: for the proxies, if the rules want them. lookup, tls: the machine's own unless given; see
    `Resolver` and `Dialer`.
    """

    def __init__(
        self,
        rules: Images | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        lookup: Lookup | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._rules = rules or Images()
        self._environ = dict(environ or {}) if self._rules.use_proxy else {}
        self._lookup = lookup
        self._tls = tls

    async def fetched(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of a line with the bytes of each image that has only its address, at any depth.

        An address that comes twice is fetched once. Raises FlowInputError that names the input.
        """
        wanted = {name: list(unfetched(value)) for name, value in inputs.items()}
        images = {each.url: (name, each) for name, found in wanted.items() for each in found}
        if not images:
            return dict(inputs)
        if len(images) > MAX_IMAGES:
            raise FlowInputError(
                f"The inputs give {len(images)} images by their addresses, and {MAX_IMAGES} at most are fetched.",
                hint="Send fewer, or the images themselves.",
                param=next(iter(images.values()))[0],
            )
        got = await _Fetching(self, images).all()
        return {
            name: with_bytes(value, got) if wanted[name] else value
            for name, value in inputs.items()
        }

    async def fetch(self, url: str, limit: int) -> tuple[bytes, str]:
        """The bytes of the image there and their type. limit: bytes. Raises _RefusedError."""
        at = url
        for _ in range(MAX_REDIRECTS + 1):
            moved = "" if at == url else f"it leads on to {shown(at)}; "
            try:
                origin = self._checked(urlsplit(at))
                found = await self._ask(at, origin, limit)
            except _RefusedError as error:
                raise _RefusedError(moved + error.reason) from error
            except ValueError as error:  # brackets that do not close, bytes that are no text
                raise _RefusedError(moved + "the address cannot be read") from error
            if isinstance(found, bytes):
                kind = Image(found).mime_type
                if kind == ANY_TYPE:
                    raise _RefusedError("what is there is no image")
                return found, kind
            try:
                at = urljoin(at, found)
            except ValueError as error:
                raise _RefusedError("it leads on to an address that cannot be read") from error
        raise _RefusedError(f"it is redirected more than {MAX_REDIRECTS} times")

    @property
    def rules(self) -> Images:
        """What it goes by."""
        return self._rules

    # --- one address ---

    def _checked(self, parts: SplitResult) -> Origin:
        if parts.scheme not in ("http", "https"):
            raise _RefusedError("only http and https addresses are")
        if parts.username is not None or parts.password is not None:
            raise _RefusedError("the address holds a user's name or password, which is not sent")
        try:
            origin = origin_of(parts)
        except ConfigError:
            raise _RefusedError("the address is not complete") from None
        if not _HOST.fullmatch(origin.host):
            raise _RefusedError("the address names no host")
        if not self._is_allowed(origin) and origin.port not in (80, 443):
            raise _RefusedError(f"port {origin.port} is not one of web servers (80, 443)")
        return origin

    def _is_allowed(self, origin: Origin) -> bool:
        """Whether the settings name the host: with a port for that one, without for the usual two."""
        for entry in self._rules.allowed_hosts:
            host, _, port = entry.rpartition(":") if _has_port(entry) else (entry, "", "")
            host = host.strip("[]").lower()
            is_host = origin.host == host or (
                host.startswith("*.") and origin.host.endswith(host[1:])
            )
            if is_host and (str(origin.port) == port if port else origin.port in (80, 443)):
                return True
        return False

    async def _ask(self, url: str, origin: Origin, limit: int) -> bytes | str:
        """The body of what is there, or where it is redirected to. Raises _RefusedError."""
        try:
            proxy = proxy_for(origin, self._environ)
        except ConfigError as error:
            raise _RefusedError(f"of its proxy. {error.message}") from error
        if proxy is not None and not self._is_allowed(origin):
            await self._judge(origin.host)
        is_plain = proxy is not None or self._is_allowed(origin)
        resolver = (Resolver if is_plain else PublicResolver)(self._lookup)
        upstream = Upstream(
            "images", max_connections=1, environ=self._environ, resolver=resolver, tls=self._tls
        )
        try:
            timeouts = Timeouts(
                connect_s=_CONNECT_S,
                first_byte_s=self._rules.timeout_s,
                between_bytes_s=self._rules.timeout_s,
                total_s=self._rules.timeout_s,
            )
            async with upstream.exchange(
                url, method="GET", headers=_HEADERS, timeouts=timeouts
            ) as exchange:
                return await _answer(exchange, limit)
        except UpstreamError as error:
            raise _RefusedError(_reason(error)) from error
        finally:
            await upstream.aclose()

    async def _judge(self, host: str) -> None:
        """Refuse a host that is known here and is not public. A proxy may know names that we do not."""
        try:
            await PublicResolver(self._lookup).addresses(host)
        except NotPublicError as error:
            raise _RefusedError(error.reason) from error
        except ConnectError:
            pass


class _Fetching:
    """The images of one line under way. images: by address, with the input that each is for."""

    def __init__(self, fetcher: ImageFetcher, images: Mapping[str, tuple[str, Image]]) -> None:
        self._fetcher = fetcher
        self._images = images
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._left = MAX_LINE_BYTES
        self._input = next(iter(images.values()))[0]
        self._url = next(iter(images))

    async def all(self) -> dict[str, Image]:
        """By address. Raises FlowInputError for the first that cannot be fetched."""
        timeout_s = self._fetcher.rules.timeout_s
        tasks: list[asyncio.Task[Image]] = []
        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
                tasks += [group.create_task(self._one(url)) for url in self._images]
        except TimeoutError:
            raise self._failed(self._url, f"it took longer than {timeout_s:g} s") from None
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        return dict(zip(self._images, (task.result() for task in tasks), strict=True))

    async def _one(self, url: str) -> Image:
        async with self._turns:
            self._url = url
            limit = min(self._fetcher.rules.max_bytes, self._left)
            try:
                body, kind = await self._fetcher.fetch(url, limit)
            except _RefusedError as error:
                raise self._failed(url, error.reason) from error
            self._left -= len(body)
            told = self._images[url][1].mime_type
            return Image(body, kind if told == ANY_TYPE else told, url)

    def _failed(self, url: str, reason: str) -> FlowInputError:
        name, _ = self._images[url]
        return FlowInputError(
            f"The image of the input '{name}' cannot be fetched from {shown(url)}: {reason}.",
            hint=_HINT,
            param=name,
        )


def shown(url: str) -> str:
    """An address without what may be a secret in it: user, password, query, fragment."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an address that cannot be read"
    return (
        f"{parts.scheme}://{host}{parts.path}"[:200] if host else f"a {parts.scheme[:20]} address"
    )


async def _answer(exchange: Exchange, limit: int) -> bytes | str:
    if exchange.status in _MOVED:
        location = exchange.header("location")
        if location:
            return location
    if exchange.status != 200:
        raise _RefusedError(f"the server answers with status {exchange.status}")
    kind = exchange.content_type
    if not kind.startswith("image/") and kind not in _UNTOLD:
        raise _RefusedError(f"what is there is {kind[:60]}, no image")
    length = exchange.header("content-length") or ""
    if length.isdigit() and int(length[:18]) > limit:
        raise _RefusedError(_too_large(limit))
    pieces, size = [], 0
    while piece := await exchange.read():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise _RefusedError(_too_large(limit))
    return b"".join(pieces)


def _reason(error: UpstreamError) -> str:
    cause = error.__cause__
    if isinstance(error, UpstreamTimeoutError):
        return "the server takes too long"
    if isinstance(cause, NotPublicError):
        return cause.reason
    if isinstance(cause, CertificateError):
        return "the server's certificate is not to be trusted, or it speaks no TLS"
    if isinstance(cause, ConnectError):
        return f"the server cannot be reached ({cause.reason})"
    if isinstance(cause, CompressionError):
        return f"the answer's compression {cause}"
    return "the server's answer breaks off or is not HTTP"


def _too_large(limit: int) -> str:
    return f"it has more than {limit:,} bytes"


def _has_port(entry: str) -> bool:
    """Whether a colon in an allowed host begins a port; an IPv6 address with one has brackets."""
    return entry.count(":") == 1 or "]:" in entry
