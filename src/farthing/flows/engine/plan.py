"""A flow ready to run: what its nodes do, what waits for what, and what a line leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from farthing.core.errors import FarthingError
from farthing.flows.graph import Flow, Node, Port
from farthing.flows.references import InputReference

if TYPE_CHECKING:
    from farthing.flows.batch.records import Shares


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a node does, ready to be called with its inputs by name.

    is_async: `call` gives an awaitable. defaults: the parameters that may be left out. accepts_more: it
    takes inputs that it does not name. wants_exposed: it is told, as `exposed`, which of its inputs come
    straight from the flow's.
    """

    call: Callable[..., Any]
    is_async: bool
    defaults: frozenset[str] = frozenset()
    wants_exposed: bool = False


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One node of one line, over: no text. status: `ok`, `bypassed`, `failed`, `cancelled`."""

    node: str
    status: str
    started_s: float = 0.0
    latency_s: float = 0.0
    error: str | None = None


class LineResult(msgspec.Struct, kw_only=True):
    """A line that was run. error None: `outputs` is whole. values: what each node returned.

    bypassed: the nodes whose condition was not met, and those that had nothing but these to go on.
    metrics: what was logged, by name; of the nodes behind all lines.
    is_bare: the flow returned one value that is no dict; it is the output `output`. shares: what it has in
    common with runs of the same matrix.
    carried: of a line that another process ran, what those behind all lines need, as that process wrote it.
    """

    inputs: dict[str, Any]
    outputs: dict[str, Any] = {}
    values: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    bypassed: frozenset[str] = frozenset()
    traces: list[Trace] = []
    warnings: list[str] = []
    error: FarthingError | None = None
    is_bare: bool = False
    shares: Shares | None = None
    carried: bytes | None = None


class Step(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A node as the plan has it. index: its place. followers: indexes of those that wait for it."""

    index: int
    node: Node
    body: Body
    ports: tuple[Port, ...]
    sources: tuple[int, ...]
    followers: tuple[int, ...]
    exposed: frozenset[str]


class Plan:
    """A flow ready to run any number of lines at once. Aggregations are not part of a line."""

    def __init__(self, flow: Flow, bodies: Mapping[str, Body]) -> None:
        """bodies: by the name of each node."""
        self.flow = flow
        ordinary = [node for node in flow.nodes if not node.is_aggregation]
        indexes = {node.name: index for index, node in enumerate(ordinary)}
        followers: list[list[int]] = [[] for _ in ordinary]
        for node in ordinary:
            for source in node.sources():
                followers[indexes[source]].append(indexes[node.name])
        self.steps = tuple(
            Step(
                index=index,
                node=node,
                body=bodies[node.name],
                ports=node.inputs,
                sources=tuple(indexes[source] for source in node.sources()),
                followers=tuple(followers[index]),
                exposed=frozenset(
                    port.name for port in node.inputs if isinstance(port.reference, InputReference)
                ),
            )
            for index, node in enumerate(ordinary)
        )
        #: How many steps each one waits for, and the steps that wait for none.
        self.waits = tuple(len(step.sources) for step in self.steps)
        self.first = tuple(step.index for step in self.steps if not step.sources)
        self.aggregations = tuple(
            (node, bodies[node.name]) for node in flow.nodes if node.is_aggregation
        )
