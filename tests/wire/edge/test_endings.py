"""How connections end: hang-ups, half-closed ones, resets, slow senders, too many, the drain."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from farthing.wire.edge.connection import Connection
from farthing.wire.edge.exchange import Exchange
from farthing.wire.edge.refusal import ClientGoneError
from tests.wire.edge.peers import GET, Peer, echo, edge_of, post, until

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Watch:
    """A handler that never answers, and what became of its exchange."""

    def __init__(self) -> None:
        self.begun = 0
        self.gone = 0

    async def handle(self, exchange: Exchange) -> None:
        self.begun += 1
        left = asyncio.Event()
        exchange.on_gone(left.set)
        await left.wait()
        self.gone += 1


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset], ids=["closes", "resets"])
async def test_a_client_that_leaves_is_told_to_the_handler(leave: Callable[[Peer], None]) -> None:
    watch = Watch()
    async with edge_of(watch.handle, half_close_s=0.05) as served:
        peer = await served.connect()
        await peer.send(GET)
        await until(lambda: watch.begun)
        leave(peer)
        await until(lambda: watch.gone)
        await until(lambda: not served.edge.connections and not served.edge.active)


async def test_a_client_that_left_before_is_told_at_once() -> None:
    told: list[str] = []

    async def handle(exchange: Exchange) -> None:
        await until(lambda: exchange.is_gone)
        exchange.on_gone(lambda: told.append("gone"))
        with pytest.raises(ClientGoneError):
            await exchange.send(200, b"")

    async with edge_of(handle) as served:
        peer = await served.connect()
        await peer.send(GET)
        await until(lambda: served.edge.active)
        peer.reset()
        await until(lambda: told)
        await until(lambda: not served.edge.active)


async def test_a_body_that_breaks_off_ends_the_wait_for_it() -> None:
    ended: list[str] = []

    async def handle(exchange: Exchange) -> None:
        try:
            await exchange.body(1)
        except ClientGoneError:
            ended.append("gone")

    async with edge_of(handle) as served:
        for leave in (Peer.close, Peer.half_close, Peer.reset):
            ended.clear()
            peer = await served.connect()
            await peer.send(post(b"x" * 1000)[:500])
            await until(lambda: served.edge.active)
            leave(peer)
            await until(lambda: ended)
        await until(lambda: not served.edge.connections)


async def test_a_client_that_shuts_down_its_sending_side_gets_its_answer() -> None:
    async def handle(exchange: Exchange) -> None:
        await asyncio.sleep(0.01)
        await echo(exchange)

    async with edge_of(handle) as served:
        peer = await served.connect()
        await peer.send(post(b"hello"))
        peer.half_close()
        assert (await peer.answer()).body == b"POST /echo\nhello"
        assert await peer.rest() == b""


async def test_a_half_closed_client_gets_the_whole_stream_once_it_has_begun() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.start_stream([], media=b"text/plain")
        for _ in range(30):
            await exchange.write(b"x")
            await asyncio.sleep(0.01)
        await exchange.finish()

    async with edge_of(handle, half_close_s=0.08) as served:
        peer = await served.connect()
        await peer.send(GET)
        peer.half_close()
        assert (await peer.answer()).body == b"x" * 30


async def test_a_client_that_is_silent_is_closed_and_one_in_mid_head_is_told() -> None:
    async with edge_of(echo, head_s=0.05, idle_s=0.05, linger_s=0.1) as served:
        silent, idle, slow = [await served.connect() for _ in range(3)]
        assert (await idle.ask(GET)).status == 200
        await slow.send(GET[:20])
        assert (await slow.answer()).status == 408
        for peer in (silent, idle, slow):
            assert await peer.rest() == b""
        await until(lambda: not served.edge.connections)


async def test_a_body_that_comes_too_slowly_is_408() -> None:
    async with edge_of(handle_refusing, body_look_s=0.05, body_rate=1e6) as served:
        for beginning in (post(b"x" * 1000)[:300], CHUNKED + b"5\r\nab"):
            assert (await served.ask(beginning)).status == 408


async def test_a_body_that_comes_fast_enough_is_still_bounded_in_time() -> None:
    async with edge_of(handle_refusing, body_look_s=0.02, body_rate=1.0, body_s=0.1) as served:
        peer = await served.connect()
        await peer.send(post(b"x" * 10_000)[:5000])
        assert (await peer.answer()).status == 408


async def handle_refusing(exchange: Exchange) -> None:
    from farthing.core.errors import FarthingError

    try:
        await exchange.body(1)
    except FarthingError as error:
        exchange.keep_alive = False
        await exchange.send(error.status, b"")


async def test_one_address_may_hold_only_so_many_connections() -> None:
    async with edge_of(echo, connections_per_address=2) as served:
        first, second = await served.connect(), await served.connect()
        assert (await first.ask(GET)).status == (await second.ask(GET)).status == 200
        third = await served.connect()
        assert (await third.answer()).status == 503
        first.close()
        third.close()
        await until(lambda: served.edge.connections == 1)
        assert (await served.ask(GET)).status == 200


async def test_bytes_leave_at_once() -> None:
    """TCP_NODELAY: a small write after another must not wait for the client's acknowledgement."""
    async with edge_of(echo) as served:
        peer = await served.connect()
        await peer.ask(GET)
        (connection,) = served.edge._connections
        accepted = connection._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_draining_lets_answers_finish_and_closes_what_is_idle() -> None:
    go_on = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        if exchange.path == "/slow":
            await go_on.wait()
        await echo(exchange)

    async with edge_of(handle) as served:
        idle, busy, silent = [await served.connect() for _ in range(3)]
        assert (await idle.ask(GET)).status == 200
        await busy.send(GET.replace(b"/hello", b"/slow"))
        await until(lambda: served.edge.active == 1)
        await served.edge.drain()
        assert await idle.rest() == await silent.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await served.connect()
        go_on.set()
        answer = await busy.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await busy.rest() == b""
        await until(lambda: not served.edge.connections)


