"""Several addresses, TLS, proxies: how a connection comes to be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from farthing.core.errors import UpstreamUnreachableError
from farthing.core.models import Timeouts
from farthing.testing.server import Peer, serving
from farthing.wire.upstream.resolve import Address, Resolver
from farthing.wire.upstream.tls import ClientContext
from tests.wire.upstream.certificates import Authority
from tests.wire.upstream.worlds import Listener, answered, ask, on_each_loop, open_now, upstream

V4 = int(socket.AF_INET)


def names(*hosts: str) -> Resolver:
    """Every name has these addresses."""

    async def lookup(_: str) -> list[Address]:
        return [(V4, host) for host in hosts]

    return Resolver(lookup)


async def ok(peer: Peer) -> None:
    await peer.answer(b"ok")


@on_each_loop
async def test_a_refusing_address_is_passed_over_at_once_and_tried_last_next_time() -> None:
    resolver = names("127.0.0.2", "127.0.0.1")
    async with serving(ok) as server, upstream(resolver=resolver) as via:
        assert await answered(via, f"http://acme.test:{server.port}/") == b"ok"
        assert (await resolver.addresses("acme.test"))[0] == (V4, "127.0.0.1")
        assert server.asked[0].headers["host"] == f"acme.test:{server.port}"


@on_each_loop
async def test_a_silent_address_is_overtaken_by_the_next_one() -> None:
    async with serving(ok) as server:
        with Listener("127.0.0.2", server.port, backlog=0) as silent:
            fillers = [
                socket.socket() for _ in range(4)
            ]  # its queue is full: more are not answered
            for each in fillers:
                each.setblocking(False)
                each.connect_ex(("127.0.0.2", silent.port))
            async with upstream(resolver=names("127.0.0.2", "127.0.0.1")) as via:
                assert await answered(via, f"http://acme.test:{server.port}/") == b"ok"
                assert open_now(via) == 1
            for each in fillers:
                each.close()


@on_each_loop
async def test_when_no_address_answers_the_reason_is_told() -> None:
    with Listener() as gone:
        port = gone.port
    async with upstream(resolver=names("127.0.0.2", "127.0.0.1")) as via:
        with pytest.raises(UpstreamUnreachableError, match="connection refused") as caught:
            await ask(via, f"http://acme.test:{port}/")
        assert not caught.value.was_sent
        assert open_now(via) == 0


@on_each_loop
async def test_segments_are_sent_at_once_and_the_kernel_asks_after_quiet_peers() -> None:
    async with serving(ok) as server, upstream() as via:
        await answered(via, server.url)
        (line,) = via._lines.values()
        (connection,) = line.pool._open
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


# --- TLS ---


@on_each_loop
async def test_tls_connections_are_verified_named_and_used_again() -> None:
    authority = Authority()
    async with (
        authority.serving("acme.test", ok) as server,
        upstream(resolver=names("127.0.0.1"), tls=authority.trust) as via,
    ):
        for _ in range(3):
            assert await answered(via, f"https://acme.test:{server.port}/") == b"ok"
        assert server.connections == 1
        assert server.asked_names == ["acme.test"]
        (line,) = via._lines.values()
        (connection,) = line.pool._open
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection._transport.get_extra_info("ssl_object").selected_alpn_protocol() == (
            "http/1.1"
        )


@on_each_loop
async def test_a_new_connection_takes_up_the_session_of_an_old_one() -> None:
    async def once(peer: Peer) -> None:
        await peer.answer(b"ok", more="Connection: close\r\n")
        peer.writer.close()

    authority = Authority()
    async with (
        authority.serving("acme.test", ok) as server,
        authority.serving("acme.test", once) as closing,
        upstream(resolver=names("127.0.0.1"), tls=authority.trust) as via,
    ):
        first, second = [await ask(via, f"https://acme.test:{server.port}/") for _ in range(2)]
        assert server.resumed == 0
        first.close()
        third = await ask(via, f"https://acme.test:{server.port}/")
        fourth = await ask(via, f"https://acme.test:{server.port}/")
        assert server.connections == 3
        assert server.resumed == 1
        for each in (second, third, fourth):
            each.close()
        # Each origin remembers for itself, whatever name it shares.
        assert await answered(via, f"https://acme.test:{closing.port}/") == b"ok"
        assert closing.resumed == 0


@on_each_loop
async def test_a_rush_of_new_connections_shares_one_trust_and_its_sessions() -> None:
    made: list[object] = []
    authority = Authority()

    def trust() -> ClientContext:
        made.append(authority.trust())
        return made[-1]  # type: ignore[return-value]

    async with (
        authority.serving("acme.test", ok) as server,
        upstream(resolver=names("127.0.0.1"), tls=trust) as via,
    ):
        for _ in range(2):
            url = f"https://acme.test:{server.port}/"
            assert await asyncio.gather(*(answered(via, url) for _ in range(8))) == [b"ok"] * 8
            for line in via._lines.values():
                line.pool._max_age_s = -1.0
        assert len(made) == 1


@on_each_loop
async def test_a_certificate_for_another_name_or_of_a_stranger_is_refused() -> None:
    authority = Authority()
    async with authority.serving("acme.test", ok) as server:
        for host, trust in (("other.test", authority.trust), ("acme.test", Authority().trust)):
            async with upstream(resolver=names("127.0.0.1"), tls=trust) as via:
                with pytest.raises(UpstreamUnreachableError, match="TLS certificate") as caught:
                    await ask(via, f"https://{host}:{server.port}/")
                assert not caught.value.was_sent
                assert open_now(via) == 0


@on_each_loop
async def test_a_server_without_tls_is_told_as_such() -> None:
    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(talks, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with upstream(tls=Authority().trust) as via:
        with pytest.raises(UpstreamUnreachableError) as caught:
            await ask(via, f"https://127.0.0.1:{port}/")
        assert not caught.value.was_sent
    server.close()


def test_the_default_trust_is_pythons_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority()
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))

    async def run() -> None:
        async with (
            authority.serving("acme.test", ok) as server,
            upstream(resolver=names("127.0.0.1")) as via,
        ):
            assert await answered(via, f"https://acme.test:{server.port}/") == b"ok"

    asyncio.run(run())


# --- proxies ---


@on_each_loop
async def test_plain_http_goes_to_the_proxy_with_the_whole_address() -> None:
    async with serving(ok) as server:
        proxy = f"http://user:pass@127.0.0.1:{server.port}"
        async with upstream(environ={"HTTP_PROXY": proxy}) as via:
            for _ in range(2):
                assert await answered(via, "http://acme.test/v1?a=b") == b"ok"
            asked = server.asked[0]
            assert asked.line == "POST http://acme.test/v1?a=b HTTP/1.1"
            assert asked.headers["host"] == "acme.test"
            assert asked.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
            assert server.connections == 1


@on_each_loop
async def test_tls_goes_through_a_tunnel_that_never_sees_the_request() -> None:
    authority = Authority()
    tunnelled: list[bytes] = []
    async with authority.serving("acme.test", ok) as server:
        async with tunnelling(server.port, tunnelled) as port:
            environ = {"HTTPS_PROXY": f"http://user:pass@127.0.0.1:{port}"}
            async with upstream(environ=environ, tls=authority.trust) as via:
                for _ in range(2):
                    assert await answered(via, "https://acme.test/v1") == b"ok"
        assert server.asked[0].line == "POST /v1 HTTP/1.1"
        assert "proxy-authorization" not in server.asked[0].headers
        (asked,) = tunnelled
        assert asked.startswith(b"CONNECT acme.test:443 HTTP/1.1\r\n")
        assert b"proxy-authorization: Basic dXNlcjpwYXNz\r\n" in asked


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "status 407"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurplus", "not HTTP"),
        (b"canary\r\n\r\n", "not HTTP"),
        (b"x" * 20_000, "not HTTP"),
        (b"", "closed the connection"),
    ],
)
async def test_a_proxy_that_refuses_is_told(answer: bytes, reason: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with upstream(environ={"ALL_PROXY": f"http://u:canary@127.0.0.1:{port}"}) as via:
        with pytest.raises(UpstreamUnreachableError, match=reason) as caught:
            await ask(via, "https://acme.test/")
        assert not caught.value.was_sent
        assert "canary" not in str(caught.value)
        assert open_now(via) == 0
    server.close()


@on_each_loop
async def test_a_cancelled_dial_leaves_nothing_behind_in_any_of_its_steps() -> None:
    with Listener() as listener:
        for url, environ in (
            (f"https://127.0.0.1:{listener.port}/", {}),  # inside the handshake
            ("https://acme.test/", {"ALL_PROXY": f"http://127.0.0.1:{listener.port}"}),  # CONNECT
        ):
            async with upstream(environ=environ) as via:
                task = asyncio.create_task(ask(via, url))
                peer = await listener.accept()
                assert await listener.hear(peer)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await listener.hear(peer) == b""
                assert open_now(via) == via._busy == 0


@on_each_loop
async def test_connecting_takes_no_longer_than_its_timeout() -> None:
    times = Timeouts(connect_s=0.05, first_byte_s=2, between_bytes_s=2, total_s=5)
    with Listener() as listener:
        async with upstream() as via:
            with pytest.raises(Exception, match="could not be connected to within") as caught:
                await ask(via, f"https://127.0.0.1:{listener.port}/", times=times)
            assert caught.value.was_sent is False  # type: ignore[attr-defined]


@asynccontextmanager
async def tunnelling(target: int, asked: list[bytes]) -> AsyncIterator[int]:
    """A proxy that lets every CONNECT through to this port of loopback."""
    pumps: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        there, back = await asyncio.open_connection("127.0.0.1", target)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        pumps.extend(
            asyncio.create_task(each) for each in (pump(reader, back), pump(there, writer))
        )

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in pumps:
            each.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
