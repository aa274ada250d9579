"""Requests on a real socket: one after the other, whole or in pieces, with bodies of either kind."""

from __future__ import annotations

import asyncio

import pytest

from farthing.wire.edge.exchange import Exchange
from tests.wire.edge.peers import GET, echo, edge_of, post, splits, until


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with edge_of(echo) as served:
        peer = await served.connect()
        for number in range(3):
            answer = await peer.ask(post(b"%d" % number))
            assert (answer.status, answer.body) == (200, b"POST /echo\n%d" % number)
            assert "connection" not in answer.headers
        assert served.edge.connections == 1


async def test_an_answer_carries_the_date() -> None:
    async with edge_of(echo) as served:
        assert (await served.ask(GET)).headers["date"].endswith(" GMT")


async def test_pipelined_requests_are_answered_in_order_and_one_at_a_time() -> None:
    running: list[str] = []

    async def handle(exchange: Exchange) -> None:
        running.append(exchange.path)
        assert len(running) == 1
        await asyncio.sleep(0.001 if exchange.path == "/0" else 0)
        running.remove(exchange.path)
        await echo(exchange)

    async with edge_of(handle) as served:
        peer = await served.connect()
        await peer.send(b"".join(post(b"%d" % n, path=f"/{n}") for n in range(20)))
        for number in range(20):
            assert (await peer.answer()).body == b"POST /%d\n%d" % (number, number)


async def test_reading_stops_while_many_pipelined_bytes_wait() -> None:
    go_on = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        await go_on.wait()
        await echo(exchange)

    async with edge_of(handle, pipelined=4096) as served:
        peer = await served.connect()
        await peer.send(post(b"first"))
        writing = asyncio.create_task(peer.send(post(b"x" * 1000) * 20_000))
        await until(lambda: any(not each._is_reading for each in served.edge._connections))
        await asyncio.sleep(0.05)
        held = [len(each._held) for each in served.edge._connections]
        assert max(held) <= 4096 + 256 * 1024  # the bound, and one read beyond it
        assert not writing.done()
        go_on.set()
        assert (await peer.answer()).body.endswith(b"first")
        for _ in range(50):
            assert len((await peer.answer()).body) == len(b"POST /echo\n") + 1000
        writing.cancel()


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET,
        post(b"hello"),
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;x=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
    ],
    ids=["get", "sized", "chunked"],
)
async def test_where_the_packets_are_cut_makes_no_difference(request_bytes: bytes) -> None:
    async with edge_of(echo) as served:
        whole = await served.ask(request_bytes)

        async def ask(*pieces: bytes) -> None:
            peer = await served.connect()
            for piece in pieces:
                await peer.send(piece)
                await asyncio.sleep(0.002)
            assert (await peer.answer()).body == whole.body

        await asyncio.gather(*(ask(*pieces) for pieces in splits(request_bytes)))
        await ask(*(bytes([byte]) for byte in request_bytes))


