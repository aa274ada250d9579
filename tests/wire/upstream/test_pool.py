"""What is used again, how long, and when a request is sent a second time."""

from __future__ import annotations

import asyncio
import sys

import pytest

from farthing.core.errors import (
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeoutError,
    UpstreamTruncatedError,
    UpstreamUnreachableError,
)
from farthing.core.models import Timeouts
from farthing.providers.connection import RequestHead, Upstream
from farthing.testing.server import Peer, serving
from farthing.wire.upstream.pool import keep_alive_s
from tests.wire.upstream.worlds import (
    OK,
    TIMES,
    Listener,
    answered,
    ask,
    on_each_loop,
    open_now,
    upstream,
)

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel can tell")


async def ok(peer: Peer) -> None:
    await peer.answer(b"ok")


def idle_now(via: Upstream) -> int:
    return sum(line.pool.idle_now for line in via._lines.values())


# --- reuse ---


@on_each_loop
async def test_the_connection_given_back_last_is_taken_first() -> None:
    ports: list[int] = []

    async def script(peer: Peer) -> None:
        ports.append(peer.writer.get_extra_info("peername")[1])
        await peer.answer(b"ok")

    async with serving(script) as server, upstream() as via:
        first, second = await asyncio.gather(ask(via, server.url), ask(via, server.url))
        first.close()
        second.close()
        third = await ask(via, server.url)
        assert third._connection is not None
        for _ in range(3):
            third.close()
            third = await ask(via, server.url)
        third.close()
        assert server.connections == 2
        assert len(set(ports[2:])) == 1


@on_each_loop
async def test_no_more_exchanges_run_than_allowed() -> None:
    running, most = 0, 0

    async def script(peer: Peer) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        await peer.answer(b"ok")

    async with serving(script) as server, upstream(max_connections=3) as via:
        calls = (answered(via, server.url) for _ in range(20))
        assert await asyncio.gather(*calls) == [b"ok"] * 20
        assert most == server.connections == 3
        assert via._busy == 0


@on_each_loop
async def test_the_longest_waiting_comes_first() -> None:
    async with serving(ok) as server, upstream(max_connections=1) as via:
        calls = (answered(via, server.url, body=b"%d" % number) for number in range(9))
        await asyncio.gather(*calls)
        assert [int(asked.body) for asked in server.asked] == list(range(9))


@on_each_loop
async def test_giving_up_the_wait_for_a_slot_takes_none() -> None:
    with Listener() as listener:
        async with upstream(max_connections=1) as via:
            first = asyncio.create_task(ask(via, listener.url))
            peer = await listener.accept()
            waiting = [asyncio.create_task(ask(via, listener.url)) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            assert await listener.hear(peer)
            await listener.say(peer, OK)
            exchange = await first
            exchange.close()  # the slot is handed to the second, which is cancelled in that moment
            waiting[1].cancel()
            assert await listener.hear(peer)
            await listener.say(peer, OK)
            (await waiting[2]).close()
            assert via._busy == 0
            assert not via._waiting
            await asyncio.gather(*waiting, return_exceptions=True)


@on_each_loop
async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with serving(ok) as server, upstream(idle_s=0.03) as via:
        await answered(via, server.url)
        assert idle_now(via) == 1
        await asyncio.sleep(0.06)
        assert open_now(via) == idle_now(via) == 0


@on_each_loop
async def test_a_connection_that_the_server_closed_is_not_taken() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"ok")
        peer.writer.close()

    async with serving(script) as server, upstream() as via:
        for _ in range(3):
            assert await answered(via, server.url) == b"ok"
            while open_now(via):
                await asyncio.sleep(0)
        assert idle_now(via) == 0
        assert server.connections == 3


