"""Keyless mode answers this machine's programs, not web pages and not other machines."""

from __future__ import annotations

import pytest

from farthing.base.config.settings import Server
from farthing.core.errors import AuthenticationError, PermissionDeniedError
from farthing.server.guard import check_keyless, is_loopback
from farthing.wire.edge.exchange import Exchange


def request(host: str = "127.0.0.1:4000", peer: str = "127.0.0.1", **headers: str) -> Exchange:
    return Exchange.apart("POST", "/", {"host": host, **headers}, peer=peer)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4000", "localhost", "LOCALHOST:4000", "[::1]:4000", "x.localhost:1"]
)
def test_names_of_this_machine_are_let_through(host: str) -> None:
    check_keyless(request(host), Server())


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "[::1", "10.0.0.1"],
)
def test_a_foreign_name_that_resolves_here_is_refused(host: str) -> None:
    with pytest.raises(PermissionDeniedError, match="Host"):
        check_keyless(request(host), Server())


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for"])
def test_what_came_through_a_proxy_needs_a_key(header: str) -> None:
    with pytest.raises(PermissionDeniedError, match="proxy"):
        check_keyless(request(**{header: "203.0.113.9"}), Server())


def test_a_web_page_of_another_origin_is_refused() -> None:
    with pytest.raises(PermissionDeniedError, match="origin"):
        check_keyless(request(origin="https://evil.example"), Server())
    with pytest.raises(PermissionDeniedError):
        check_keyless(request(origin="null"), Server())
    with pytest.raises(PermissionDeniedError):
        check_keyless(request(origin="http://localhost:3000"), Server(cors_origins=("*",)))


def test_a_page_of_an_allowed_origin_or_our_own_is_let_through() -> None:
    allowed = Server(cors_origins=("http://localhost:3000",))
    check_keyless(request(origin="http://localhost:3000"), allowed)
    check_keyless(request("127.0.0.1:4000", origin="http://127.0.0.1:4000"), Server())


def test_another_machine_needs_a_key() -> None:
    with pytest.raises(AuthenticationError, match="only this machine"):
        check_keyless(request(peer="192.168.1.7"), Server())


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("localhost", True),
        ("example.org", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
