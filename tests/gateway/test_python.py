"""The Python face: one line to ask, the same pipeline behind it. Real gateway, in-process simulator."""

from __future__ import annotations

import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from farthing.base.config.settings import Budget, Provider, Server, Settings, Storage
from farthing.core.errors import BudgetExceededError, ConfigError, UnknownModelError
from farthing.gateway.python import Client


def settings(folder: Path, **more: object) -> Settings:
    return Settings(
        server=Server(detect=False),
        storage=Storage(url=f"sqlite:{folder / 'farthing.db'}"),
        providers={"sim": Provider(type="sim", scenario="demo")},
        **more,  # type: ignore[arg-type]
    )


async def test_an_answer_comes_with_its_exact_cost(tmp_path: Path) -> None:
    async with Client(settings(tmp_path), environ={}) as client:
        reply = await client.chat("Hello you", model="sim/small", system="Answer briefly.")
    assert "Hello you" in reply.text
    assert str(reply) == reply.text
    assert reply.is_simulated
    usage = reply.completion.usage
    assert usage is not None
    assert reply.nanodollars == usage.input_tokens * 150 + usage.output_tokens * 600


async def test_a_stream_gives_the_same_text_in_pieces(tmp_path: Path) -> None:
    async with Client(settings(tmp_path), environ={}) as client:
        whole = await client.chat("Tell me more about it", model="sim/small")
        pieces = [p async for p in client.stream("Tell me more about it", model="sim/small")]
    assert len(pieces) > 1
    assert "".join(pieces) == whole.text


async def test_leaving_a_stream_early_cancels_and_settles_it(tmp_path: Path) -> None:
    async with Client(settings(tmp_path), environ={}) as client:
        async with aclosing(client.stream("sim:long=500", model="sim/small")) as pieces:
            await anext(pieces)
        gateway = client._gateway
        assert gateway is not None
        assert gateway.in_flight == 0


async def test_embeddings_come_in_the_order_of_their_texts(tmp_path: Path) -> None:
    embedding = settings(tmp_path)
    embedding = Settings(
        server=embedding.server,
        storage=embedding.storage,
        providers={"sim": Provider(type="sim", scenario="default")},
    )
    async with Client(embedding, environ={}) as client:
        first = await client.embed(["a", "b"], model="sim/embed", dimensions=8)
        second = await client.embed(["b"], model="sim/embed", dimensions=8)
    assert len(first.vectors) == 2
    assert len(first.vectors[0]) == 8
    assert first.vectors[1] == second.vectors[0]
    assert first.nanodollars > 0


async def test_errors_are_those_of_the_gateway(tmp_path: Path) -> None:
    tight = settings(tmp_path, budgets={"all": Budget(dollars="0.00000001")})
    async with Client(tight, environ={}) as client:
        with pytest.raises(UnknownModelError, match="sim/small"):
            await client.chat("x", model="sim/smal")
        with pytest.raises(BudgetExceededError, match="all"):
            await client.chat("x", model="sim/small")


async def test_a_client_that_is_not_open_says_how_to_open_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="async with"):
        await Client(settings(tmp_path), environ={}).chat("x", model="m")


def test_one_line_of_synchronous_code_works_and_exits_cleanly(tmp_path: Path) -> None:
    code = (
        "import farthing\n"
        'print(farthing.chat("Hello", model="sim/small"))\n'
        'print("".join(farthing.stream("Hello", model="sim/small")))\n'
        'for piece in farthing.stream("Hello again", model="sim/small"): break\n'
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "FARTHING_SERVER__DETECT": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""
    assert run.returncode == 0
    first, second = run.stdout.splitlines()
    assert first == second