async def test_chunks_are_put_together() -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
    async with edge_of(echo) as served:
        peer = await served.connect()
        answer = await peer.ask(head + b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n" + GET)
        assert answer.body == b"POST /echo\nhello0123456789"
        assert (await peer.answer()).body == b"GET /hello\n"


async def test_head_is_answered_without_a_body_and_the_connection_goes_on() -> None:
    async with edge_of(echo) as served:
        peer = await served.connect()
        await peer.send(b"HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await peer.answer(to_head=True)
        assert answer.headers["content-length"] == str(len(b"HEAD /hello\n"))
        assert (await peer.ask(GET)).body == b"GET /hello\n"


async def test_an_answer_without_body_states_no_length() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.send_empty(204, [(b"allow", b"GET")])

    async with edge_of(handle) as served:
        peer = await served.connect()
        for _ in range(2):
            answer = await peer.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answer.status == 204
            assert not {"content-length", "transfer-encoding"} & answer.headers.keys()


async def test_continue_is_said_only_when_the_body_is_asked_for() -> None:
    async def handle(exchange: Exchange) -> None:
        if exchange.path == "/no":
            await exchange.send(403, b"no")
        else:
            await echo(exchange)

    head = b"POST %b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    async with edge_of(handle) as served:
        peer = await served.connect()
        await peer.send(head % b"/yes")
        assert (await peer.answer()).status == 100
        assert (await peer.ask(b"hello")).body == b"POST /yes\nhello"
        refused = await peer.ask(head % b"/no")
        assert (refused.status, refused.headers["connection"]) == (403, "close")
        assert await peer.rest() == b""


async def test_a_body_that_came_along_with_its_expectation_is_just_read() -> None:
    async with edge_of(echo) as served:
        answer = await served.ask(post(b"hello", "Expect: 100-continue"))
        assert (answer.status, answer.body) == (200, b"POST /echo\nhello")


async def test_a_refusal_needs_no_body_and_what_comes_of_it_is_thrown_away() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.send(401, b"no")

    request = post(b"x" * 100_000)
    async with edge_of(handle) as served:
        peer = await served.connect()
        for _ in range(2):
            assert (await peer.ask(request[:200])).status == 401
            await peer.send(request[200:])


async def test_too_large_a_rest_closes_the_connection_after_the_answer() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.send(401, b"no")

    async with edge_of(handle, discard=1000) as served:
        peer = await served.connect()
        answer = await peer.ask(post(b"x" * 5000)[:200])
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert await peer.rest() == b""
        peer = await served.connect()
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert (await peer.ask(chunked)).status == 401
        await peer.send(b"2000\r\n" + b"x" * 0x2000)
        assert await peer.rest() == b""


async def test_little_of_a_body_is_taken_in_before_somebody_asks() -> None:
    go_on = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.send(200, b"%d" % len(await exchange.body(20)))

    async with edge_of(handle, read_ahead=10_000) as served:
        peer = await served.connect()
        writing = asyncio.create_task(peer.send(post(b"x" * 15_000_000)))
        await until(lambda: any(not each._is_reading for each in served.edge._connections))
        (connection,) = served.edge._connections
        assert connection._exchange is not None and connection._exchange.intake is not None
        assert connection._exchange.intake.size <= 10_000 + 256 * 1024
        go_on.set()
        assert (await peer.answer()).body == b"15000000"
        await writing


async def test_the_old_version_is_answered_with_a_length_and_closed() -> None:
    async with edge_of(echo) as served:
        peer = await served.connect()
        answer = await peer.ask(b"GET /hello HTTP/1.0\r\n\r\n")
        assert (answer.body, answer.headers["connection"]) == (b"GET /hello\n", "close")
        assert await peer.rest() == b""


async def test_the_old_version_may_ask_to_keep_the_connection() -> None:
    async with edge_of(echo) as served:
        peer = await served.connect()
        for _ in range(2):
            answer = await peer.ask(b"GET /hello HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            assert answer.headers["connection"] == "keep-alive"


async def test_close_is_honoured_among_other_wishes() -> None:
    async with edge_of(echo) as served:
        peer = await served.connect()
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, Close\r\n\r\n" + GET)
        assert (await peer.answer()).headers["connection"] == "close"
        assert await peer.rest() == b""


async def test_close_is_honoured_in_any_of_several_lines() -> None:
    async with edge_of(echo) as served:
        peer = await served.connect()
        lines = b"Connection: close\r\nConnection: keep-alive\r\n"
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n" + GET)
        assert (await peer.answer()).headers["connection"] == "close"
        assert await peer.rest() == b""


async def test_the_absolute_form_names_the_host_that_counts() -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    async def handle(exchange: Exchange) -> None:
        seen.append((exchange.path, exchange.header("host"), exchange.query("a")))
        await echo(exchange)

    async with edge_of(handle) as served:
        await served.ask(b"GET http://real:80/p%20q?a=1 HTTP/1.1\r\nHost: other\r\n\r\n")
        await served.ask(b"GET https://real HTTP/1.1\r\nHost: other\r\n\r\n")
    assert seen == [("/p q", "real:80", "1"), ("/", "real", None)]


async def test_empty_lines_before_a_request_are_passed_over() -> None:
    async with edge_of(echo) as served:
        peer = await served.connect()
        assert (await peer.ask(b"\r\n\r\n" + GET)).status == 200
        await peer.send(b"\r")
        await asyncio.sleep(0.005)
        assert (await peer.ask(b"\n" + GET)).status == 200


async def test_a_request_knows_its_headers_and_its_peer() -> None:
    seen: list[Exchange] = []

    async def handle(exchange: Exchange) -> None:
        seen.append(exchange)
        await echo(exchange)

    async with edge_of(handle) as served:
        await served.ask(b"GET /?q=1&q=2&e HTTP/1.1\r\nHost: a\r\nX-A:  one \r\nX-A: two\t\r\n\r\n")
    (exchange,) = seen
    assert exchange.header("x-a") == "two"
    assert exchange.header_pairs == [(b"host", b"a"), (b"x-a", b"one"), (b"x-a", b"two")]
    assert (exchange.query("q"), exchange.query("e"), exchange.query("z")) == ("1", "", None)
    assert (exchange.client_host, exchange.scheme) == ("127.0.0.1", "http")


async def test_a_handler_that_fails_is_a_500_and_its_words_stay_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(exchange: Exchange) -> None:
        raise ValueError("sk-secret")

    async with edge_of(handle) as served:
        answer = await served.ask(GET)
        assert (answer.status, answer.headers["connection"]) == (500, "close")
    assert "ValueError" in caplog.text
    assert "sk-secret" not in caplog.text


async def test_a_header_of_ours_cannot_add_a_line() -> None:
    async def handle(exchange: Exchange) -> None:
        with pytest.raises(ValueError, match="line's end"):
            await exchange.send(200, b"", [(b"x-told", b"a\r\nset-cookie: b")])
        await exchange.send(200, b"good")

    async with edge_of(handle) as served:
        assert (await served.ask(GET)).body == b"good"
