"""Streamed answers: framed for the client's version, at the reader's pace, in bounded memory."""

from __future__ import annotations

import asyncio

import pytest

from farthing.wire.edge.exchange import Exchange
from farthing.wire.edge.refusal import ClientGoneError
from tests.wire.edge.peers import GET, Peer, edge_of, until

CHUNK = b"x" * 16_384


async def three(exchange: Exchange) -> None:
    """Three chunks, an empty one among them."""
    await exchange.start_stream([(b"x-told", b"yes")], media=b"text/plain")
    for chunk in (b"one", b"", b"two"):
        assert exchange.push(chunk)
    await exchange.write(b"three")
    await exchange.finish()


async def test_each_chunk_is_framed_and_an_empty_one_is_no_end() -> None:
    async with edge_of(three) as served:
        peer = await served.connect()
        for _ in range(2):
            await peer.send(GET)
            head = await peer.head()
            assert head.headers["x-told"] == "yes"
            assert head.headers["cache-control"] == "no-cache"
            assert [chunk async for chunk in peer.chunks()] == [b"one", b"two", b"three"]


async def test_the_old_version_gets_plain_bytes_up_to_the_end() -> None:
    async with edge_of(three) as served:
        answer = await served.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (answer.body, answer.headers["connection"]) == (b"onetwothree", "close")
        assert "transfer-encoding" not in answer.headers


async def test_head_of_a_stream_is_its_head() -> None:
    async with edge_of(three) as served:
        peer = await served.connect()
        await peer.send(GET.replace(b"GET", b"HEAD"))
        assert (await peer.head()).headers["transfer-encoding"] == "chunked"
        await peer.send(GET)
        assert (await peer.answer()).body == b"onetwothree"


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_stream_that_is_not_finished_is_cut_and_never_looks_complete(
    version: bytes,
) -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.start_stream([], media=b"text/plain")
        exchange.push(b"half")
        await asyncio.sleep(0.02)

    async with edge_of(handle) as served:
        peer = await served.connect()
        await peer.send(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
        await peer.head()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await asyncio.gather(*[read_to_end(peer, version)])


async def read_to_end(peer: Peer, version: bytes) -> None:
    if version == b"1.0":
        await peer.rest()
    else:
        assert [chunk async for chunk in peer.chunks()] == [b"half"]


async def test_a_reader_that_stops_makes_the_producer_wait_and_nothing_is_lost() -> None:
    pushed: list[bool] = []

    async def handle(exchange: Exchange) -> None:
        await exchange.start_stream([], media=b"text/plain")
        for _ in range(500):
            pushed.append(exchange.push(CHUNK))
            if not pushed[-1]:
                await exchange.drained()
        await exchange.finish()

    async with edge_of(handle) as served:
        peer = await served.connect(receive_buffer=4096)
        await peer.send(GET)
        await until(lambda: False in pushed)
        stopped = len(pushed)
        await asyncio.sleep(0.02)
        assert len(pushed) == stopped < 500
        assert len((await peer.answer()).body) == 500 * len(CHUNK)


async def test_what_is_pushed_in_spite_of_a_slow_reader_is_sent_in_one_piece() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.start_stream([], media=b"text/plain")
        while exchange.push(CHUNK):
            pass
        for number in range(1000):
            assert not exchange.push(b"%03d" % number)
        assert exchange.unsent_bytes == 3000
        await exchange.drained()
        assert exchange.unsent_bytes == 0
        await exchange.finish()

    async with edge_of(handle) as served:
        peer = await served.connect(receive_buffer=4096)
        await peer.send(GET)
        await peer.head()
        *_, last = [chunk async for chunk in peer.chunks()]
        assert last == b"".join(b"%03d" % number for number in range(1000))


async def test_the_memory_of_a_connection_is_bounded_whatever_the_producer_does() -> None:
    held: list[int] = []
    ended: list[str] = []

    async def handle(exchange: Exchange) -> None:
        await exchange.start_stream([], media=b"text/plain")
        (connection,) = served.edge._connections
        try:
            while True:
                exchange.push(CHUNK)
                waiting = connection._transport.get_write_buffer_size()  # type: ignore[attr-defined]
                held.append(exchange.unsent_bytes + waiting)
        except ClientGoneError:
            ended.append("gone")

    async with edge_of(handle, unsent=200_000, high_water=50_000) as served:
        peer = await served.connect(receive_buffer=4096)
        await peer.send(GET)
        await until(lambda: ended)
        assert 200_000 < max(held) <= 200_000 + 50_000 + 2 * (len(CHUNK) + 10)
        await until(lambda: not served.edge.connections)


async def test_a_reader_that_stalls_is_treated_as_gone() -> None:
    ended: list[str] = []

    async def handle(exchange: Exchange) -> None:
        await exchange.start_stream([], media=b"text/plain")
        try:
            while True:
                await exchange.write(CHUNK)
        except ClientGoneError:
            ended.append("gone")

    async with edge_of(handle, stalled_reader_s=0.1) as served:
        peer = await served.connect(receive_buffer=4096)
        await peer.send(GET)
        await until(lambda: ended)
        await until(lambda: not served.edge.connections)


async def test_a_whole_answer_that_nobody_takes_is_given_up_as_well() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.send(200, b"x" * 20_000_000)

    async with edge_of(handle, stalled_reader_s=0.1) as served:
        peer = await served.connect(receive_buffer=4096)
        await peer.send(GET)
        await until(lambda: served.edge.connections)
        await until(lambda: not served.edge.connections and not served.edge.active)


async def test_no_further_request_is_begun_for_a_reader_that_is_behind() -> None:
    begun: list[str] = []

    async def handle(exchange: Exchange) -> None:
        begun.append(exchange.path)
        await exchange.send(200, b"x" * 5_000_000)

    async with edge_of(handle) as served:
        peer = await served.connect(receive_buffer=4096)
        await peer.send(GET * 3)
        await until(lambda: begun)
        await asyncio.sleep(0.02)
        await peer.send(GET)
        await asyncio.sleep(0.02)
        assert len(begun) == 1
        for _ in range(4):
            assert len((await peer.answer()).body) == 5_000_000
