from __future__ import annotations

import asyncio
import socket

import pytest

from farthing.wire.upstream.errors import ConnectError
from farthing.wire.upstream.resolve import Address, Resolver, system_lookup, taking_turns

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)


class Names:
    """A name server of the test's own. answers: one per lookup; the last one stays."""

    def __init__(self, *answers: list[Address] | OSError) -> None:
        self.answers = list(answers)
        self.count = 0

    async def __call__(self, host: str) -> list[Address]:
        self.count += 1
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


def test_families_take_turns_and_the_preferred_one_begins() -> None:
    found = [(V6, "a"), (V6, "b"), (V4, "c")]
    assert taking_turns(found) == [(V6, "a"), (V4, "c"), (V6, "b")]
    assert taking_turns([(V4, "a"), (V4, "b")]) == [(V4, "a"), (V4, "b")]


async def test_a_name_is_asked_for_once_until_its_time_is_over() -> None:
    names = Names([(V4, "10.0.0.1")], [(V4, "10.0.0.2")])
    resolver = Resolver(names, ttl_s=0.03)
    assert await resolver.addresses("x") == [(V4, "10.0.0.1")]
    assert await resolver.addresses("x") == [(V4, "10.0.0.1")]
    assert names.count == 1
    await asyncio.sleep(0.04)
    assert await resolver.addresses("x") == [(V4, "10.0.0.2")]


async def test_many_who_ask_at_once_share_one_lookup_and_survive_each_others_leaving() -> None:
    names = Names([(V4, "10.0.0.1")])
    resolver = Resolver(names)
    tasks = [asyncio.create_task(resolver.addresses("x")) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    rest = await asyncio.gather(*tasks, return_exceptions=True)
    assert rest[1:] == [[(V4, "10.0.0.1")]] * 4
    assert names.count == 1


async def test_old_addresses_are_better_than_none_when_the_name_server_fails() -> None:
    resolver = Resolver(Names([(V4, "10.0.0.1")], OSError(11, "Try again")), ttl_s=0.0)
    assert await resolver.addresses("x") == [(V4, "10.0.0.1")]
    assert await resolver.addresses("x") == [(V4, "10.0.0.1")]


async def test_a_name_that_nobody_knows_is_a_connect_error_with_its_reason() -> None:
    for failure in (OSError(-2, "Name or service not known"), OSError(0, "nothing")):
        with pytest.raises(ConnectError) as caught:
            await Resolver(Names(failure)).addresses("x")
        assert caught.value.reason == str(failure.strerror).lower()
    with pytest.raises(ConnectError, match="no address"):
        await Resolver(Names([])).addresses("x")


async def test_an_address_that_failed_is_tried_last() -> None:
    resolver = Resolver(Names([(V4, "10.0.0.1"), (V4, "10.0.0.2")]))
    await resolver.addresses("x")
    resolver.demote("x", (V4, "10.0.0.1"))
    assert await resolver.addresses("x") == [(V4, "10.0.0.2"), (V4, "10.0.0.1")]


async def test_an_address_is_its_own_and_is_never_looked_up() -> None:
    names = Names([])
    assert await Resolver(names).addresses("127.0.0.1") == [(V4, "127.0.0.1")]
    assert await Resolver(names).addresses("::1") == [(V6, "::1")]
    assert names.count == 0


async def test_the_machines_own_resolver_knows_this_machine() -> None:
    assert {host for _, host in await system_lookup("localhost")} & {"127.0.0.1", "::1"}
