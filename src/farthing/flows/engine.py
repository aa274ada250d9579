"""The engine: runs the nodes of a flow for one line, each as soon as what it refers to is there.

A plan is made once for a flow; a line costs what its nodes do and little more. Nodes that wait (models, async
functions) run on the event loop, plain functions in a bounded pool of threads with the line's context
variables. A thread that has run one plain function goes on with the next that became ready, so a chain of them
costs one hop.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import Any

import msgspec

from farthing.base.clock import Clock
from farthing.core.errors import FarthingError, FlowError, FlowInputError, NodeFailedError
from farthing.flows.graph import Flow, Input, Node, Output, Port
from farthing.flows.references import InputReference, NodeReference, PathError, Reference, resolve
from farthing.flows.values import coerce

_log = logging.getLogger("farthing.flows")

#: Threads for plain functions, unless the caller says otherwise: prompt flow's number for a single run.
THREADS = 16
#: How long a line may take, seconds; prompt flow's default.
LINE_TIMEOUT_S = 600.0


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
    is_bare: the flow returned one value that is no dict; it is the output `output`.
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


class _Step(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A node as the plan has it. index: its place. followers: indexes of those that wait for it."""

    index: int
    node: Node
    body: Body
    ports: tuple[Port, ...]
    sources: tuple[int, ...]
    followers: tuple[int, ...]
    exposed: frozenset[str]


class _State(Enum):
    WAITING = auto()
    RUNNING = auto()
    DONE = auto()
    BYPASSED = auto()


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
            _Step(
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
        self.aggregations = tuple(
            (node, bodies[node.name]) for node in flow.nodes if node.is_aggregation
        )


class Engine:
    """Runs lines. Open it with `async with`; safe for any number of lines at once.

    threads: for plain functions, shared by all lines. line_timeout_s: for one line, all nodes together.
    """

    def __init__(
        self, clock: Clock, *, threads: int = THREADS, line_timeout_s: float = LINE_TIMEOUT_S
    ) -> None:
        self._clock = clock
        self._line_timeout_s = line_timeout_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="farthing-flow")

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(self, *_: object) -> None:
        # A function that hangs must not keep the program from its end.
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run(
        self, plan: Plan, inputs: Mapping[str, Any], *, number: int | None = None
    ) -> LineResult:
        """Run one line. number: of the line in its data, for messages. What fails is in the result."""
        where = "" if number is None else f" of line {number}"
        try:
            taken = take_inputs(plan.flow.inputs, inputs, where=where)
        except FlowInputError as error:
            return LineResult(inputs=dict(inputs), error=error)
        line = _Line(plan, taken, self._pool, self._clock)
        try:
            async with asyncio.timeout(self._line_timeout_s):
                await line.run()
        except TimeoutError:
            line.fail(
                FlowError(
                    f"The line took longer than {self._line_timeout_s:g} s; "
                    f"it was at: {', '.join(line.running()) or 'no node'}.",
                    hint="Raise PF_LINE_TIMEOUT_SEC, or look at what the node waits for.",
                )
            )
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
            except Exception as error:  # border: a user's function
                result.error = failure(node.name, error)
                result.traces.append(self._trace(node.name, "failed", started_s, result.error))
                break
            result.traces.append(self._trace(node.name, "ok", started_s, None))
        return result

    async def _call(self, body: Body, values: dict[str, Any]) -> Any:
        if body.is_async:
            return await body.call(**values)
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: context.run(body.call, **values))

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


