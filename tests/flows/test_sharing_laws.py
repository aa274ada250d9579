"""Laws of sharing, on graphs that nobody has thought of: a cell gives what it gives alone; nothing is done twice."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farthing.base.clock import SystemClock
from farthing.flows.batch.records import Definition
from farthing.flows.connections.connections import Connections
from farthing.flows.dag import format as dag
from farthing.flows.models import Models, Spent
from farthing.flows.open import open_flow
from farthing.flows.variants.choices import variant_text
from farthing.flows.variants.comparing import Comparer, Comparison
from farthing.flows.variants.matrix import lineages, product, selected
from farthing.flows.variants.results import compared, rows
from tests.flows.batches import open_runs
from tests.flows.variant_world import lay

pytestmark = pytest.mark.slow


#: Says who it is and what it was given; each call is a line in `calls`.
CODE = """
from pathlib import Path
from promptflow.core import tool

@tool
def n(me: str, calls: str, a: str = "", b: str = "") -> str:
    with Path(calls).open("a") as file:
        file.write(f"{me} {a} {b}\\n")
    return f"{me}({a},{b})"
"""

#: A node: for each of its variants (one: it has none) the nodes before it that it refers to, by index.
Shape = list[list[list[int]]]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    nodes: Shape = []
    for at in range(draw(st.integers(2, 5))):
        before = st.lists(st.integers(0, at - 1), max_size=2, unique=True) if at else st.just([])
        nodes.append(draw(st.lists(before, min_size=1, max_size=3)))
    if all(len(each) == 1 for each in nodes):
        nodes[0] = [*nodes[0], []]
    return nodes


def written(folder: Path, shape: Shape) -> Path:
    """The flow of that shape; its last node is the output. Variants of one node may have equal edges."""
    listed: list[dict[str, Any]] = []
    variants: dict[str, Any] = {}
    for at, bodies in enumerate(shape):
        made = {f"v{which}": body(folder, at, which, refs) for which, refs in enumerate(bodies)}
        if len(made) == 1:
            listed.append({"name": f"n{at}", **made["v0"]})
        else:
            listed.append({"name": f"n{at}", "use_variants": True})
            nodes = {each: {"node": body} for each, body in made.items()}
            variants[f"n{at}"] = {"default_variant_id": f"v{len(made) - 1}", "variants": nodes}
    last = f"${{n{len(shape) - 1}.output}}"
    flow = {
        "inputs": {"x": {"type": "string"}},
        "outputs": {"o": {"type": "string", "reference": last}},
        "nodes": listed,
        "node_variants": variants,
    }
    return lay(folder, {"flow.dag.yaml": json.dumps(flow), "n.py": CODE})


def body(folder: Path, at: int, which: int, refs: list[int]) -> dict[str, Any]:
    inputs = {port: f"${{n{ref}.output}}" for port, ref in zip("ab", refs, strict=False)}
    if not refs:
        inputs["a"] = "${inputs.x}"
    me = {"me": f"n{at}v{which}", "calls": str(folder / "calls")}
    source = {"type": "code", "path": "n.py"}
    return {"type": "python", "source": source, "inputs": {**me, **inputs}}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shape=shapes())
def test_a_cell_gives_what_it_gives_alone_and_no_work_is_done_twice(shape: Shape) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(hold(written(Path(folder) / "flow", shape)))


class Nobody(Models):
    """No model is asked."""

    async def ask(self, api: str, body: dict[str, Any], spent: Spent) -> dict[str, Any]:
        raise AssertionError

    def stream(self, api: str, body: dict[str, Any], spent: Spent) -> AsyncGenerator[str, None]:
        raise AssertionError


async def hold(folder: Path) -> None:
    graph, lines = dag.load(folder), [{"x": "one"}, {"x": "two"}]
    matrix = product(graph, selected(graph, ()))
    clock, connections = SystemClock(), Connections(folder, environ={})
    comparison = Comparison(
        name="laws",
        graph=graph,
        matrix=matrix,
        definition=Definition(flow=str(folder)),
        rows=tuple(lines),
    )
    async with open_runs(f"sqlite:{folder / 'runs.db'}") as runs:
        await Comparer(runs, Nobody(), connections, clock).run(comparison)
        found = await compared(runs, "laws")
        together = {row.number: row.sides async for row in rows(runs, found)}
    done = (folder / "calls").read_text().splitlines()
    works: set[Any] = set()
    for cell in matrix.cells:
        hangs_on = lineages(graph.with_variants(cell.choices), cell.choices)
        works |= {(node, lineage) for node, lineage in hangs_on.items()}
        flow = open_flow(
            graph, models=Nobody(), connections=connections, clock=clock,
            variant=variant_text(cell.choices),
        )  # fmt: skip
        for number, line in enumerate(lines):
            alone = await flow.run(line)
            side = together[number][cell.label]
            assert side.outputs == alone.outputs
            assert side.differs in (None, side.outputs != together[number]["default"].outputs)
        await flow.aclose()
    # Each node once for each line and lineage, and never more.
    assert len(done) == len(works) * len(lines)