@pytest.mark.parametrize("more", ["Connection: close\r\n", "Keep-Alive: timeout=1\r\n"])
async def test_a_server_that_will_not_keep_it_is_believed(more: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"ok", more=more)

    async with serving(script) as server, upstream() as via:
        for _ in range(2):
            await answered(via, server.url)
        assert server.connections == 2


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        (b"keep-alive: timeout=5, max=100", 4.0),
        (b"keep-alive: max=100, timeout=20", 19.0),
        (b"keep-alive: timeout=0", 0.0),
        (b"keep-alive: timeout=x", float("inf")),
        (b"x-keep-alive: timeout=5", float("inf")),
    ],
)
def test_the_servers_word_on_idle_time_is_taken_with_a_margin(line: bytes, seconds: float) -> None:
    assert keep_alive_s(b"http/1.1 200 ok\r\n" + line + b"\r\n") == seconds


@on_each_loop
async def test_an_old_connection_is_not_given_back() -> None:
    async with serving(ok) as server, upstream() as via:
        await answered(via, server.url)
        (line,) = via._lines.values()
        line.pool._max_age_s = -1.0
        await answered(via, server.url)
        assert idle_now(via) == 0


@on_each_loop
async def test_a_body_that_was_not_read_but_has_come_does_not_cost_the_connection() -> None:
    async with serving(ok) as server, upstream() as via:
        for _ in range(3):
            (await ask(via, server.url)).close()
        assert server.connections == 1


@on_each_loop
async def test_warm_connections_are_there_before_the_first_call() -> None:
    async with serving(ok) as server, upstream() as via:
        assert await via.warm(server.url, 3) == 3
        assert await via.warm(server.url, 3) == 0
        assert await answered(via, server.url) == b"ok"
        assert server.connections == open_now(via) == 3
    async with upstream() as via:
        assert await via.warm(server.url, 3) == 0  # nobody is there any more, and nobody is told


# --- sending again ---


async def pooled(listener: Listener, via: Upstream) -> asyncio.Future[object]:
    """One answered exchange; the server's end of its connection."""
    task = asyncio.create_task(answered(via, listener.url))
    peer = await listener.accept()
    assert await listener.hear(peer)
    await listener.say(peer, OK)
    assert await task == b"ok"
    assert idle_now(via) == 1
    return peer  # type: ignore[return-value]


@needs_linux
@on_each_loop
async def test_a_request_that_met_a_closed_connection_unread_goes_out_again_unnoticed() -> None:
    with Listener() as listener:
        async with upstream() as via:
            peer = await pooled(listener, via)
            peer.close()  # type: ignore[attr-defined]
            # The loop has not run since: as far as it knows the connection is good.
            task = asyncio.create_task(answered(via, listener.url, body=b"canary"))
            fresh = await listener.accept()
            heard = await listener.hear(fresh)
            assert heard.endswith(b"canary")
            await listener.say(fresh, OK)
            assert await task == b"ok"
            assert via._busy == 0


@on_each_loop
async def test_a_request_that_was_read_is_never_sent_again_because_it_may_have_been_paid() -> None:
    with Listener() as listener:
        async with upstream() as via:
            peer = await pooled(listener, via)
            task = asyncio.create_task(answered(via, listener.url))
            assert await listener.hear(peer)  # type: ignore[arg-type]
            peer.close()  # type: ignore[attr-defined]
            with pytest.raises(UpstreamUnreachableError, match="before it answered") as caught:
                await task
            assert caught.value.was_sent
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(listener.accept(), 0.02)


@on_each_loop
async def test_a_question_without_effects_is_asked_again() -> None:
    with Listener() as listener:
        async with upstream() as via:
            peer = await pooled(listener, via)
            task = asyncio.create_task(answered(via, listener.url, method="GET", body=b""))
            assert await listener.hear(peer)  # type: ignore[arg-type]
            peer.close()  # type: ignore[attr-defined]
            fresh = await listener.accept()
            assert (await listener.hear(fresh)).startswith(b"GET /v1 HTTP/1.1\r\n")
            await listener.say(fresh, OK)
            assert await task == b"ok"


