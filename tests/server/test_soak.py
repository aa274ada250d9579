"""Nothing of a call stays behind: a few thousand calls of mixed shape leave the process as it was."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from farthing.sim.invoice import Row
from farthing.testing.server import Asked
from tests.server.mistaken_requests import CHAT, CONTENT, GOOGLE_ABROAD, MESSAGE
from tests.server.mistaken_world import World, mistaken_world

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

WARM, MORE, AT_ONCE = 1_000, 2_000, 16
#: What bounded caches and timers under way may add, on a busy machine as well. One object per call would
#: be 2,000.
FEW = 500

SHAPES: tuple[tuple[str, Any, dict[str, str]], ...] = (
    ("/v1/chat/completions", CHAT, {}),
    ("/v1/chat/completions", {**CHAT, "stream": True}, {"x-farthing-tags": "a,b"}),
    ("/v1/chat/completions", {**CHAT, "model": "sim/claude"}, {}),
    ("/v1/messages", MESSAGE, {}),
    ("/v1/messages", {**MESSAGE, "model": "sim/gpt", "stream": True}, {}),
    (GOOGLE_ABROAD, CONTENT, {}),
    ("/v1/chat/completions", {"model": "sim/gpt"}, {}),
    ("/v1/chat/completions", {**CHAT, "model": "nobody-{n}"}, {}),
    ("/v1/chat/completions", CHAT, {"idempotency-key": "the-same"}),
    ("/v1/chat/completions", {**CHAT, "model": "refused-by-vendor"}, {}),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with mistaken_world(tmp_path_factory.mktemp("soaked")) as world:
        yield world


async def test_thousands_of_calls_leave_no_object_behind(world: World) -> None:
    await call_often(world, WARM)
    tasks, objects, sizes = len(asyncio.all_tasks()), living(), held(world)
    await call_often(world, MORE)
    assert len(asyncio.all_tasks()) <= tasks + 2
    assert held(world) == sizes
    assert living() - objects < FEW
    assert await world.gateway.accounts.unsettled() == []


async def call_often(world: World, count: int) -> None:
    """So many calls, some of them left by their client, then quiet."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await call(world, number)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    while world.gateway.in_flight:
        await asyncio.sleep(0.01)


async def call(world: World, number: int) -> None:
    path, body, headers = SHAPES[number % len(SHAPES)]
    wire = json.dumps(body).replace("{n}", str(number))
    headers = {"authorization": f"Bearer {world.keys['good']}", **headers}
    timeout = aiohttp.ClientTimeout(30)
    async with world.client.post(path, data=wire, headers=headers, timeout=timeout) as reply:
        if number % 7:  # the others hang up with the answer unread
            await reply.read()


def held(world: World) -> dict[str, int]:
    """How much the gateway's own memories hold, by name."""
    shared = world.gateway._snapshot.shared
    return {
        "breakers": len(shared.breakers),
        "deployments": len(world.gateway.directory.deployments),
        "running idempotency keys": len(shared.idempotency._running),
        "kept answers": len(shared.idempotency._answers),
        "cached answers": len(shared.cache),
    }


def living() -> int:
    """Objects that the collector knows; the invoice and the log of the vendors in this test aside."""
    gc.collect()
    return sum(type(thing) not in (Row, Asked) for thing in gc.get_objects())
