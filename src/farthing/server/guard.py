"""What keyless mode asks of a request: it must come from this machine and not from a web page.

Without keys, any page in the user's browser could otherwise spend money here: by a plain cross-site POST
(no CORS needed to send it), or by DNS rebinding (a foreign name that resolves to 127.0.0.1, which makes
the page same-origin). The first is told by `Origin`, the second by `Host`.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from farthing.base.config.settings import Server
from farthing.core.errors import AuthenticationError, PermissionDeniedError
from farthing.wire.edge.exchange import Exchange


def check_keyless(exchange: Exchange, settings: Server) -> None:
    """Raises AuthenticationError for a peer elsewhere, PermissionDeniedError for a page's request."""
    peer = exchange.client_host
    if peer is not None and not is_loopback(peer):
        raise AuthenticationError(
            "Without a key, only this machine may call.",
            hint="Create one with `farthing keys create` and send it with the request.",
        )
    if exchange.header("forwarded") or exchange.header("x-forwarded-for"):
        raise PermissionDeniedError(
            "The request came through a proxy, behind which anybody could be, and no key was sent.",
            hint="Create a key with `farthing keys create` and send it with the request.",
        )
    host = exchange.header("host") or ""
    name = _host_name(host)
    if name is None or not (is_loopback(name) or name == settings.host):
        raise PermissionDeniedError(
            "The Host header names a machine other than this one, and no key was sent.",
            hint="Call it as 127.0.0.1 or localhost, or create a key with `farthing keys create`.",
        )
    origin = exchange.header("origin")
    if origin is None or origin in settings.cors_origins:
        return
    if origin != f"{exchange.scheme}://{host}":
        raise PermissionDeniedError(
            "A web page of another origin may not call without a key.",
            hint="Add its origin to server.cors_origins, or create a key with `farthing keys create`.",
        )


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


@lru_cache(maxsize=256)
def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
