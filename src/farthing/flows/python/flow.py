"""`@farthing.flow`: a flow that is an asynchronous function; run it, stream it, run it over data."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

import msgspec

from farthing.base.clock import Clock, SystemClock
from farthing.core.errors import FlowFormatError
from farthing.flows.batch.data import Row, read
from farthing.flows.batch.feed import rows_in_memory
from farthing.flows.batch.mapping import DATA, ColumnMapping, numbered
from farthing.flows.connections.connections import Connections
from farthing.flows.engine.engine import LINE_TIMEOUT_S, THREADS
from farthing.flows.engine.lines import Lines
from farthing.flows.engine.plan import LineResult
from farthing.flows.engine.workers import Workers
from farthing.flows.flex.flow import AGGREGATE, NEEDED, FlexFlow
from farthing.flows.graph import Flow, Node, Port
from farthing.flows.isolation.settings import Isolation, isolation_of
from farthing.flows.models import GatewayModels, Models, Spent
from farthing.flows.python import line
from farthing.flows.python.connection import known
from farthing.flows.python.images import fetching
from farthing.flows.python.line import PythonLine
from farthing.flows.python.waiting import wait
from farthing.flows.references import NodeReference
from farthing.flows.runnable import Runnable
from farthing.gateway.python import background

if TYPE_CHECKING:
    from farthing.flows.prompts.fetch import ImageFetcher

P = ParamSpec("P")
T = TypeVar("T")
T2 = TypeVar("T2")

_END = object()
#: Lines of `.batch` that run at once, unless the caller says otherwise.
IN_FLIGHT = 16


class Batched(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that were run, in the order of their data. behind: what ran behind all of them.

    spent: what the flow's model calls have cost.
    """

    lines: tuple[LineResult, ...]
    behind: LineResult
    spent: Spent

    @property
    def metrics(self) -> dict[str, float]:
        """What was logged behind all lines, by name."""
        return self.behind.metrics

    @property
    def outputs(self) -> list[dict[str, Any] | None]:
        """The outputs of each line, None of one that failed."""
        return [None if each.error is not None else each.outputs for each in self.lines]


