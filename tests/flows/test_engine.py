"""The engine: order, conditions, what fails, what is passed over; each world in sight."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import SystemClock
from farthing.core.errors import FlowError, FlowInputError, NodeFailedError
from farthing.flows.engine.engine import Engine
from farthing.flows.engine.plan import Body, LineResult, Plan
from farthing.flows.graph import Activation, Flow, Input, Node, Output, Port, checked
from farthing.flows.references import parse


def node(
    name: str, *, when: tuple[str, object] | None = None, over_all: bool = False, **inputs: Any
) -> Node:
    """A node whose inputs are literals, or references where they look like one."""
    activate = None
    if when is not None:
        activate = Activation(when=when[0], value=when[1], reference=parse(when[0]))
    return Node(
        name=name,
        kind="python",
        inputs=tuple(
            Port(name=key, reference=parse(value), value=value) for key, value in inputs.items()
        ),
        activate=activate,
        is_aggregation=over_all,
    )


def flow(*nodes: Node, inputs: tuple[str, ...] = ("x",), **outputs: str) -> Flow:
    return checked(
        Flow(
            name="f",
            folder=Path(),
            inputs=tuple(Input(name=name, kind="object") for name in inputs),
            nodes=nodes,
            outputs=tuple(Output(name=k, reference=parse(v), value=v) for k, v in outputs.items()),
        )
    )


def body(call: Callable[..., Any], *defaults: str) -> Body:
    return Body(call=call, is_async=asyncio.iscoroutinefunction(call), defaults=frozenset(defaults))


async def run(it: Flow, bodies: dict[str, Callable[..., Any] | Body], **inputs: Any) -> LineResult:
    made = {k: v if isinstance(v, Body) else body(v) for k, v in bodies.items()}
    async with Engine(SystemClock(), line_timeout_s=5) as engine:
        return await engine.run(Plan(it, made), inputs)


async def test_values_go_along_the_references() -> None:
    it = flow(node("b", y="${a.output.k}"), node("a", x="${inputs.x}"), out="${b.output}")
    result = await run(it, {"a": lambda x: {"k": x + 1}, "b": lambda y: y * 10}, x=1)
    assert (result.error, result.outputs) == (None, {"out": 20})
    assert [trace.node for trace in result.traces] == ["a", "b"]


async def test_async_and_plain_nodes_mix() -> None:
    async def wait(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    it = flow(
        node("a", x="${inputs.x}"), node("b", x="${a.output}"), node("c", x="${b.output}"),
        out="${c.output}",
    )  # fmt: skip
    result = await run(it, {"a": lambda x: x + 1, "b": wait, "c": lambda x: x + 1}, x=0)
    assert result.outputs == {"out": 3}


async def test_branches_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=3)
    it = flow(node("a"), node("b"), out="${a.output}")
    result = await run(it, {"a": meeting.wait, "b": meeting.wait}, x=0)
    assert result.error is None


async def test_a_condition_that_is_not_met_passes_over_the_node_and_what_hangs_on_it_alone() -> (
    None
):
    it = flow(
        node("yes", when=("${inputs.x}", True)),
        node("no", when=("${inputs.x}", False)),
        node("behind", v="${no.output}"),
        node("both", yes="${yes.output}", no="${no.output}"),
        out="${both.output}",
        void="${behind.output}",
    )
    calls = {"yes": lambda: "y", "no": lambda: "n", "behind": lambda v: v}
    result = await run(it, {**calls, "both": lambda yes, no: (yes, no)}, x=True)
    assert result.outputs == {"out": ("y", None), "void": None}
    assert result.bypassed == {"no", "behind"}
    assert len(result.warnings) == 2


async def test_a_bypassed_reference_leaves_a_default_alone() -> None:
    it = flow(node("no", when=("a", "b")), node("z"), node("c", v="${no.output}", z="${z.output}"),
              out="${c.output}")  # fmt: skip
    bodies = {"no": lambda: 1, "z": lambda: 0, "c": body(lambda z, v="mine": v, "v")}
    assert (await run(it, bodies, x=0)).outputs == {"out": "mine"}


async def test_the_values_of_a_condition_are_compared_without_conversion() -> None:
    it = flow(node("a", when=("${inputs.x}", "1")), out="${a.output}")
    assert (await run(it, {"a": lambda: "ran"}, x=1)).outputs == {"out": None}


async def test_a_node_that_raises_fails_its_line_by_name_and_type_without_its_text() -> None:
    def fail() -> None:
        raise ValueError("the customer's secret")

    result = await run(flow(node("a"), node("b", v="${a.output}")), {"a": fail, "b": print}, x=0)
    assert isinstance(result.error, NodeFailedError)
    assert (result.error.node, result.error.cause) == ("a", "ValueError")
    assert "secret" not in str(result.error)
    assert isinstance(result.error.__cause__, ValueError)
    assert [t.status for t in result.traces] == ["failed"]


async def test_a_path_that_leads_nowhere_names_the_reference() -> None:
    it = flow(node("a"), node("b", v="${a.output.missing}"))
    result = await run(it, {"a": dict, "b": print}, x=0)
    assert "'b' asks for ${a.output.missing}" in str(result.error)


async def test_missing_inputs_are_listed_together() -> None:
    it = flow(node("a"), inputs=("x", "y"))
    result = await run(it, {"a": print})
    assert isinstance(result.error, FlowInputError)
    assert "'x', 'y' are missing" in str(result.error)


async def test_a_line_that_takes_too_long_says_where_it_was() -> None:
    async def hang() -> None:
        await asyncio.sleep(60)

    async with Engine(SystemClock(), line_timeout_s=0.05) as engine:
        result = await engine.run(Plan(flow(node("a")), {"a": body(hang)}), {"x": 0})
    assert isinstance(result.error, FlowError)
    assert "it was at: a" in str(result.error)
    assert result.traces[0].status == "cancelled"


async def test_plain_functions_see_the_callers_context_variables() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("mine")
    result = await run(flow(node("a"), out="${a.output}"), {"a": variable.get}, x=0)
    assert result.outputs == {"out": "mine"}


async def test_what_waits_behind_a_plain_function_sees_them_too() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("mine")

    async def wait(x: object) -> str:
        return variable.get()

    it = flow(node("a"), node("b", x="${a.output}"), out="${b.output}")
    assert (await run(it, {"a": lambda: 1, "b": wait}, x=0)).outputs == {"out": "mine"}


async def test_aggregations_get_lists_over_the_lines_that_were_completed() -> None:
    it = flow(
        node("a", x="${inputs.x}"),
        node("all", values="${a.output}", x="${inputs.x}", over_all=True),
        node("more", total="${all.output}", over_all=True),
    )
    bodies = {"a": body(lambda x: 10 // x), "all": body(lambda values, x: sum(values) + sum(x)),
              "more": body(lambda total: total + 1)}  # fmt: skip
    async with Engine(SystemClock()) as engine:
        plan = Plan(it, bodies)
        lines = [await engine.run(plan, {"x": x}) for x in (1, 0, 5)]
        assert isinstance(lines[1].error, NodeFailedError)
        result = await engine.aggregate(plan, lines)
    assert result.values == {"all": 18, "more": 19}


async def test_a_line_that_bypassed_a_node_stands_as_none_in_the_lists() -> None:
    it = flow(
        node("a", when=("${inputs.x}", 1)),
        node("all", values="${a.output}", x="${inputs.x}", over_all=True),
    )
    bodies = {
        "a": body(lambda: "ran"),
        "all": body(lambda values, x: list(zip(x, values, strict=True))),
    }
    async with Engine(SystemClock()) as engine:
        plan = Plan(it, bodies)
        lines = [await engine.run(plan, {"x": x}) for x in (1, 2)]
        result = await engine.aggregate(plan, lines)
    assert result.values == {"all": [(1, "ran"), (2, None)]}


@pytest.mark.parametrize("length", [1, 1000])
async def test_a_chain_of_any_length_runs_without_recursion(length: int) -> None:
    nodes = [node("n0", x="${inputs.x}")]
    nodes += [node(f"n{i}", x=f"${{n{i - 1}.output}}") for i in range(1, length)]
    it = flow(*reversed(nodes), out=f"${{n{length - 1}.output}}")
    result = await run(it, {n.name: lambda x: x + 1 for n in nodes}, x=0)
    assert result.outputs == {"out": length}


async def test_a_wide_fan_runs() -> None:
    names = [f"n{i}" for i in range(500)]
    it = flow(*(node(name, x="${inputs.x}") for name in names), out="${n499.output}")
    assert (await run(it, dict.fromkeys(names, lambda x: x), x=7)).outputs == {"out": 7}
