"""Start and end: readiness, hang-ups, draining."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from farthing.base.config.settings import Server as ServerSettings
from farthing.core.errors import ConfigError
from farthing.server.listener import listen
from farthing.server.serve import serving
from tests.server.conftest import Running, Serve

SLOW = {
    "model": "sim/slow",
    "messages": [{"role": "user", "content": "Tell me everything there is to tell about coins."}],
    "max_tokens": 200,
}


async def started(running: Running, **body: object) -> aiohttp.ClientResponse:
    """A slow streamed call whose first byte has arrived."""
    reply = await running.client.post("/v1/messages", json={**SLOW, "stream": True, **body})
    assert reply.status == 200
    await reply.content.readany()
    return reply


async def until_idle(running: Running) -> None:
    async with asyncio.timeout(5):
        while running.gateway.in_flight:
            await asyncio.sleep(0.005)


async def test_the_process_tells_that_it_is_alive_and_ready(serve: Serve) -> None:
    async with serve() as running:
        for path in ("/", "/health", "/ready", "/metrics"):
            async with running.client.get(path) as reply:
                assert reply.status == 200, await reply.text()


async def test_a_client_that_hangs_up_on_a_stream_ends_the_call(serve: Serve) -> None:
    async with serve() as running:
        reply = await started(running)
        assert running.gateway.in_flight == 1
        reply.close()
        await until_idle(running)


async def test_a_client_that_hangs_up_on_a_whole_answer_ends_the_call(serve: Serve) -> None:
    async with serve() as running:
        call = asyncio.create_task(running.client.post("/v1/messages", json=SLOW).__aenter__())
        async with asyncio.timeout(5):
            while not running.gateway.in_flight:
                await asyncio.sleep(0.005)
        call.cancel()
        await until_idle(running)


async def test_draining_refuses_new_calls_and_ends_when_the_old_are_over(serve: Serve) -> None:
    async with serve(grace_s=30.0) as running:
        reply = await started(running, max_tokens=8)
        running.server.stop()
        async with running.client.get("/ready") as ready:
            assert ready.status == 503
        async with running.client.post("/v1/messages", json=SLOW) as refused:
            assert refused.status == 503
            assert refused.headers["retry-after"] == "1"
        await running.server.drained()
        assert b"message_stop" in await reply.read()


async def test_after_the_grace_a_stream_is_cut_not_ended(serve: Serve) -> None:
    async with serve(grace_s=0.05) as running:
        reply = await started(running)
        running.server.stop()
        await running.server.drained()
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()
        await until_idle(running)


async def test_more_calls_than_the_limit_are_told_to_come_back(serve: Serve) -> None:
    async with serve(max_concurrent_calls=1) as running:
        reply = await started(running)
        async with running.client.post("/v1/messages", json=SLOW) as refused:
            assert refused.status == 503
            assert "retry-after" in refused.headers
        reply.close()
        await until_idle(running)


async def test_it_does_not_start_open_to_other_machines_without_a_key(serve: Serve) -> None:
    async with serve() as running:
        open_to_all = listen(ServerSettings(host="0.0.0.0", port=0))
        with open_to_all, pytest.raises(ConfigError, match="farthing keys create"):
            async with serving(running.gateway, open_to_all):
                pass