@on_each_loop
async def test_once_a_byte_of_the_answer_came_nothing_is_asked_again() -> None:
    with Listener() as listener:
        async with upstream() as via:
            peer = await pooled(listener, via)
            task = asyncio.create_task(answered(via, listener.url, method="GET", body=b""))
            await listener.hear(peer)  # type: ignore[arg-type]
            await listener.say(peer, b"H")  # type: ignore[arg-type]
            peer.close()  # type: ignore[attr-defined]
            with pytest.raises(UpstreamUnreachableError):
                await task


@on_each_loop
async def test_a_fresh_connection_that_breaks_is_an_error_at_once() -> None:
    with Listener() as listener:
        async with upstream() as via:
            task = asyncio.create_task(answered(via, listener.url, method="GET", body=b""))
            peer = await listener.accept()
            await listener.hear(peer)
            peer.close()
            with pytest.raises(UpstreamUnreachableError):
                await task
            assert via._busy == open_now(via) == 0


@on_each_loop
async def test_a_server_that_speaks_or_closes_before_it_is_asked_keeps_nobody_waiting() -> None:
    for words in (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", b""):

        async def full(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: bytes = words
        ) -> None:
            writer.write(words)
            writer.close()

        server = await asyncio.start_server(full, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with upstream() as via:
            for _ in range(10):
                try:  # its words count only if they come after the question, which is a matter of luck
                    exchange = await asyncio.wait_for(ask(via, f"http://127.0.0.1:{port}/"), 1)
                except UpstreamError:
                    continue
                assert words
                assert exchange.status == 503
                exchange.close()
            assert idle_now(via) == via._busy == 0
        server.close()


# --- errors keep their words ---


@on_each_loop
async def test_each_timeout_names_its_own_setting() -> None:
    times = Timeouts(connect_s=2.0, first_byte_s=0.03, between_bytes_s=0.03, total_s=5.0)
    brief = Timeouts(connect_s=2.0, first_byte_s=2.0, between_bytes_s=2.0, total_s=0.03)
    with Listener() as listener:
        async with upstream() as via:
            for given, setting in ((times, "first_byte_s"), (brief, "total_s")):
                with pytest.raises(UpstreamTimeoutError, match=f"timeouts.{setting}") as caught:
                    await ask(via, listener.url, times=given)
                assert caught.value.was_sent
                await listener.accept()
            for given, setting in ((times, "between_bytes_s"), (brief, "total_s")):
                task = asyncio.create_task(ask(via, listener.url, times=given))
                peer = await listener.accept()
                assert await listener.hear(peer)
                await listener.say(peer, OK[:-1])
                exchange = await task
                with pytest.raises(UpstreamTimeoutError, match=f"timeouts.{setting}"):
                    await exchange.body()
                exchange.close()
            assert via._busy == 0


async def test_every_way_to_read_raises_the_same_errors_with_their_place() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 200 OK\r\nx-request-id: r1\r\nContent-Length: 9\r\n\r\nabc")
        peer.writer.close()

    async with serving(script) as server, upstream() as via:
        for way in ("read", "relay", "body", "chunks"):
            exchange = await via.start(
                RequestHead("POST", server.url, {}), b"", b"{}", TIMES, "east"
            )
            with pytest.raises(UpstreamTruncatedError) as caught:
                if way == "read":
                    while await exchange.read():
                        pass
                elif way == "relay":
                    await exchange.relay(lambda _: True, 100)
                elif way == "body":
                    await exchange.body()
                else:
                    async for _ in exchange.chunks(100):
                        pass
            exchange.close()
            assert caught.value.provider == "acme"
            assert caught.value.deployment == "east"
            assert caught.value.request_id == "r1"
            assert caught.value.upstream_status == 200


async def test_every_way_to_read_keeps_the_limit() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"x" * 3_000_000)

    limit = 2 * 1024 * 1024
    async with serving(script) as server, upstream() as via:
        for way in ("relay", "body"):
            exchange = await ask(via, server.url)
            with pytest.raises(UpstreamProtocolError, match="more than 2 MB; it was cut off"):
                if way == "relay":
                    await exchange.relay(lambda _: True, limit)
                else:
                    await exchange.body(limit)
            exchange.close()
            assert via._busy == 0


async def test_a_compressed_answer_is_relayed_plain() -> None:
    import gzip

    plain = b"data: x\n\n" * 50_000

    async def script(peer: Peer) -> None:
        await peer.answer(gzip.compress(plain), more="Content-Encoding: gzip\r\n")

    async with serving(script) as server, upstream() as via:
        exchange = await ask(via, server.url)
        got: list[bytes] = []
        assert await exchange.relay(lambda p: got.append(p) is not None, 1 << 20) is True
        assert await exchange.relay(lambda p: got.append(p) is None, 1 << 20) is False
        assert b"".join(got) == plain
        exchange.close()
        assert idle_now(via) == 1


async def test_headers_are_found_one_by_one_as_in_the_whole() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(
            b"ok", more="X-Twice: 1\r\nx-twice:  2 \r\nX-Name: \xfc\r\napim-request-id: r9\r\n"
        )

    async with serving(script) as server, upstream() as via:
        exchange = await ask(via, server.url)
        exchange.close()
        for name in ("x-twice", "x-name", "content-type", "x-none"):
            assert exchange.header(name) == exchange.headers.get(name)
        assert exchange.header("x-twice") == "2"
        assert exchange.request_id == "r9"
        assert exchange.content_type == "application/json"


# --- leaving ---


@on_each_loop
async def test_leaving_or_cancelling_in_any_state_closes_the_connection_and_frees_the_slot() -> (
    None
):
    steps = [b"", OK[:9], OK[:-2], OK[:-1]]
    with Listener() as listener:
        async with upstream(max_connections=1) as via:
            for sent in steps:
                task = asyncio.create_task(answered(via, listener.url))
                peer = await listener.accept()
                await listener.hear(peer)
                if sent:
                    await listener.say(peer, sent)
                for _ in range(5):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                try:
                    assert await listener.hear(peer) == b""
                except ConnectionResetError:
                    pass  # bytes of ours were unread: the kernel says it more loudly
                assert open_now(via) == via._busy == 0


@on_each_loop
async def test_closing_the_pool_ends_what_is_under_way() -> None:
    with Listener() as listener:
        async with upstream() as via:
            waiting = asyncio.create_task(ask(via, listener.url))
            await listener.accept()
            reading = asyncio.create_task(answered(via, listener.url))
            peer = await listener.accept()
            assert await listener.hear(peer)
            await listener.say(peer, OK[:-1])
            await asyncio.sleep(0.01)
            await via.aclose()
            for task in (waiting, reading):
                with pytest.raises(UpstreamError):
                    await task
            assert via._busy == 0


@on_each_loop
async def test_after_closing_a_call_opens_anew() -> None:
    async with serving(ok) as server, upstream() as via:
        await answered(via, server.url)
        await via.aclose()
        await via.aclose()
        assert await answered(via, server.url) == b"ok"
        assert server.connections == 2


@on_each_loop
async def test_a_large_request_arrives_whole() -> None:
    async with serving(ok) as server, upstream() as via:
        for size in (0, 1, 65_536, 65_537, 5_000_000):
            assert await answered(via, server.url, body=b"x" * size) == b"ok"
            assert server.asked[-1].headers["content-length"] == str(size)
            assert len(server.asked[-1].body) == size


@on_each_loop
async def test_an_answer_before_the_request_was_read_is_given_and_the_connection_is_not_kept() -> (
    None
):
    with Listener() as listener:
        async with upstream() as via:
            task = asyncio.create_task(answered(via, listener.url, body=b"x" * 50_000_000))
            peer = await listener.accept()
            assert await listener.hear(peer)
            await listener.say(peer, b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            assert await task == b"no"
            assert idle_now(via) == 0
