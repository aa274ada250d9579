from __future__ import annotations

import pytest

from farthing.core.errors import BadRequestError, ConfigError
from farthing.wire.upstream.origin import Origin, Proxy, is_loopback, proxy_for
from farthing.wire.upstream.request import RequestHead, header_lines


def test_a_head_is_encoded_with_its_host_and_asks_for_plain_bytes() -> None:
    head = RequestHead("POST", "https://api.example.com/v1/chat?a=b%20c", {"X-Key": "k"})
    assert head.encoded == (
        b"POST /v1/chat?a=b%20c HTTP/1.1\r\nhost: api.example.com\r\n"
        b"accept-encoding: identity\r\nx-key: k\r\n"
    )
    assert head.origin == Origin("https", "api.example.com", 443)


def test_a_header_of_the_caller_replaces_the_default_whatever_its_case() -> None:
    head = RequestHead("GET", "http://x", {"Accept-Encoding": "gzip"})
    assert head.encoded.count(b"accept-encoding") == 1
    assert b"accept-encoding: gzip\r\n" in head.encoded


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://x:80/", b"x"),
        ("http://x:443/", b"x:443"),
        ("https://x:443/", b"x"),
        ("http://[::1]:8080/", b"[::1]:8080"),
        ("https://bücher.example/", b"xn--bcher-kva.example"),
        ("https://API.Example/", b"api.example"),
    ],
)
def test_the_host_header_names_the_port_unless_it_is_the_usual_one(url: str, host: bytes) -> None:
    assert b"\r\nhost: " + host + b"\r\n" in RequestHead("GET", url, {}).encoded


def test_what_cannot_stand_in_a_request_line_is_quoted() -> None:
    encoded = RequestHead("GET", "http://x/a b/ü?q=\x7f", {}).encoded
    assert encoded.startswith(b"GET /a%20b/%C3%BC?q=%7F HTTP/1.1\r\n")


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\0b", "a\r\nx-api-key: b"])
def test_a_value_with_a_line_break_is_refused(value: str) -> None:
    with pytest.raises(BadRequestError, match="line break") as caught:
        header_lines({"x-a": value})
    assert "x-api-key" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "a\r\nb", "Content-Length", "transfer-encoding", "host"]
)
def test_a_name_that_is_none_or_that_frames_the_request_is_refused(name: str) -> None:
    with pytest.raises(BadRequestError):
        RequestHead("GET", "http://x", {name: "1"})


@pytest.mark.parametrize("url", ["ftp://x/", "http:///a", "http://x:99999/", "api.example.com"])
def test_an_address_that_cannot_be_called_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError):
        RequestHead("GET", url, {})


def test_neither_key_nor_path_is_in_the_repr() -> None:
    head = RequestHead("GET", "https://x.example/secret?key=canary", {"x-key": "canary"})
    assert repr(head) == "RequestHead(GET x.example:443)"
    assert "Basic" not in repr(Proxy(head.origin, b"proxy-authorization: Basic canary"))


# --- proxies ---

SITE = Origin("https", "api.example.com", 443)


def test_a_proxy_is_found_by_the_scheme_first_and_lower_case_wins() -> None:
    both = {"HTTPS_PROXY": "http://b:1", "https_proxy": "http://a:1", "ALL_PROXY": "http://c:1"}
    for left, host in (("", "a"), ("https_proxy", "b"), ("HTTPS_PROXY", "c")):
        both.pop(left, None)
        found = proxy_for(SITE, both)
        assert found is not None
        assert found.origin.host == host
    assert proxy_for(SITE, {"HTTP_PROXY": "http://a:1"}) is None


def test_a_proxy_without_scheme_is_http_and_its_password_becomes_a_header() -> None:
    found = proxy_for(SITE, {"ALL_PROXY": "user:p%40ss@proxy.example:3128"})
    assert found == Proxy(
        Origin("http", "proxy.example", 3128),
        b"proxy-authorization: Basic dXNlcjpwQHNz\r\n",
    )


@pytest.mark.parametrize("rule", ["*", "example.com", ".example.com", "x, api.example.com:443"])
def test_no_proxy_names_hosts_and_suffixes(rule: str) -> None:
    assert proxy_for(SITE, {"ALL_PROXY": "http://a:1", "NO_PROXY": rule}) is None
    assert proxy_for(SITE, {"ALL_PROXY": "http://a:1", "NO_PROXY": "other.com"}) is not None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.0.1", "::1"])
def test_loopback_never_takes_a_proxy(host: str) -> None:
    assert is_loopback(host)
    assert proxy_for(Origin("http", host, 80), {"ALL_PROXY": "http://a:1"}) is None


def test_a_proxy_of_another_kind_is_a_config_error_that_hides_its_password() -> None:
    with pytest.raises(ConfigError, match="ALL_PROXY") as caught:
        proxy_for(SITE, {"ALL_PROXY": "socks5://u:canary@a:1"})
    assert "canary" not in str(caught.value)