class _Line:
    """One line under way. Its state is changed under `_lock`, from the loop and from the pool's threads."""

    def __init__(
        self, plan: Plan, inputs: dict[str, Any], pool: ThreadPoolExecutor, clock: Clock
    ) -> None:
        self._plan = plan
        self._inputs = inputs
        self._pool = pool
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._lock = threading.Lock()
        self._states = [_State.WAITING] * len(plan.steps)
        self._left = [len(step.sources) for step in plan.steps]
        self._open = len(plan.steps)
        self._values: dict[str, Any] = {}
        self._traces: list[Trace] = []
        self._warnings: list[str] = []
        self._error: FarthingError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()

    async def run(self) -> None:
        """Until each node is over, or one has failed. Cancels what is under way when it is left."""
        try:
            self._dispatch(self._ready(range(len(self._plan.steps))))
            if not self._plan.steps:
                return
            await self._over
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def fail(self, error: FarthingError) -> None:
        """The line has failed; nodes that were not begun are not."""
        with self._lock:
            if self._error is None:
                self._error = error

    def running(self) -> list[str]:
        """The nodes under way."""
        states = zip(self._plan.steps, self._states, strict=True)
        return [step.node.name for step, state in states if state is _State.RUNNING]

    def result(self) -> LineResult:
        """What has come of it."""
        bypassed = frozenset(
            step.node.name
            for step, state in zip(self._plan.steps, self._states, strict=True)
            if state is _State.BYPASSED
        )
        made = LineResult(
            inputs=self._inputs,
            values=self._values,
            bypassed=bypassed,
            traces=self._traces,
            warnings=self._warnings,
            error=self._error,
        )
        if made.error is None:
            try:
                made.outputs = {
                    output.name: self._output(output, bypassed)
                    for output in self._plan.flow.outputs
                }
            except FlowError as error:
                made.error = error
        return made

    # --- which is next ---

    def _ready(self, indexes: Sequence[int] | range) -> list[_Step]:
        """Of these, the nodes that can run now; those whose condition is not met are passed over."""
        steps, ready = self._plan.steps, []
        looked_at = deque(index for index in indexes if not self._left[index])
        while looked_at:
            step = steps[looked_at.popleft()]
            if self._states[step.index] is not _State.WAITING:
                continue
            try:
                is_bypassed = self._is_bypassed(step)
            except FlowError as error:
                self._error = self._error or error
                return []
            if not is_bypassed:
                self._states[step.index] = _State.RUNNING
                ready.append(step)
                continue
            self._states[step.index] = _State.BYPASSED
            self._traces.append(Trace(node=step.node.name, status="bypassed"))
            looked_at.extend(self._finished(step))
        return ready

    def _finished(self, step: _Step) -> list[int]:
        """One more is over. Returns the followers that waited for nothing else."""
        self._open -= 1
        free = []
        for index in step.followers:
            self._left[index] -= 1
            if not self._left[index]:
                free.append(index)
        return free

    def _is_bypassed(self, step: _Step) -> bool:
        activate = step.node.activate
        if activate is not None:
            reference = activate.reference
            if reference is None:
                return bool(activate.when != activate.value)
            if isinstance(reference, NodeReference) and self._is_void(reference):
                return True
            return bool(self._read(reference, step.node.name) != activate.value)
        states = [self._states[index] for index in step.sources]
        return bool(states) and all(state is _State.BYPASSED for state in states)

    # --- running ---

    def _dispatch(self, ready: list[_Step]) -> None:
        """Begin these; on the loop."""
        for step in ready:
            if step.body.is_async:
                # Behind a thread's function the current context is no line's.
                work = self._run_waiting(step)
                task = self._loop.create_task(work, context=self._context.copy())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._pool.submit(self._run_on, step)
        self._look_whether_over()

    def _look_whether_over(self) -> None:
        if (self._open == 0 or self._error is not None) and not self._over.done():
            self._over.set_result(None)

    async def _run_waiting(self, step: _Step) -> None:
        started_s = self._clock.now()
        try:
            value = await step.body.call(**self._arguments(step))
        except asyncio.CancelledError:
            self._trace(step, "cancelled", started_s, None)
            raise
        except Exception as error:  # border: a user's function, or a plug-in's
            self._note_failure(step, started_s, error)
            self._look_whether_over()
            return
        self._dispatch(self._note_value(step, started_s, value))

    def _run_on(self, step: _Step) -> None:
        """Run a plain function, and go on with the next one that it has made ready; in a thread."""
        following: _Step | None = step
        while following is not None:
            step, following = following, None
            if self._error is not None:
                break
            started_s = self._clock.now()
            try:
                arguments = self._arguments(step)
                value = self._context.copy().run(step.body.call, **arguments)
            except Exception as error:  # border: a user's function
                self._note_failure(step, started_s, error)
                break
            ready = self._note_value(step, started_s, value)
            others = []
            for each in ready:
                if following is None and not each.body.is_async:
                    following = each
                else:
                    others.append(each)
            if others:
                # A thread of the pool has no context of its own: what waits gets the line's.
                self._loop.call_soon_threadsafe(self._dispatch, others, context=self._context)
        self._loop.call_soon_threadsafe(self._look_whether_over)

    def _note_value(self, step: _Step, started_s: float, value: Any) -> list[_Step]:
        self._trace(step, "ok", started_s, None)
        with self._lock:
            self._values[step.node.name] = value
            self._states[step.index] = _State.DONE
            return self._ready(self._finished(step))

    def _note_failure(self, step: _Step, started_s: float, error: Exception) -> None:
        told = failure(step.node.name, error)
        self._trace(step, "failed", started_s, told)
        self.fail(told)

    def _trace(
        self, step: _Step, status: str, started_s: float, error: FarthingError | None
    ) -> None:
        self._traces.append(
            Trace(
                node=step.node.name,
                status=status,
                started_s=started_s,
                latency_s=self._clock.now() - started_s,
                error=error.code if error is not None else None,
            )
        )

    # --- values ---

    def _arguments(self, step: _Step) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for port in step.ports:
            reference = port.reference
            if reference is None:
                arguments[port.name] = port.value
            elif isinstance(reference, NodeReference) and self._is_void(reference):
                if port.name not in step.body.defaults:
                    arguments[port.name] = None
                    self._warnings.append(
                        f"'{port.name}' of '{step.node.name}' is None: '{reference.node}' was bypassed."
                    )
            else:
                arguments[port.name] = self._read(reference, step.node.name)
        if step.body.wants_exposed:
            arguments["exposed"] = step.exposed
        return arguments

    def _is_void(self, reference: NodeReference) -> bool:
        return reference.node not in self._values

    def _read(self, reference: Reference, who: str) -> Any:
        if isinstance(reference, InputReference):
            return self._inputs[reference.name]
        value = self._values[reference.node]
        if not reference.path:
            return value
        try:
            return resolve(value, reference.path)
        except PathError as error:
            raise NodeFailedError(
                f"'{who}' asks for {reference}, and a {error.kind} has no {error.step!r}.",
                hint=f"Look at what '{reference.node}' returns.",
                node=who,
                cause="PathError",
            ) from None

    def _output(self, output: Output, bypassed: frozenset[str]) -> Any:
        reference = output.reference
        if reference is None:
            return output.value
        if isinstance(reference, NodeReference) and reference.node in bypassed:
            self._warnings.append(
                f"The output '{output.name}' is None: '{reference.node}' was bypassed."
            )
            return None
        return self._read(reference, f"output {output.name}")


