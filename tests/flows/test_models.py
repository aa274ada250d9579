"""What a flow's models count: also calls that ended before their answer began."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from farthing.base.config.settings import (
    Deployment,
    PriceSetting,
    Provider,
    Server,
    Settings,
    Storage,
)
from farthing.core.calls import Caller
from farthing.core.errors import FarthingError
from farthing.flows.models import GatewayModels, Spent
from farthing.gateway.client import open_gateway
from farthing.testing.server import Peer, Scripted, serving

LOCAL = Caller(key_id="local", name="test", is_local=True)
BODY = {"model": "a", "messages": [{"role": "user", "content": "Is it so?"}]}


def settings(folder: Path, server: Scripted) -> Settings:
    price = PriceSetting(input=1, output=1, source="made up", date="2026-11-25")
    return Settings(
        server=Server(detect=False),
        storage=Storage(url=f"sqlite:{folder / 'farthing.db'}"),
        providers={"p": Provider(type="openai", base_url=f"{server.url}/v1", key="k")},
        deployments={"a": Deployment(provider="p", model="gpt-4o-mini", price=price)},
    )


async def test_a_call_that_is_cancelled_before_its_answer_counts(tmp_path: Path) -> None:
    is_asked = asyncio.Event()

    async def never(peer: Peer) -> None:
        is_asked.set()
        await peer.hung_up()

    spent = Spent()
    async with (
        serving(never) as server,
        open_gateway(settings(tmp_path, server), environ={}) as gateway,
    ):
        asking = asyncio.create_task(GatewayModels(gateway, LOCAL).ask("chat", BODY, spent))
        await is_asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert spent.calls == 1


async def test_a_call_that_was_never_sent_does_not_count(tmp_path: Path) -> None:
    async def answer(peer: Peer) -> None:
        await peer.answer(b"{}")

    spent = Spent()
    async with (
        serving(answer) as server,
        open_gateway(settings(tmp_path, server), environ={}) as gateway,
    ):
        models = GatewayModels(gateway, LOCAL)
        with pytest.raises(FarthingError, match="nobody"):
            await models.ask("chat", {**BODY, "model": "nobody"}, spent)
        assert server.asked == []
    assert spent == Spent()
