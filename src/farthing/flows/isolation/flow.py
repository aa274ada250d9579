"""A flow whose lines run in processes of their own, behind the same door as every other flow."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from farthing.core.errors import FarthingError, FlowError, FlowInputError, NodeFailedError
from farthing.flows.batch.metrics import log_metric
from farthing.flows.engine.engine import LINE_TIMEOUT_S
from farthing.flows.engine.plan import LineResult
from farthing.flows.graph import Flow
from farthing.flows.isolation import main_module
from farthing.flows.isolation.errors import ended
from farthing.flows.isolation.frames import Begin, Over
from farthing.flows.isolation.process import EndedError, Worker, started
from farthing.flows.isolation.results import carried_of, result_of, whole_result_of
from farthing.flows.isolation.settings import Isolation
from farthing.flows.models import Models, Spent

#: A worker fails a line that takes too long itself. So much later, seconds, it is taken to hang and is killed.
GRACE_S = 1.0


class IsolatedFlow:
    """See `runnable.Runnable`. Made by `opened_apart`.

    A line waits until one of the workers is free; they are started as they are needed. A worker that has
    ended, or hangs, fails the line that it ran, and another takes its place. What is behind all lines runs in
    a process that has run no line, as in prompt flow.
    """

    def __init__(
        self, begin: Begin, models: Models, isolation: Isolation, line_timeout_s: float
    ) -> None:
        self.spent = Spent()
        self._begin = begin
        self._models = models
        self._isolation = isolation
        self._line_timeout_s = line_timeout_s
        self._turns = asyncio.Semaphore(isolation.processes)
        self._free: list[Worker] = []
        self._all: set[Worker] = set()
        self._stopping: set[asyncio.Task[None]] = set()
        self._result = whole_result_of if begin.is_whole else result_of

    @property
    def flow(self) -> Flow:
        """See `Runnable`. The defaults of its inputs are with the workers."""
        return self._flow

    @property
    def has_end(self) -> bool:
        """See `Runnable`."""
        return self._has_end

    async def open(self) -> None:
        """Start the first worker, which tells what the flow is. Raises what `open_flow` raises."""
        worker = await self._started("the flow")
        self._flow: Flow = pickle.loads(worker.opened.flow)  # noqa: S301 -- of a program of ours
        self._has_end = worker.opened.has_end
        self._free.append(worker)

    async def run(self, inputs: Mapping[str, Any], *, number: int | None = None) -> LineResult:
        """See `Runnable.run`."""
        try:
            given = pickle.dumps(dict(inputs))
        except Exception as error:  # border: classes of the user's own
            return LineResult(inputs=dict(inputs), error=_unportable(inputs, error))
        what = "the line" if number is None else f"line {number}"
        async with self._turns:
            try:
                worker = await self._next(what)
                over = await self._within_time(worker, number, given, what)
            except FarthingError as error:
                return LineResult(inputs=dict(inputs), error=error)
        return self._result(over, inputs)

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        """See `Runnable.aggregate`."""
        if not self._has_end:
            return LineResult(inputs={})
        what = "what is behind all lines"
        try:
            worker = await self._started(what)
            try:
                over = await worker.aggregate(carried_of(each) for each in lines if not each.error)
            except EndedError as error:
                raise ended(what, error.code) from None
            finally:
                self._retire(worker)
        except FarthingError as error:
            return LineResult(inputs={}, error=error)
        result = self._result(over, {})
        for name, value in result.metrics.items():
            log_metric(name, value)  # for those who collect around this
        return result

    async def aclose(self) -> None:
        """See `Runnable.aclose`."""
        for worker in list(self._all):
            self._retire(worker)
        while self._stopping:
            await asyncio.gather(*self._stopping)

    # --- workers ---

    async def _next(self, what: str) -> Worker:
        """One that is free, else a new one; within a turn, so that there are never too many."""
        while self._free:
            worker = self._free.pop()
            if not worker.is_over:
                return worker
            self._retire(worker)
        return await self._started(what)

    async def _started(self, what: str) -> Worker:
        try:
            worker = await started(self._begin, self._models, self.spent)
        except EndedError as error:
            raise ended(what, error.code) from None
        self._all.add(worker)
        return worker

    async def _within_time(
        self, worker: Worker, number: int | None, inputs: bytes, what: str
    ) -> Over:
        """Run a line. The worker is free behind it, or ended where it may hang or have changed."""
        is_good = False
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._line_timeout_s
        try:
            async with asyncio.timeout_at(until_s + GRACE_S):
                over = await worker.run(number, inputs)
            # Behind a line that took too long its function may still be at it.
            is_good = over.error is None or loop.time() < until_s
        except TimeoutError:
            raise _hung(what, self._line_timeout_s) from None
        except EndedError as error:
            raise ended(what, error.code) from None
        finally:
            if not is_good:
                worker.kill()
            if is_good and not self._isolation.is_fresh:
                self._free.append(worker)
            else:
                self._retire(worker)
        return over

    def _retire(self, worker: Worker) -> None:
        """Have it ended, while other lines go on."""
        if worker in self._all:
            self._all.discard(worker)
            task = asyncio.create_task(worker.stop())
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)


async def opened_apart(
    source: str | os.PathLike[str] | Callable[..., Any] | Flow,
    isolation: Isolation,
    *,
    models: Models,
    line_timeout_s: float = LINE_TIMEOUT_S,
    is_whole: bool = False,
    **opening: Any,
) -> IsolatedFlow:
    """What `open_flow` opens, in processes of its own.

    is_whole: results have their objects, whose classes must be found here; else what JSON has of them.
    opening: what else `open_flow` takes, `models`, `clock` and `is_streaming` aside. Raises what it raises.
    """
    main = main_module.where_it_is(source) if callable(source) else None
    given = {"path": source, "line_timeout_s": line_timeout_s, **opening}
    try:
        wire = pickle.dumps(given)
    except Exception as error:  # border: objects of the user's own
        raise FlowError(
            "The flow cannot be opened in processes of its own: they find it by its name, and "
            f"{source if not callable(source) else getattr(source, '__name__', 'it')!r} has none that is known "
            f"everywhere ({type(error).__name__}).",
            hint="Define it at the top of a module, or leave isolate away.",
        ) from error
    begin = Begin(
        argv=[os.fsencode(each) for each in sys.argv],
        folder=os.fsencode(Path.cwd()),
        main=main,
        opening=wire,
        is_whole=is_whole,
    )
    flow = IsolatedFlow(begin, models, isolation, line_timeout_s)
    await flow.open()
    return flow


def _hung(what: str, limit_s: float) -> NodeFailedError:
    return NodeFailedError(
        f"The process of {what} was ended: it took longer than {limit_s:g} s and did not come back.",
        hint="Raise PF_LINE_TIMEOUT_SEC, or look at what the line waits for.",
        cause="TimeoutError",
    )


def _unportable(inputs: Mapping[str, Any], error: Exception) -> FlowInputError:
    return FlowInputError(
        f"The inputs of the line cannot be handed to another process ({type(error).__name__}); they are: "
        + ", ".join(f"{name} ({type(value).__name__})" for name, value in inputs.items())
        + ".",
        hint="Give texts, numbers, lists and dicts, or run without isolation.",
    )
