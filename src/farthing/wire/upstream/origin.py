"""Where connections lead: scheme, host and port of a server, and the proxy on the way to it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from farthing.core.errors import ConfigError

_PORTS = {"http": 80, "https": 443}


class Origin(msgspec.Struct, frozen=True):
    """A server (RFC 6454). host: lower case, without brackets, punycode where it had other letters."""

    scheme: str
    host: str
    port: int

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """`host:port`, IPv6 in brackets; the form that CONNECT wants."""
        return f"{self._bracketed()}:{self.port}"

    @property
    def host_header(self) -> str:
        """The same without a default port (RFC 9110, 7.2)."""
        return self._bracketed() if self.port == _PORTS[self.scheme] else self.authority

    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy. authorization: the whole header line with its end, or empty; it is a secret."""

    origin: Origin
    authorization: bytes = b""

    def __repr__(self) -> str:
        return f"Proxy({self.origin.authority})"


def origin_of(parts: SplitResult) -> Origin:
    """The origin of a parsed URL. Raises ConfigError when it is not a usable http or https address."""
    try:
        host = (parts.hostname or "").encode("idna" if _has_letters(parts) else "ascii").decode()
        usual = _PORTS[parts.scheme]
        port = parts.port or usual
    except (ValueError, KeyError):  # UnicodeError is a ValueError
        host, port = "", 0
    if not host:
        raise ConfigError(
            "An address to call is not a usable http or https address.",
            hint='Write it like "https://api.example.com/v1".',
        )
    return Origin(parts.scheme, host, port)


def proxy_for(origin: Origin, environ: Mapping[str, str]) -> Proxy | None:
    """What HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say; loopback never takes a proxy.

    Lower-case names win, as with curl. Raises ConfigError for a proxy that is not http or https.
    """
    if is_loopback(origin.host):
        return None
    if _is_excluded(origin.host, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    # Upper-case HTTP_PROXY can be set by a request header under CGI; nobody runs this under CGI.
    own = f"{origin.scheme}_proxy"
    names = (own, own.upper(), "all_proxy", "ALL_PROXY")
    name = next((name for name in names if environ.get(name)), None)
    return None if name is None else _proxy(environ[name], name)


def is_loopback(host: str) -> bool:
    """Whether the host is this machine itself. host: a name or an address without brackets."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy(url: str, variable: str) -> Proxy:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        origin = origin_of(parts)
    except ConfigError:
        raise ConfigError(
            f"{variable} is not the address of an http or https proxy.",
            hint='Write it like "http://proxy.example.com:3128".',
        ) from None
    if parts.username is None:
        return Proxy(origin)
    words = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return Proxy(origin, b"proxy-authorization: Basic " + b64encode(words) + b"\r\n")


def _is_excluded(host: str, no_proxy: str) -> bool:
    """Whether NO_PROXY (`*`, or hosts and domain suffixes parted by commas) names this host."""
    entries = (entry.strip().partition(":")[0].lstrip(".") for entry in no_proxy.split(","))
    return any(e == "*" or (e and (host == e or host.endswith(f".{e}"))) for e in entries)


def _has_letters(parts: SplitResult) -> bool:
    """Whether the host needs punycode; the codec also refuses labels that plain names may have."""
    return not (parts.hostname or "").isascii()
