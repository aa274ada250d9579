"""`RequestHead`: a request's line and headers, checked and encoded once and sent many times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from farthing.core.errors import BadRequestError
from farthing.wire.upstream.origin import Origin, Proxy, origin_of

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_LINE_BREAK = re.compile(r"[\r\n\0]")
#: What may stand in a request target; all else is percent-encoded, and `%` is taken as encoded already.
_SAFE = "/?%:@!$&'()*+,;=~-._[]"
#: How a body is framed and a connection kept is said here alone: two opinions make a request smuggler.
_OURS = frozenset({"connection", "content-length", "host", "te", "trailer", "transfer-encoding"})


class RequestHead:
    """Everything of a request that does not change from call to call. Immutable; callers keep it.

    url: complete and quoted. headers: names in any case; `accept-encoding: identity` is added unless they
    say otherwise, because an answer that is forwarded should come as it goes.
    Raises BadRequestError for a header that HTTP cannot carry, ConfigError for an unusable address.
    """

    __slots__ = ("_absolute", "_headers", "encoded", "method", "origin")

    def __init__(self, method: str, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self.origin: Origin = origin_of(parts)
        self.method = method
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        target = quote(path, safe=_SAFE)
        chosen = {"accept-encoding": "identity"}
        chosen.update((name.lower(), value) for name, value in headers.items())
        host = f"host: {self.origin.host_header}\r\n".encode()
        self._headers = host + header_lines(chosen)
        self._absolute = f"{method} http://{self.origin.host_header}{target} HTTP/1.1\r\n".encode()
        #: The request line and all header lines, each with its end; the empty line is not in it.
        self.encoded = f"{method} {target} HTTP/1.1\r\n".encode() + self._headers

    def through(self, proxy: Proxy) -> bytes:
        """The same for a proxy that forwards plain http (RFC 9112, 3.2.2: absolute-form)."""
        return self._absolute + proxy.authorization + self._headers

    def __repr__(self) -> str:
        return f"RequestHead({self.method} {self.origin.authority})"


def header_lines(headers: Mapping[str, str]) -> bytes:
    """The headers as they go over the wire, each line with its end. Raises BadRequestError."""
    return b"".join(_line(name, value) for name, value in headers.items())


def _line(name: str, value: str) -> bytes:
    if _LINE_BREAK.search(value):
        raise BadRequestError(
            f"The header '{name}' contains a line break.", hint="Remove it.", param=name
        )
    if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
        raise BadRequestError(
            f"The header '{name[:60]}' cannot be sent.",
            hint="It is no HTTP header name, or one that the connection itself sets.",
            param=name,
        )
    # A lone surrogate is how Python shows a byte that was no UTF-8: it goes out as it came in.
    return f"{name}: {value}\r\n".encode("utf-8", "surrogateescape")
