"""Nodes that give their output piece by piece: joined texts, or generators for who streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import SystemClock
from farthing.flows.connections.connections import Connections
from farthing.flows.models import GatewayModels
from farthing.flows.open import open_flow
from farthing.flows.runnable import Runnable
from tests.gateway.world import DONE, LOCAL, World, chunk, usage_chunk, world

GRAPH = """
outputs:
  said:
    reference: ${speak.output}
  again:
    reference: ${speak.output}
nodes:
- name: speak
  type: python
  source:
    type: code
    path: speak.py
"""
PLAIN = """
from promptflow.core import tool

@tool
def speak():
    yield "a"
    yield "b"
"""
AWAITED = PLAIN.replace("def speak", "async def speak")
OF_A_MODEL = """
from pathlib import Path
from promptflow.core import Prompty, tool

@tool
def speak():
    yield from Prompty.load(Path(__file__).with_name("ask.prompty"))(question="?")
"""
PROMPTY = """---
model:
  configuration: {type: azure_openai, azure_deployment: m}
  parameters: {stream: true}
inputs: {question: {type: string}}
---
user:
{{question}}
"""
BROKEN = PLAIN.replace('yield "b"', "raise ValueError")


def opened(it: World, folder: Path, code: str, **more: Any) -> Runnable:
    (folder / "flow.dag.yaml").write_text(GRAPH)
    (folder / "speak.py").write_text(code)
    (folder / "ask.prompty").write_text(PROMPTY)
    models = GatewayModels(it.gateway, LOCAL)
    return open_flow(
        folder, models=models, connections=Connections(folder), clock=SystemClock(), **more
    )


@pytest.mark.parametrize("code", [PLAIN, AWAITED, OF_A_MODEL])
async def test_pieces_are_joined_for_every_output_that_refers_to_them(
    tmp_path: Path, code: str
) -> None:
    answer = [
        chunk({"content": "a"}),
        chunk({"content": "b"}),
        chunk(finish="stop"),
        usage_chunk(),
        DONE,
    ]
    async with world(tmp_path, {"a": [answer]}) as it:
        flow = opened(it, tmp_path, code)
        result = await flow.run({})
        await flow.aclose()
    assert (result.error, result.outputs) == (None, {"said": "ab", "again": "ab"})
    assert result.values == {"speak": "ab"}


@pytest.mark.parametrize("code", [PLAIN, AWAITED, OF_A_MODEL])
async def test_who_streams_reads_them_on_the_loop(tmp_path: Path, code: str) -> None:
    answer = [
        chunk({"content": "a"}),
        chunk({"content": "b"}),
        chunk(finish="stop"),
        usage_chunk(),
        DONE,
    ]
    async with world(tmp_path, {"a": [answer]}) as it:
        flow = opened(it, tmp_path, code, is_streaming=True)
        said = (await flow.run({})).outputs["said"]
        assert isinstance(said, AsyncGenerator)
        assert [piece async for piece in said] == ["a", "b"]
        await flow.aclose()


async def test_a_generator_that_breaks_off_fails_its_line(tmp_path: Path) -> None:
    async with world(tmp_path, {}) as it:
        flow = opened(it, tmp_path, BROKEN)
        result = await flow.run({})
        await flow.aclose()
    assert "failed with ValueError" in str(result.error)
