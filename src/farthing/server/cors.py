"""Cross-origin rules: which web pages may read our answers."""

from __future__ import annotations

from farthing.base.config.settings import Server
from farthing.wire.edge.answers import Header
from farthing.wire.edge.exchange import Exchange

_PREFLIGHT: tuple[Header, ...] = (
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
    (b"access-control-max-age", b"600"),
)


def cors_headers(exchange: Exchange, settings: Server) -> list[Header]:
    """The headers that let the page of an allowed origin read the answer; none for others."""
    origin = exchange.header("origin")
    if origin is None or not settings.cors_origins:
        return []
    if origin not in settings.cors_origins and "*" not in settings.cors_origins:
        return []
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"*"),
        (b"vary", b"origin"),
    ]


def preflight_headers(exchange: Exchange) -> list[Header]:
    """What an OPTIONS request of an allowed origin is told besides."""
    asked = exchange.header("access-control-request-headers") or "authorization, content-type"
    return [*_PREFLIGHT, (b"access-control-allow-headers", asked.encode("latin-1"))]