class PythonFlow(Generic[P, T]):
    """A flow that is a function. Its parameters are the inputs; what it returns, the outputs.

    Awaited like a function it gives the function's value; in another flow it is a node of that flow.
    """

    def __init__(self, function: Callable[P, Any], *, name: str | None = None) -> None:
        """Raises FlowFormatError: no function."""
        if isinstance(function, type) or not inspect.isroutine(function):
            raise FlowFormatError(
                "@farthing.flow stands above an asynchronous function.",
                hint="Write @farthing.flow above `async def`.",
            )
        self.function = function
        self.name = name or str(getattr(function, "__name__", "flow"))
        self._behind: Callable[[Any], Any] | None = None
        self._needed: tuple[str, ...] = ()
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **inputs: P.kwargs) -> Coroutine[Any, Any, T]:
        """Await it: the function's own value. What goes wrong is raised as it is."""
        return self._as_node(functools.partial(self.function, *args, **inputs))

    def run(self, *args: P.args, **inputs: P.kwargs) -> LineResult:
        """Run one line and wait: outputs, what each node returned, traces. Raises what it failed with.

        Call it from code without an event loop; in one, await the flow itself.
        """
        return wait(self._run(self._by_name(args, inputs)))

    def stream(self, *args: P.args, **inputs: P.kwargs) -> Iterator[Any]:
        """What the flow yields, piece by piece; of one that yields nothing its outputs, in one piece.

        Leaving the loop early stops the flow. Raises what it failed with.
        """
        return self._stream(self._by_name(args, inputs))

    def batch(
        self,
        data: Path | str | Iterable[Mapping[str, Any]],
        *,
        column_mapping: Mapping[str, Any] | None = None,
        in_flight: int = IN_FLIGHT,
        isolate: int | str | None = None,
    ) -> Batched:
        """Run a line for each row and wait. Failed lines do not stop it; nothing is kept on disk.

        data: rows, or a file (jsonl, csv, tsv, json, parquet) or folder of them. column_mapping: inputs by
        name, `${data.column}` or a value; without it each column goes to the input of its name. in_flight:
        lines at once. isolate: a number of processes, `"auto"` (a core each, at most four) or `"line"` (each
        line in a new one) for nodes that write module globals, crash or leak; each runs one line at a time.
        Raises FlowInputError: data that cannot be read, a mapping that fits nothing. For runs that are
        kept and resumable: `farthing flow run`.
        """
        isolation = isolation_of(None if isolate is None else str(isolate))
        return wait(self._batch(_rows(data), column_mapping or {}, in_flight, isolation))

    @overload
    def aggregate(self, function: Callable[[Lines], T2], /) -> Callable[[Lines], T2]: ...
    @overload
    def aggregate(
        self, /, *, nodes: Iterable[str]
    ) -> Callable[[Callable[[Lines], T2]], Callable[[Lines], T2]]: ...
    def aggregate(
        self, function: Callable[[Lines], Any] | None = None, /, *, nodes: Iterable[str] = ()
    ) -> Any:
        """`@answer.aggregate` above a function: it gets what all lines returned, and gives metrics by name.

        The list that it gets knows more: `lines.inputs("question")`, and of the nodes that
        `@answer.aggregate(nodes=["ask"])` names `lines.node("ask")`; a run that is kept keeps their values.
        It may be asynchronous and await nodes. What `log_metric` is told in it counts too, so it need not
        return anything. What it raises is the error of the run's end.
        """
        if function is None:
            return functools.partial(self._aggregate, needed=tuple(nodes))
        return self._aggregate(function, ())

    def open(
        self,
        *,
        models: Models,
        connections: Connections | None = None,
        clock: Clock,
        threads: int = THREADS,
        line_timeout_s: float = LINE_TIMEOUT_S,
        is_streaming: bool = False,
    ) -> OpenPythonFlow:
        """The flow as a `runnable.Runnable`. Raises FlowFormatError."""
        flex = FlexFlow(
            self,
            models=models,
            connections=connections,
            clock=clock,
            threads=threads,
            line_timeout_s=line_timeout_s,
            is_streaming=is_streaming,
        )
        return OpenPythonFlow(flex, clock, threads=threads, connections=connections)

    def flex_entry(self) -> Callable[..., Any]:
        """The function as a flex flow's entry, with what runs behind all lines."""

        @functools.wraps(self.function)
        def entry(*args: Any, **inputs: Any) -> Any:
            return self.function(*args, **inputs)

        entry.__name__ = self.name
        if self._behind is not None:
            setattr(entry, AGGREGATE, self._behind)
            setattr(entry, NEEDED, self._needed)
        return entry

    # --- within ---

    def _aggregate(self, function: Callable[[Lines], Any], needed: tuple[str, ...]) -> Any:
        self._behind, self._needed = function, needed
        return function

    def _by_name(self, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> dict[str, Any]:
        if not args:
            return dict(inputs)
        return dict(inspect.signature(self.function).bind_partial(*args, **inputs).arguments)

    async def _as_node(self, call: Callable[[], Any]) -> T:
        here = line.current()
        running = here.call(self.name, call, is_async=True) if here is not None else call()
        return await running  # type: ignore[no-any-return]  # what the function is annotated to return

    def _opened(self, *, is_streaming: bool = False) -> OpenPythonFlow:
        client = background()
        return self.open(
            models=GatewayModels(client.gateway, client.caller),
            connections=Connections(Path.cwd(), environ=os.environ),
            clock=SystemClock(),
            is_streaming=is_streaming,
        )

    async def _run(self, inputs: Mapping[str, Any]) -> LineResult:
        flow = self._opened()
        try:
            result = await flow.run(inputs)
        finally:
            await flow.aclose()
        if result.error is not None:
            raise result.error
        return result

    async def _batch(
        self,
        rows: Iterable[Row],
        mapping: Mapping[str, Any],
        in_flight: int,
        isolation: Isolation | None,
    ) -> Batched:
        flow: Runnable = self._opened() if isolation is None else await self._apart(isolation)
        try:
            lines = await _all_lines(flow, rows, mapping, in_flight)
            return Batched(lines=lines, behind=await flow.aggregate(lines), spent=flow.spent)
        finally:
            await flow.aclose()

    async def _apart(self, isolation: Isolation) -> Runnable:
        from farthing.flows.isolation.flow import opened_apart

        client = background()
        return await opened_apart(
            self,
            isolation,
            models=GatewayModels(client.gateway, client.caller),
            connections=Connections(Path.cwd(), environ=os.environ),
            is_whole=True,
        )

    def __reduce__(self) -> str:
        """Other processes find it where it is defined, by its name."""
        return str(self.__dict__.get("__qualname__", self.name))

    def _stream(self, inputs: Mapping[str, Any]) -> Generator[Any, None, None]:
        flow = self._opened(is_streaming=True)
        try:
            result = wait(flow.run(inputs))
            if result.error is not None:
                raise result.error
            for value in result.outputs.values() if result.is_bare else (result.outputs,):
                if isinstance(value, AsyncIterator):
                    yield from _pieces(value)
                else:
                    yield value
        finally:
            wait(flow.aclose())


class OpenPythonFlow:
    """See `runnable.Runnable`. Nodes have a pool of their own, so lines that wait for them never fill it."""

    def __init__(
        self,
        flex: FlexFlow,
        clock: Clock,
        *,
        threads: int = THREADS,
        connections: Connections | None = None,
        images: ImageFetcher | None = None,
    ) -> None:
        self._flex = flex
        self._clock = clock
        self._connections = connections
        self._images = images
        self._workers = Workers(threads, name="farthing-node")
        self._flow = msgspec.structs.replace(flex.flow, nodes=_graph(flex.needed))

    @property
    def flow(self) -> Flow:
        """See `Runnable`. Of its nodes those that count behind all lines."""
        return self._flow

    @property
    def spent(self) -> Spent:
        """See `Runnable`."""
        return self._flex.spent

    @property
    def has_end(self) -> bool:
        """See `Runnable`."""
        return self._flex.has_end

    async def run(self, inputs: Mapping[str, Any], *, number: int | None = None) -> LineResult:
        """See `Runnable.run`. values and traces: of the flow and of each node that it awaited."""
        here = PythonLine(self._workers, self._clock)
        with line.within(here), known(self._connections), fetching(self._images):
            result = await self._flex.run(inputs, number=number)
        result.values = {**here.values, **result.values}
        if result.error is not None:
            result.error = here.told(result.error)
        result.traces = [*here.traces, *result.traces]
        return result

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        """See `Runnable.aggregate`. Nodes that are awaited there are traced too."""
        here = PythonLine(self._workers, self._clock)
        with line.within(here), known(self._connections):
            result = await self._flex.aggregate(lines)
        result.values = {**here.values, **result.values}
        if result.error is not None:
            result.error = here.told(result.error)
        result.traces = [*here.traces, *result.traces]
        return result

    async def aclose(self) -> None:
        """See `Runnable.aclose`."""
        self._workers.close()
        await self._flex.aclose()


@overload
def flow(function: Callable[P, Coroutine[Any, Any, T]], /) -> PythonFlow[P, T]: ...
@overload
def flow(function: Callable[P, AsyncIterator[T]], /) -> PythonFlow[P, T]: ...
@overload
def flow(*, name: str) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], PythonFlow[P, T]]: ...
def flow(function: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Any:
    """Make a flow of an asynchronous function. Nodes (`@farthing.node`) that it awaits are traced.

    `answer.run(question="Why?")` runs one line, `.stream(…)` gives its pieces, `.batch("data.jsonl")` runs
    many; `await answer("Why?")` is the function itself. name: by default the function's.
    """
    if function is None:
        return functools.partial(PythonFlow, name=name)
    return PythonFlow(function, name=name)


def _graph(needed: tuple[str, ...]) -> tuple[Node, ...]:
    """The nodes of that name, and one behind all lines that refers to them."""
    if not needed:
        return ()
    ports = tuple(Port(name=name, reference=NodeReference(name)) for name in needed)
    behind = Node(name=AGGREGATE, kind="python", inputs=ports, is_aggregation=True)
    return (*(Node(name=name, kind="python") for name in needed), behind)


async def _all_lines(
    flow: Runnable,
    rows: Iterable[Row],
    mapping: Mapping[str, Any],
    in_flight: int,
) -> tuple[LineResult, ...]:
    turns = asyncio.Semaphore(in_flight)
    columns = ColumnMapping(mapping, flow.flow.inputs, sources=(DATA,))
    tasks: list[asyncio.Task[LineResult]] = []

    async def one(number: int, inputs: Mapping[str, Any]) -> LineResult:
        try:
            return await flow.run(inputs, number=number)
        finally:
            turns.release()

    async with asyncio.TaskGroup() as group:
        for each in numbered(rows):
            row = each.row
            where = f" of line {each.number}"
            inputs = columns.apply({DATA: row.values}, where=where) if mapping else row.values
            await turns.acquire()
            tasks.append(group.create_task(one(each.number, inputs)))
    return tuple(task.result() for task in tasks)


def _rows(data: Path | str | Iterable[Mapping[str, Any]]) -> Iterable[Row]:
    return read(Path(data)) if isinstance(data, Path | str) else rows_in_memory(data)


def _pieces(source: AsyncIterator[Any]) -> Generator[Any, None, None]:
    try:
        while (piece := wait(_next(source))) is not _END:
            yield piece
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            wait(close())


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source, _END)
