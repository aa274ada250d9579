"""A tiny flow of the tests' own, and runs in a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from farthing.base.clock import Clock, SystemClock
from farthing.base.config.settings import Storage
from farthing.base.storage import connect
from farthing.core.errors import NodeFailedError
from farthing.flows.batch.runs import Runs
from farthing.flows.engine.line import take_inputs
from farthing.flows.engine.plan import LineResult
from farthing.flows.graph import Flow, Input, Node, Port
from farthing.flows.models import Spent
from farthing.flows.references import parse

Answer = Callable[[dict[str, Any]], Any]


class Tiny:
    """A flow with the input `x` and the output `y`; `bad` in x fails the line. ran: the numbers, in order.

    with_end: an aggregation refers to the node `work`, so that its values must be kept.
    """

    def __init__(
        self,
        folder: Path,
        answer: Answer = lambda inputs: inputs["x"],
        *,
        with_end: bool = False,
        pause_s: float = 0.0,
    ) -> None:
        end = Node(
            name="end",
            kind="python",
            is_aggregation=True,
            inputs=(Port(name="all", reference=parse("${work.output}")),),
        )
        self.flow = Flow(
            name="tiny",
            folder=folder,
            inputs=(
                Input(name="x", kind="object"),
                Input(name="d", default="d", has_default=True),
            ),
            nodes=(Node(name="work", kind="python"), *([end] if with_end else [])),
        )
        self.spent = Spent()
        self.ran: list[int] = []
        self.aggregated: list[LineResult] = []
        self.most_at_once = self._at_once = 0
        self._answer = answer
        self._pause_s = pause_s

    async def run(self, inputs: Mapping[str, Any], *, number: int | None = None) -> LineResult:
        assert number is not None
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self._pause_s)
        finally:
            self._at_once -= 1
        self.ran.append(number)
        self.spent.add(Spent(calls=1, input_tokens=2, output_tokens=3, nanodollars=4))
        taken = take_inputs(self.flow.inputs, inputs)
        if taken["x"] == "bad":
            error = NodeFailedError("The node 'work' failed with ValueError.", node="work")
            return LineResult(inputs=taken, error=error)
        value = self._answer(taken)
        return LineResult(inputs=taken, outputs={"y": value}, values={"work": value})

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        self.aggregated = list(lines)
        values = [line.values["work"] for line in lines]
        return LineResult(inputs={}, metrics={"count": len(values)})

    async def aclose(self) -> None:
        pass


def open_runs(url: str, clock: Clock | None = None) -> Runs:
    """The runs of the database at this storage.url."""
    return Runs(connect(Storage(url=url)), clock or SystemClock())
