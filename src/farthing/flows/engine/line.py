"""One line under way: which node is next, on the loop or in a thread, and what has come of it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Any

from farthing.base.clock import Clock
from farthing.core.errors import FarthingError, FlowError, FlowInputError, NodeFailedError
from farthing.flows.engine.plan import LineResult, Plan, Step, Trace
from farthing.flows.engine.workers import Workers
from farthing.flows.graph import Input, Output
from farthing.flows.references import InputReference, NodeReference, PathError, Reference, resolve
from farthing.flows.values import coerce

#: How long functions that were cancelled are waited for, seconds.
CANCEL_S = 5.0


class _State(Enum):
    WAITING = auto()
    RUNNING = auto()
    DONE = auto()
    BYPASSED = auto()


class LineRun:
    """One line under way. Its state is changed under `_lock`, from the loop and from the pool's threads."""

    def __init__(self, plan: Plan, inputs: dict[str, Any], workers: Workers, clock: Clock) -> None:
        self._plan = plan
        self._inputs = inputs
        self._workers = workers
        self._mail = workers.mail()
        self._clock = clock
        self._over: asyncio.Future[None] = self._mail.loop.create_future()
        self._is_left = False
        self._in_threads = 0
        self._lock = threading.Lock()
        self._states = [_State.WAITING] * len(plan.steps)
        self._left = list(plan.waits)
        self._open = len(plan.steps)
        self._values: dict[str, Any] = {}
        self._bypassed: list[str] = []
        self._traces: list[Trace] = []
        self._warnings: list[str] = []
        self._error: FarthingError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()

    async def run(self, limit_s: float) -> None:
        """Until each node is over, one has failed or the time is. Cancels what is under way when it is left."""
        limit = self._mail.loop.call_later(limit_s, self._run_out, limit_s)
        try:
            self._dispatch(self._ready(self._plan.first))
            if not self._plan.steps:
                return
            await self._over
        finally:
            limit.cancel()
            self._leave()
            if self._tasks:
                # A function that does not let itself be cancelled is not waited for: its line is over.
                await asyncio.wait(self._tasks, timeout=CANCEL_S)

    def _leave(self) -> None:
        """Nothing that is under way counts from now on."""
        for task in self._tasks:
            task.cancel()
        with self._lock:
            self._is_left = True
            self._workers.lose(self._in_threads)

    def fail(self, error: FarthingError) -> None:
        """The line has failed; nodes that were not begun are not."""
        with self._lock:
            if self._error is None:
                self._error = error

    def result(self) -> LineResult:
        """What has come of it."""
        bypassed = frozenset(self._bypassed)
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

    def _run_out(self, limit_s: float) -> None:
        if self._over.done():
            return
        states = zip(self._plan.steps, self._states, strict=True)
        names = [step.node.name for step, state in states if state is _State.RUNNING]
        self.fail(
            FlowError(
                f"The line took longer than {limit_s:g} s; it was at: {', '.join(names) or 'no node'}.",
                hint="Raise PF_LINE_TIMEOUT_SEC, or look at what the node waits for.",
            )
        )
        self._look_whether_over()

    # --- which is next ---

    def _ready(self, indexes: Sequence[int]) -> list[Step]:
        """Of these, which wait for nothing, those to run; those whose condition is not met are passed over."""
        steps, ready = self._plan.steps, []
        looked_at = deque(indexes)
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
            self._bypassed.append(step.node.name)
            self._traces.append(Trace(node=step.node.name, status="bypassed"))
            looked_at.extend(self._finished(step))
        return ready

    def _finished(self, step: Step) -> list[int]:
        """One more is over. Returns the followers that waited for nothing else."""
        self._open -= 1
        free = []
        for index in step.followers:
            self._left[index] -= 1
            if not self._left[index]:
                free.append(index)
        return free

    def _is_bypassed(self, step: Step) -> bool:
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

    def _dispatch(self, ready: list[Step]) -> None:
        """Begin these; on the loop."""
        for step in ready:
            if self._is_left:
                return
            if step.body.is_async:
                # Behind a thread's function the current context is no line's.
                work = self._run_waiting(step)
                task = self._mail.loop.create_task(work, context=self._context.copy())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._workers.submit(self._run_on, step)
        self._look_whether_over()

    def _look_whether_over(self) -> None:
        if (self._open == 0 or self._error is not None) and not self._over.done():
            self._over.set_result(None)

    async def _run_waiting(self, step: Step) -> None:
        started_s = self._clock.now()
        try:
            value = await step.body.call(**self._arguments(step))
        except asyncio.CancelledError as error:
            if self._is_left:
                self._trace(step, "cancelled", started_s, self._clock.now(), None)
                raise
            self._note_failure(step, started_s, error)  # the function has cancelled itself
        except (Exception, SystemExit) as error:  # border: a user's function, or a plug-in's
            self._note_failure(step, started_s, error)
        else:
            ready, _ = self._note_value(step, started_s, value)
            self._dispatch(ready)
            return
        self._look_whether_over()

    def _run_on(self, step: Step) -> None:
        """Run a plain function, and go on with the next one that it has made ready; in a thread."""
        with self._lock:
            if self._is_left:
                return
            self._in_threads += 1
        others: list[Step] = []
        try:
            others = self._run_chain(step)
        finally:
            with self._lock:
                self._in_threads -= 1
                if self._is_left:
                    self._workers.find()
            self._mail.tell(self._dispatch, others)

    def _run_chain(self, step: Step) -> list[Step]:
        """The functions that follow one another. Returns what else is ready, once they are over."""
        left: list[Step] = []
        started_s = self._clock.now()
        while self._error is None and not self._is_left:
            try:
                value = self._context.copy().run(step.body.call, **self._arguments(step))
                ready, started_s = self._note_value(step, started_s, value)
            except BaseException as error:  # border: a user's function; sys.exit() ends a line only
                self._note_failure(step, started_s, error)
                return []
            following = None
            for each in ready:
                if following is None and not each.body.is_async:
                    following = each
                else:
                    left.append(each)
            if following is None:
                return left
            if left:
                self._mail.tell(self._dispatch, left)
                left = []
            step = following
        return left

    def _note_value(self, step: Step, started_s: float, value: Any) -> tuple[list[Step], float]:
        """Which nodes are ready now, and when it was."""
        ended_s = self._clock.now()
        with self._lock:
            if self._is_left:
                return [], ended_s  # the result has been told
            self._trace(step, "ok", started_s, ended_s, None)
            self._values[step.node.name] = value
            self._states[step.index] = _State.DONE
            return self._ready(self._finished(step)), ended_s

    def _note_failure(self, step: Step, started_s: float, error: BaseException) -> None:
        told = failure(step.node.name, error)
        self._trace(step, "failed", started_s, self._clock.now(), told)
        self.fail(told)

    def _trace(
        self,
        step: Step,
        status: str,
        started_s: float,
        ended_s: float,
        error: FarthingError | None,
    ) -> None:
        self._traces.append(
            Trace(
                node=step.node.name,
                status=status,
                started_s=started_s,
                latency_s=ended_s - started_s,
                error=error.code if error is not None else None,
            )
        )

    # --- values ---

    def _arguments(self, step: Step) -> dict[str, Any]:
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


def failure(node: str, error: BaseException) -> FarthingError:
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