async def test_closing_cuts_what_is_left() -> None:
    watch = Watch()
    async with edge_of(watch.handle) as served:
        peer = await served.connect()
        await peer.send(GET)
        await until(lambda: watch.begun)
        await served.edge.close(1)
        assert (await peer.answer()).status == 500
        assert not served.edge.connections


async def test_a_tls_session_is_resumed_by_its_ticket(tmp_path: Path) -> None:
    from tests.wire.edge.certificates import contexts

    serving, calling = contexts(tmp_path)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    async with edge_of(echo) as served:
        await served.edge.listen(listener, tls=serving)
        port = listener.getsockname()[1]
        resumed = await asyncio.to_thread(ask_twice, port, calling)
    assert resumed == [False, True]


def ask_twice(port: int, context: ssl.SSLContext) -> list[bool]:
    session: ssl.SSLSession | None = None
    reused: list[bool] = []
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as wrapped,
        ):
            wrapped.sendall(GET)
            seen = b""
            while b"GET /hello" not in seen:
                seen += wrapped.recv(4096)
            session = wrapped.session
            reused.append(bool(wrapped.session_reused))
    return reused


STATES: dict[str, tuple[bytes, ...]] = {
    "before a byte": (),
    "in the head": (GET[:10],),
    "behind the head": (CHUNKED,),
    "in a body": (post(b"x" * 100)[:120],),
    "in a chunk": (CHUNKED + b"5\r\nab",),
    "between chunks": (CHUNKED + b"2\r\nab\r\n",),
    "while it is answered": (GET,),
    "with more requests waiting": (GET * 5,),
    "after an answer": (b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n",),
    "in a stream": (b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",),
    "after a refusal": (b"rubbish\r\n\r\n",),
    "in the rest of a body": (post(b"x" * 100, path="/quick")[:120],),
}


async def busy(exchange: Exchange) -> None:
    """By its path: answers at once, streams for ever, or reads the body and waits."""
    if exchange.path == "/quick":
        await exchange.send(200, b"")
    elif exchange.path == "/stream":
        await exchange.start_stream([], media=b"text/plain")
        while True:
            await exchange.write(b"x" * 1000)
            await asyncio.sleep(0.001)
    else:
        left = asyncio.Event()
        exchange.on_gone(left.set)
        await exchange.body(1)
        await left.wait()


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset], ids=["closed", "reset"])
@pytest.mark.parametrize("state", STATES)
async def test_nothing_is_left_of_a_connection_lost_in_any_state(
    state: str, leave: Callable[[Peer], None]
) -> None:
    tasks = len(asyncio.all_tasks())
    async with edge_of(busy, half_close_s=0.05, linger_s=0.1) as served:
        peer = await served.connect()
        for part in STATES[state]:
            await peer.send(part)
        await asyncio.sleep(0.005)
        kept = [weakref.ref(each._transport) for each in served.edge._connections]
        leave(peer)
        await until(lambda: not served.edge.connections and not served.edge.active)
        assert not served.edge._per_address
        await asyncio.sleep(0)
        gc.collect()
        assert not [ref for ref in kept if ref() is not None]
    await until(lambda: len(asyncio.all_tasks()) <= tasks)


async def test_hundreds_of_dropped_connections_leave_nothing_behind() -> None:
    tasks = len(asyncio.all_tasks())
    async with edge_of(busy, half_close_s=0.05, linger_s=0.1) as served:

        async def drop(number: int) -> None:
            peer = await served.connect()
            for part in list(STATES.values())[number % len(STATES)]:
                await peer.send(part)
            (Peer.reset if number % 2 else Peer.close)(peer)

        for start in range(0, 288, 48):
            await asyncio.gather(*(drop(start + number) for number in range(48)))
            served.peers.clear()
        await until(lambda: not served.edge.connections and not served.edge.active)
        assert not served.edge._per_address and not served.edge._tasks
        gc.collect()
        assert not [each for each in gc.get_objects() if type(each) in (Connection, Exchange)]
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