def take_inputs(
    declared: Sequence[Input], given: Mapping[str, Any], *, where: str = ""
) -> dict[str, Any]:
    """The inputs of a line: defaults filled in, each of its type; what is not declared is left out.

    where: what to say of the place. Raises FlowInputError.
    """
    taken: dict[str, Any] = {}
    missing = []
    for each in declared:
        if each.name in given:
            taken[each.name] = coerce(each.kind, given[each.name], name=each.name, where=where)
        elif each.has_default:
            taken[each.name] = each.default
        else:
            missing.append(each.name)
    if missing:
        names = ", ".join(f"'{name}'" for name in missing)
        raise FlowInputError(
            f"The input{'s' if len(missing) > 1 else ''} {names}{where} "
            f"{'are' if len(missing) > 1 else 'is'} missing.",
            hint=f"Given: {', '.join(given) or 'nothing'}. Name it, map a column to it, or give it a default.",
            param=missing[0],
        )
    return taken


def failure(node: str, error: Exception) -> FarthingError:
    """What is told of a node that raised. An error of ours passes; another's text may be private."""
    if isinstance(error, FlowError):
        error.node = error.node or node
        return error
    if isinstance(error, FarthingError):
        return error
    told = NodeFailedError(
        f"The node '{node}' failed with {type(error).__name__}.",
        hint="Run the flow with this line alone to see where: `farthing flow test`.",
        node=node,
        cause=type(error).__name__,
    )
    told.__cause__ = error
    return told


def _over_lines(port: Port, lines: Sequence[LineResult], values: Mapping[str, Any]) -> Any:
    """A port of an aggregation: a list over the lines, or what another aggregation returned."""
    reference = port.reference
    if reference is None:
        return port.value
    if isinstance(reference, InputReference):
        return [line.inputs.get(reference.name) for line in lines]
    if reference.node in values:
        return resolve(values[reference.node], reference.path)
    return [
        resolve(line.values[reference.node], reference.path)
        for line in lines
        if reference.node in line.values
    ]
