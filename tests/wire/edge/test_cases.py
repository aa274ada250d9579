"""The table of requests: what is taken is cut where it ends, what is refused closes the connection."""

from __future__ import annotations

import pytest

from farthing.wire.edge.exchange import Exchange
from tests.wire.edge.cases import NEXT, REFUSED, TAKEN, Case
from tests.wire.edge.peers import edge_of

#: Reading is the same on every loop.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.name)
async def test_a_good_request_ends_where_it_says(case: Case) -> None:
    bodies, rest = await read(case.data + NEXT if b"HTTP/1.0" not in case.data else case.data)
    assert bodies[: len(case.bodies)] == list(case.bodies)
    if b"HTTP/1.0" not in case.data:
        assert bodies[len(case.bodies) :] == [b""]
    assert rest.count(b"HTTP/1.1 200 OK\r\n") == len(bodies)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
async def test_a_request_that_could_be_read_in_two_ways_is_refused(case: Case) -> None:
    bodies, rest = await read(case.data)
    assert bodies == list(case.bodies)
    *_, head, text = rest.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % (case.status or 0))
    assert b"connection: close" in head
    assert text.endswith(b".")


async def test_no_case_has_the_name_of_another() -> None:
    names = [case.name for case in TAKEN + REFUSED]
    assert len(names) == len(set(names)) > 100


async def read(data: bytes) -> tuple[list[bytes], bytes]:
    """The bodies of the requests that were seen in `data`, and all that was answered."""
    bodies: list[bytes] = []

    async def handle(exchange: Exchange) -> None:
        bodies.append(await exchange.body(1))
        await exchange.send(200, b"")

    async with edge_of(handle, linger_s=0.05, idle_s=0.2) as served:
        peer = await served.connect()
        await peer.send(data)
        return bodies, await peer.rest()
