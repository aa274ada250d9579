"""The protocol alone, over a transport of memory: borders, limits, relays."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.wire.upstream.connection import MAX_UNREAD_BYTES, Connection
from farthing.wire.upstream.errors import (
    BrokenAnswerError,
    NoAnswerError,
    NotHttpError,
    SilenceError,
    TooLargeError,
)
from farthing.wire.upstream.head import MAX_LINES
from tests.wire.upstream.worlds import MemoryTransport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def asked(
    *, patience_s: float = 5.0, total_s: float = 9.0
) -> tuple[Connection, MemoryTransport, asyncio.Future[None]]:
    loop = asyncio.get_running_loop()
    connection = Connection(loop, lambda _: None)
    transport = MemoryTransport()
    connection.connection_made(transport)
    now = loop.time()
    waiter = connection.ask(
        b"POST / HTTP/1.1\r\n\r\n", b"", since=now, patience_s=patience_s, deadline=now + total_s
    )
    return connection, transport, waiter


async def read_all(connection: Connection) -> bytes:
    pieces = []
    while piece := await connection.read():
        pieces.append(piece)
    return b"".join(pieces)


# --- the borders of a body ---


def framed(body: bytes, framing: str, cuts: list[int]) -> bytes:
    """The answer with this body. cuts: where chunks end, when it is chunked."""
    if framing == "sized":
        return HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    if framing == "until the end":
        return HEAD + b"\r\n" + body
    ends = sorted({cut % (len(body) + 1) for cut in cuts} | {0, len(body)})
    chunks = [body[a:b] for a, b in pairwise(ends)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n"


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from(["sized", "chunked", "until the end"]),
    st.lists(st.integers(0, 400), max_size=6),
    st.lists(st.integers(0, 900), max_size=12),
    st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n"]),
    st.booleans(),
)
def test_any_body_cut_anywhere_arrives_as_it_was_sent(
    body: bytes, framing: str, cuts: list[int], packets: list[int], interim: bytes, relayed: bool
) -> None:
    wire = interim + framed(body, framing, cuts)

    async def run() -> None:
        connection, _, waiter = asked()
        got: list[bytes] = []

        async def reader() -> None:
            await waiter
            assert connection.has_head
            if relayed:
                assert not await connection.relay(lambda p: got.append(p) is None, 1 << 20)
            else:
                got.append(await read_all(connection))

        task = asyncio.create_task(reader())
        ends = sorted({cut % (len(wire) + 1) for cut in packets} | {0, len(wire)})
        for a, b in pairwise(ends):
            connection.data_received(wire[a:b])
            await asyncio.sleep(0)
        if framing == "until the end":
            connection.eof_received()
        await task
        assert b"".join(got) == body
        assert connection.status == 200
        assert connection.head.startswith(HEAD)
        assert b"\r\n\r\n" not in connection.head
        assert connection.rest(60, 60) is (framing != "until the end")
        connection.connection_lost(None)

    asyncio.run(run())


async def test_a_body_without_length_that_is_cut_off_is_not_whole() -> None:
    connection, _, waiter = asked()
    connection.data_received(HEAD + b"\r\nabc")
    await waiter
    connection.connection_lost(None)  # as after our own abort: no end was told before
    assert await connection.read() == b"abc"
    with pytest.raises(BrokenAnswerError):
        await connection.read()


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.sampled_from(["sized", "chunked"]), st.data())
def test_an_answer_that_stops_early_is_never_taken_for_a_whole_one(
    body: bytes, framing: str, data: st.DataObject
) -> None:
    wire = framed(body, framing, [7, 40])
    length = data.draw(st.integers(0, len(wire) - 1))

    async def run() -> None:
        connection, _, waiter = asked()
        if length:
            connection.data_received(wire[:length])
        connection.eof_received()
        await waiter
        if connection.has_head:
            with pytest.raises(BrokenAnswerError):
                await read_all(connection)
        else:
            assert isinstance(connection.failure, NoAnswerError)

    asyncio.run(run())


# --- heads ---


async def test_an_answer_without_a_body_is_over_with_its_head() -> None:
    for line in (b"204 No Content", b"304 Not Modified\r\nContent-Length: 9"):
        connection, _, waiter = asked()
        connection.data_received(b"HTTP/1.1 " + line + b"\r\n\r\n")
        await waiter
        assert await connection.read() == b""
        assert connection.rest(60, 60)
        connection.connection_lost(None)


async def test_a_connection_is_kept_only_when_the_server_keeps_it() -> None:
    for head, kept in (
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ):
        connection, _, waiter = asked()
        connection.data_received(head + b"Content-Length: 2\r\n\r\nok")
        await waiter
        assert await connection.read() == b"ok"
        assert connection.rest(60, 60) is kept
        connection.connection_lost(None)


@pytest.mark.parametrize(
    "answer",
    [
        b"canary canary\r\n\r\n",
        b"\r\n\r\n" + SIZED,
        b"RTSP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"Abcdefghijklmnop: b\r\n" * (MAX_LINES + 1) + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000,
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
async def test_an_ambiguous_or_absurd_head_is_refused(answer: bytes, bytewise: bool) -> None:
    connection, transport, waiter = asked()
    step = 997 if bytewise and len(answer) > 2_000 else 1 if bytewise else len(answer)
    for at in range(0, len(answer), step):
        connection.data_received(answer[at : at + step])
        if connection.failure is not None:
            break
    await waiter
    assert not connection.has_head
    assert isinstance(connection.failure, NotHttpError)
    assert "canary" not in str(connection.failure)
    assert transport.is_gone


async def test_broken_chunks_are_a_broken_answer() -> None:
    connection, transport, waiter = asked()
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokXX5\r\n")
    await waiter
    assert await connection.read() == b"ok"
    with pytest.raises(BrokenAnswerError):
        await connection.read()
    assert transport.is_gone


# --- what was not asked for ---


async def test_a_second_answer_spoils_the_connection_but_not_the_first() -> None:
    for extra in (SIZED, b"HTTP", b"junk"):
        for together in (True, False):
            connection, _, waiter = asked()
            for packet in [SIZED + extra] if together else [SIZED, extra]:
                connection.data_received(packet)
            await waiter
            assert await connection.read() == b"ok"
            assert connection.status == 200
            assert not connection.rest(60, 60)


async def test_words_on_an_idle_connection_close_it() -> None:
    connection, transport, waiter = asked()
    connection.data_received(SIZED)
    await waiter
    assert connection.rest(60, 60)
    assert connection.is_open
    connection.data_received(SIZED)
    assert transport.is_gone
    assert not connection.is_open
    connection.connection_lost(None)


# --- relays ---


async def test_a_relay_gives_what_waits_first_and_then_each_piece_as_it_comes() -> None:
    connection, _, waiter = asked()
    connection.data_received(HEAD + b"Content-Length: 6\r\n\r\nab")
    await waiter
    seen: list[bytes] = []
    task = asyncio.create_task(connection.relay(lambda p: seen.append(p) is None, 100))
    await asyncio.sleep(0)
    assert seen == [b"ab"]
    connection.data_received(b"cd")
    assert seen == [b"ab", b"cd"]  # at once, before any task has run
    connection.data_received(b"ef")
    assert await task is False
    assert await connection.read() == b""


async def test_a_relay_that_is_stopped_leaves_the_rest_to_the_reader() -> None:
    connection, _, waiter = asked()
    connection.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    await waiter
    seen: list[bytes] = []

    def until_end(piece: bytes) -> bool:
        seen.append(piece)
        return piece != b"END"

    task = asyncio.create_task(connection.relay(until_end, 100))
    await asyncio.sleep(0)
    for read in (b"1\r\na\r\n", b"3\r\nEND\r\n", b"1\r\nb\r\n0\r\n\r\n"):
        connection.data_received(read)
    assert await task is True
    assert seen == [b"a", b"END"]
    assert await connection.relay(until_end, 100) is False
    assert seen == [b"a", b"END", b"b"]


async def test_what_one_read_brings_is_relayed_in_one_piece() -> None:
    connection, _, waiter = asked()
    connection.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    await waiter
    seen: list[bytes] = []
    task = asyncio.create_task(connection.relay(lambda p: seen.append(p) is None, 100))
    await asyncio.sleep(0)
    connection.data_received(b"1\r\na\r\n2\r\nbc\r\n1\r\n")
    assert seen == [b"abc"]
    connection.data_received(b"d\r\n0\r\n\r\n")
    assert await task is False
    assert seen == [b"abc", b"d"]


async def test_a_failure_behind_the_stop_is_told_to_who_reads_on() -> None:
    connection, _, waiter = asked()
    connection.data_received(HEAD + b"Content-Length: 6\r\n\r\n")
    await waiter
    task = asyncio.create_task(connection.relay(lambda _: False, 100))
    await asyncio.sleep(0)
    connection.data_received(b"ab")
    connection.connection_lost(ConnectionResetError())
    assert await task is True
    with pytest.raises(BrokenAnswerError):
        await connection.read()


async def test_a_relay_counts_over_all_its_parts() -> None:
    connection, transport, waiter = asked()
    connection.data_received(HEAD + b"Content-Length: 6\r\n\r\nab")
    await waiter
    assert await connection.relay(lambda _: False, 4) is True
    task = asyncio.create_task(connection.relay(lambda _: True, 4))
    await asyncio.sleep(0)
    connection.data_received(b"cde")
    with pytest.raises(TooLargeError):
        await task
    assert transport.is_gone


@pytest.mark.parametrize("waiting", [True, False])
async def test_what_a_sink_raises_is_raised_where_the_relay_is_awaited(waiting: bool) -> None:
    def sink(_: bytes) -> bool:
        raise LookupError

    connection, _, waiter = asked()
    connection.data_received(HEAD + b"Content-Length: 6\r\n\r\n" + (b"" if waiting else b"ab"))
    await waiter
    task = asyncio.create_task(connection.relay(sink, 100))
    await asyncio.sleep(0)
    if waiting:
        connection.data_received(b"ab")
    with pytest.raises(LookupError):
        await task


async def test_a_cancelled_relay_feeds_its_sink_no_more() -> None:
    connection, _, waiter = asked()
    connection.data_received(HEAD + b"Content-Length: 6\r\n\r\n")
    await waiter
    seen: list[bytes] = []
    task = asyncio.create_task(connection.relay(lambda p: seen.append(p) is None, 100))
    await asyncio.sleep(0)
    task.cancel()
    connection.data_received(b"ab")
    with pytest.raises(asyncio.CancelledError):
        await task
    connection.data_received(b"cd")
    assert b"cd" not in seen


# --- back-pressure ---


async def test_reading_stops_while_much_is_unread_and_goes_on_afterwards() -> None:
    connection, transport, waiter = asked()
    connection.data_received(HEAD + b"Content-Length: 9999999\r\n\r\n")
    await waiter
    connection.data_received(b"x" * MAX_UNREAD_BYTES)
    assert transport.is_reading
    connection.data_received(b"x")
    assert not transport.is_reading
    assert len(await connection.read()) == MAX_UNREAD_BYTES + 1
    assert transport.is_reading


async def test_pausing_stops_reading_until_resumed_whatever_is_unread() -> None:
    connection, transport, waiter = asked()
    connection.data_received(HEAD + b"Content-Length: 9999999\r\n\r\n")
    await waiter
    connection.pause()
    connection.pause()
    connection.data_received(b"x" * (MAX_UNREAD_BYTES + 1))  # it was under way
    assert not transport.is_reading
    await connection.read()
    assert not transport.is_reading
    connection.resume()
    connection.resume()
    assert transport.is_reading


async def test_a_paused_connection_reads_again_when_it_goes_back_to_the_pool() -> None:
    connection, transport, waiter = asked()
    connection.data_received(HEAD + b"Content-Length: 2\r\n\r\n")
    await waiter
    connection.pause()
    connection.data_received(b"ok")
    assert connection.is_complete
    assert connection.rest(60, 60)
    assert transport.is_reading
    connection.connection_lost(None)


# --- time ---


async def test_silence_before_the_head_ends_the_wait() -> None:
    connection, transport, waiter = asked(patience_s=0.02)
    connection.data_received(b"HTTP/1.1 200")  # a slow head is no head
    await waiter
    assert isinstance(connection.failure, SilenceError)
    assert not connection.failure.is_total
    assert transport.is_gone


async def test_each_byte_of_a_body_buys_new_patience_until_the_total_is_over() -> None:
    connection, _, waiter = asked(patience_s=0.06, total_s=0.15)
    connection.data_received(HEAD + b"Content-Length: 999\r\n\r\n")
    await waiter
    task = asyncio.create_task(connection.relay(lambda _: True, 1000))
    while not task.done():
        connection.data_received(b"x")
        await asyncio.sleep(0.01)
    with pytest.raises(SilenceError) as caught:
        await task
    assert caught.value.is_total


async def test_nobody_is_timed_out_while_nobody_waits_or_the_reader_pauses() -> None:
    connection, transport, waiter = asked(patience_s=0.02)
    connection.data_received(HEAD + b"Content-Length: 4\r\n\r\n")
    await waiter
    await asyncio.sleep(0.05)
    assert connection.failure is None
    task = asyncio.create_task(connection.relay(lambda _: True, 10))
    await asyncio.sleep(0)
    connection.pause()
    await asyncio.sleep(0.05)
    assert connection.failure is None
    connection.resume()
    connection.data_received(b"abcd")
    assert await task is False
    assert not transport.is_gone
    connection.connection_lost(None)


async def test_one_timer_serves_many_exchanges() -> None:
    connection, _, waiter = asked(patience_s=5)
    loop = asyncio.get_running_loop()
    timer = connection._timer
    for _ in range(20):
        connection.data_received(SIZED)
        await waiter
        assert await connection.read() == b"ok"
        assert connection.rest(60, 60)
        now = loop.time()
        waiter = connection.ask(b"", b"", since=now, patience_s=6, deadline=now + 60)
    assert connection._timer is timer
    connection.connection_lost(None)
