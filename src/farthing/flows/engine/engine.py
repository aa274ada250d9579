"""The engine: runs the nodes of a flow for one line, each as soon as what it refers to is there.

A plan is made once for a flow; a line costs what its nodes do and little more. Nodes that wait (models, async
functions) run on the event loop, plain functions in a bounded pool of threads with the line's context
variables. A thread that has run one plain function goes on with the next that became ready, so a chain of them
costs one hop.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping, Sequence
from typing import Any

from farthing.base.clock import Clock
from farthing.core.errors import FarthingError, FlowInputError
from farthing.flows.engine.line import LineRun, failure, take_inputs
from farthing.flows.engine.plan import Body, LineResult, Plan, Trace
from farthing.flows.engine.workers import Workers
from farthing.flows.graph import Port
from farthing.flows.references import InputReference, resolve

#: Threads for plain functions, unless the caller says otherwise: prompt flow's number for a single run.
THREADS = 16
#: How long a line may take, seconds; prompt flow's default.
LINE_TIMEOUT_S = 600.0


class Engine:
    """Runs lines. Open it with `async with`; safe for any number of lines at once.

    threads: for plain functions, shared by all lines. line_timeout_s: for one line, all nodes together.
    """

    def __init__(
        self, clock: Clock, *, threads: int = THREADS, line_timeout_s: float = LINE_TIMEOUT_S
    ) -> None:
        self._clock = clock
        self._line_timeout_s = line_timeout_s
        self._workers = Workers(threads, name="farthing-flow")

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._workers.close()

    async def run(
        self, plan: Plan, inputs: Mapping[str, Any], *, number: int | None = None
    ) -> LineResult:
        """Run one line. number: of the line in its data, for messages. What fails is in the result."""
        where = "" if number is None else f" of line {number}"
        try:
            taken = take_inputs(plan.flow.inputs, inputs, where=where)
        except FlowInputError as error:
            return LineResult(inputs=dict(inputs), error=error)
        line = LineRun(plan, taken, self._workers, self._clock)
        await line.run(self._line_timeout_s)
        return line.result()

    async def aggregate(self, plan: Plan, lines: Sequence[LineResult]) -> LineResult:
        """Run the nodes behind all lines, on lists over those that were completed."""
        good = [line for line in lines if line.error is None]
        result = LineResult(
            inputs={
                each.name: [line.inputs.get(each.name) for line in good]
                for each in plan.flow.inputs
            }
        )
        for node, body in plan.aggregations:
            started_s = self._clock.now()
            try:
                values = {port.name: _over_lines(port, good, result.values) for port in node.inputs}
                result.values[node.name] = await self._call(body, values)
            except (Exception, SystemExit) as error:  # border: a user's function
                result.error = failure(node.name, error)
                result.traces.append(self._trace(node.name, "failed", started_s, result.error))
                break
            result.traces.append(self._trace(node.name, "ok", started_s, None))
        return result

    async def _call(self, body: Body, values: dict[str, Any]) -> Any:
        if body.is_async:
            return await body.call(**values)
        context = contextvars.copy_context()
        return await self._workers.call(lambda: context.run(body.call, **values))

    def _trace(
        self, node: str, status: str, started_s: float, error: FarthingError | None
    ) -> Trace:
        return Trace(
            node=node,
            status=status,
            started_s=started_s,
            latency_s=self._clock.now() - started_s,
            error=error.code if error is not None else None,
        )


def _over_lines(port: Port, lines: Sequence[LineResult], values: Mapping[str, Any]) -> Any:
    """A port of an aggregation: a list over the lines, or what another aggregation returned.

    None stands for a line in which the node was bypassed, so that the lists of all ports have the same lines.
    """
    reference = port.reference
    if reference is None:
        return port.value
    if isinstance(reference, InputReference):
        return [line.inputs.get(reference.name) for line in lines]
    if reference.node in values:
        return resolve(values[reference.node], reference.path)
    found = (line.values.get(reference.node) for line in lines)
    return [None if each is None else resolve(each, reference.path) for each in found]
