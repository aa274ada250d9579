"""The cache of nodes: what counts as the same, what is kept, and that nobody's value is another's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import SystemClock
from farthing.flows.cache import NodeCache
from farthing.flows.connections.connections import Connections
from farthing.flows.dag import format as dag
from farthing.flows.dag.flow import DagFlow
from farthing.flows.models import GatewayModels, Models
from tests.gateway.world import LOCAL, world

FLOW = """
inputs: {a: {type: object}}
outputs: {o: {reference: '${n.output}'}}
nodes:
- name: n
  type: python
  enable_cache: true
  source: {type: code, path: n.py}
  inputs: {a: '${inputs.a}', b: 1}
"""
CODE = (
    "from promptflow.core import tool\nCALLS = []\n@tool\n"
    "%sdef n(a: object, b: int):\n    CALLS.append(a)\n    return %s\n"
)


@pytest.fixture
async def models(tmp_path: Path) -> AsyncIterator[Models]:
    (tmp_path / "data").mkdir()
    async with world(tmp_path / "data", {"a": []}) as it:
        yield GatewayModels(it.gateway, LOCAL)


async def outputs(
    folder: Path,
    models: Models,
    cache: NodeCache | None,
    lines: list[Any],
    *,
    code: str,
    flow: str = FLOW,
) -> list[Any]:
    """What the flow gives for each line, one after the other."""
    (folder / "flow.dag.yaml").write_text(flow)
    (folder / "n.py").write_text(code)
    opened = DagFlow(
        dag.load(folder),
        models=models,
        connections=Connections(folder, environ={}),
        clock=SystemClock(),
        cache=cache,
    )
    found = [(await opened.run({"a": line})).outputs["o"] for line in lines]
    await opened.aclose()
    return found


@pytest.mark.parametrize("kind", ["", "async "])
async def test_the_same_inputs_are_answered_once(tmp_path: Path, models: Models, kind: str) -> None:
    cache, code = NodeCache(), CODE % (kind, "[len(CALLS), b]")
    lines = [{"x": 1, "y": 2}, {"y": 2, "x": 1}, {"x": 2}]
    assert await outputs(tmp_path, models, cache, lines, code=code) == [[1, 1], [1, 1], [2, 1]]
    assert (cache.hits, cache.misses) == (1, 2)
    # A literal or a source that was changed makes it another node.
    assert await outputs(tmp_path, models, cache, [{"x": 2}], code=code) == [[2, 1]]
    other = FLOW.replace("b: 1", "b: 2")
    assert await outputs(tmp_path, models, cache, [{"x": 2}], code=code, flow=other) == [[1, 2]]
    code = CODE % (kind, "['new']")
    assert await outputs(tmp_path, models, cache, [{"x": 2}], code=code) == [["new"]]


async def test_a_node_is_cached_only_when_it_says_so_and_a_cache_is_given(
    tmp_path: Path, models: Models
) -> None:
    code = CODE % ("", "len(CALLS)")
    plain = FLOW.replace("enable_cache: true", "enable_cache: false")
    assert await outputs(tmp_path, models, None, [1, 1], code=code) == [1, 2]
    assert await outputs(tmp_path, models, NodeCache(), [1, 1], code=code, flow=plain) == [1, 2]


async def test_it_keeps_no_more_than_it_may_and_forgets_the_oldest(
    tmp_path: Path, models: Models
) -> None:
    cache, code = NodeCache(max_values=2), CODE % ("", "len(CALLS)")
    found = await outputs(tmp_path, models, cache, [1, 2, 1, 3, 1, 2], code=code)
    assert found == [1, 2, 1, 3, 1, 4]


async def test_what_json_would_change_is_not_kept(tmp_path: Path, models: Models) -> None:
    cache, code = NodeCache(), CODE % ("", "(len(CALLS), {1: 2})")
    found = await outputs(tmp_path, models, cache, [1, 1], code=code)
    assert found == [(1, {1: 2}), (2, {1: 2})]
    assert cache.hits == 0


async def test_a_value_that_is_changed_by_its_reader_is_kept_as_it_was(
    tmp_path: Path, models: Models
) -> None:
    cache, code = NodeCache(), CODE % ("", "[len(CALLS)]")
    first, second = await outputs(tmp_path, models, cache, [1, 1], code=code)
    first.append("mine")
    assert second == [1]
    assert await outputs(tmp_path, models, cache, [1], code=code) == [[1]]
