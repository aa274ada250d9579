"""A flex flow that is open: each line is one call of a function, or of an object made once of a class.

The user's code runs in threads of a pool. An asynchronous function gets an event loop of its own there, as in
prompt flow: code in it may block (a prompty is called without await in many), and must not hold up the
gateway's loop meanwhile.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from farthing.base.clock import Clock
from farthing.core.errors import FarthingError, FlowError, FlowFormatError
from farthing.flows.batch.metrics import collecting, log_metric
from farthing.flows.code.source import on_path
from farthing.flows.code.tool import accepts_more, parameters_of
from farthing.flows.engine import ambient
from farthing.flows.engine.ambient import Ambient
from farthing.flows.engine.engine import LINE_TIMEOUT_S, THREADS
from farthing.flows.engine.line import failure, take_inputs
from farthing.flows.engine.lines import Lines
from farthing.flows.engine.plan import LineResult, Trace
from farthing.flows.engine.threads import Outcome, Threads
from farthing.flows.flex import format as flexfile
from farthing.flows.flex import signature
from farthing.flows.flex.format import FlexFile
from farthing.flows.flex.init import ConnectionSource, make
from farthing.flows.flex.signature import Parameter
from farthing.flows.graph import NOWHERE, Flow, Input, Span
from farthing.flows.models import Models, Spent

_log = logging.getLogger("farthing.flows")

#: The method of a class that gets the results of all lines.
AGGREGATE = "__aggregate__"
#: Of a stand-in's function: the nodes that it looks at there.
NEEDED = "__farthing_needed__"


@runtime_checkable
class StandIn(Protocol):
    """An entry that stands for a function, as `@farthing.flow` makes one."""

    def flex_entry(self) -> Callable[..., Any]:
        """The function, with what runs behind all lines as its `__aggregate__`."""
        ...


class FlexFlow:
    """See `runnable.Runnable`. is_streaming: a generator in a result stays one, asynchronous.

    has_stand_in: its entry is a `StandIn`, so lines await nodes; see `python.flow.OpenPythonFlow`. needed:
    the nodes whose values its end looks at.
    """

    def __init__(
        self,
        source: Path | Callable[..., Any],
        *,
        models: Models,
        clock: Clock,
        connections: ConnectionSource | None = None,
        init: Mapping[str, Any] | None = None,
        threads: int = THREADS,
        line_timeout_s: float = LINE_TIMEOUT_S,
        is_streaming: bool = False,
    ) -> None:
        """Imports the entry and makes its object. source: a folder, a file, a function, a class, an object.

        init: by name, for a class. Raises FlowFormatError, FlowInputError, ConnectionMissingError.
        """
        self._models, self._clock = models, clock
        self._line_timeout_s = line_timeout_s
        self._is_streaming = is_streaming
        self.spent = Spent()
        self._path = ExitStack()
        self._file = flexfile.load(source) if isinstance(source, Path) else None
        self._threads = Threads(threads)
        try:
            if self._file is not None:
                self._enter(self._file)
            entry = self._file.load() if self._file else source
            self.has_stand_in = isinstance(entry, StandIn) and not inspect.isclass(entry)
            if isinstance(entry, StandIn) and self.has_stand_in:
                entry = entry.flex_entry()
            self.needed: tuple[str, ...] = getattr(entry, NEEDED, ())
            assert callable(entry)  # a path gave a file
            self._open(entry, dict(init or {}), connections)
        except BaseException:
            self._close()
            raise

    @property
    def has_end(self) -> bool:
        """See `Runnable`."""
        return self._aggregate is not None

    async def run(self, inputs: Mapping[str, Any], *, number: int | None = None) -> LineResult:
        """See `Runnable.run`. Without inputs the sample's are taken."""
        where = "" if number is None else f" of line {number}"
        given = dict(inputs) or dict(self._file.sample_inputs if self._file else {})
        try:
            taken = self._taken(given, where)
        except FlowError as error:
            return LineResult(inputs=given, error=error)
        result, started_s = LineResult(inputs=taken), self._clock.now()
        with ambient.line(self._models, self.spent, self._clock) as here:
            outcome = await self._within_time(here, taken)
            if outcome.error is not None:
                here.close()
                result.error = failure(self.flow.name, outcome.error)
            else:
                result.values = {self.flow.name: outcome.value}
                result.outputs = _mapping(outcome.value)
                result.is_bare = not isinstance(outcome.value, dict) and not _is_record(
                    outcome.value
                )
        result.traces = [self._trace(started_s, result.error)]
        return result

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        """See `Runnable.aggregate`: the class's `__aggregate__` gets what each good line returned.

        What goes wrong in it is a warning, as in prompt flow; of a stand-in it is an error. values: what it
        returned, under its name.
        """
        result = LineResult(inputs={})
        if self._aggregate is None:
            return result
        good = [line for line in lines if line.error is None]
        returned = Lines(map(self._returned, good), good)
        started_s = self._clock.now()
        with ambient.line(self._models, self.spent, self._clock) as here, collecting() as logged:
            outcome = await self._threads.run(here, self._aggregate, (returned,), {})
        _log_metrics(result, logged)
        error = failure(AGGREGATE, outcome.error) if outcome.error is not None else None
        if error is not None and self.has_stand_in:
            result.error = error
        elif error is not None:
            result.warnings.append(f"There are no metrics: {error}")
            _log.warning("The aggregation of '%s' failed: %s", self.flow.name, error.code)
        elif outcome.value is None and self.has_stand_in:
            pass  # what it logged are the metrics
        elif not isinstance(outcome.value, dict):
            kind = type(outcome.value).__name__
            result.warnings.append(f"There are no metrics: {AGGREGATE} returned a {kind}, no dict.")
        else:
            result.values = {AGGREGATE: outcome.value}
            _log_metrics(result, outcome.value)
        result.traces = [self._trace(started_s, error, AGGREGATE)]
        return result

    async def aclose(self) -> None:
        """See `Runnable.aclose`."""
        self._close()

    # --- opening ---

    def _enter(self, file: FlexFile) -> None:
        """Keep the folder on the import path while the flow is open: functions import as they run."""
        for include in file.includes:
            self._path.enter_context(on_path((file.folder / include).parent))
        self._path.enter_context(on_path(file.folder))

    def _open(
        self,
        entry: Callable[..., Any],
        init: dict[str, Any],
        connections: ConnectionSource | None,
    ) -> None:
        file = self._file
        if inspect.isclass(entry):
            if not any("__call__" in vars(base) for base in entry.__mro__):
                raise self._wrong(f"The class '{entry.__name__}' has no __call__.")
            told = file.init if file else {}
            parameters = self._parameters("init", _init_of(entry), told)
            given = init or dict(file.sample_init if file else {})
            more = _init_of(entry) is not None and accepts_more(entry)
            entry = make(entry, parameters, given, connections, takes_more=more)
        elif init:
            raise FlowFormatError(
                "Its entry is no class, so there is nothing that takes init values.",
                hint="Leave init away, or make the entry a class.",
                path=str(file.path) if file else None,
            )
        self._entry = entry
        function = entry if inspect.isroutine(entry) else entry.__call__  # type: ignore[operator]  # an object
        self._takes = self._parameters("inputs", function, file.inputs if file else {})
        self._takes_more = accepts_more(function)
        self._returns = signature.returned(function)
        self._aggregate = self._aggregation(entry)
        self.flow = self._flow(function)

    def _flow(self, function: Callable[..., Any]) -> Flow:
        file = self._file
        inputs = tuple(each.input for each in self._takes)
        outputs = signature.outputs(function, file.outputs if file else {})
        if file is None:
            name = getattr(self._entry, "__name__", type(self._entry).__name__)
            return Flow(name=name, folder=Path.cwd(), inputs=inputs, outputs=outputs)
        unused = [name for name in file.inputs if name not in {each.name for each in inputs}]
        return Flow(
            name=file.name,
            folder=file.folder,
            inputs=inputs,
            outputs=outputs,
            environment=file.environment,
            includes=file.includes,
            description=file.description,
            warnings=tuple(
                f"The input '{name}' is declared, and the entry does not take it."
                for name in ([] if self._takes_more else unused)
            ),
        )

    def _parameters(
        self, section: str, function: Callable[..., Any] | None, told: Mapping[str, Any]
    ) -> list[Parameter]:
        if function is None:
            return []

        def span(name: str) -> Span:
            return self._file.span(section, name) if self._file else NOWHERE

        return signature.parameters(function, told, span)

    def _aggregation(self, entry: Any) -> Callable[..., Any] | None:
        found = getattr(entry, AGGREGATE, None)
        if found is not None and len(parameters_of(found)) != 1:
            raise self._wrong(f"{AGGREGATE} takes {len(parameters_of(found))} parameters.")
        return found

    def _wrong(self, message: str) -> FlowFormatError:
        span = self._file.span("entry", "") if self._file else NOWHERE
        return FlowFormatError(
            message,
            hint="It is called once a line with the inputs by name; __aggregate__ with a list of results.",
            path=span.path or None,
            line=span.line,
            field="entry",
        )

    def _close(self) -> None:
        self._threads.close()
        self._path.close()

    # --- a line ---

    def _taken(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The arguments of a line. Raises FlowInputError."""
        inputs = []
        for each in self._takes:
            is_none = each.takes_none and given.get(each.input.name) is None
            inputs.append(each.input if each.is_typed and not is_none else _untyped(each.input))
        taken = take_inputs(inputs, given, where=where)
        if self._takes_more:
            taken |= {name: value for name, value in given.items() if name not in taken}
        return taken

    async def _within_time(self, here: Ambient, taken: dict[str, Any]) -> Outcome:
        try:
            async with asyncio.timeout(self._line_timeout_s):
                outcome = await self._threads.run(
                    here, self._entry, (), taken, is_streaming=self._is_streaming
                )
        except TimeoutError:
            return Outcome(
                error=FlowError(
                    f"The line took longer than {self._line_timeout_s:g} s.",
                    hint="Raise PF_LINE_TIMEOUT_SEC, or look at what the flow waits for.",
                )
            )
        return outcome

    def _returned(self, line: LineResult) -> Any:
        """What a line returned; of one that comes from a store, what its outputs were made of."""
        if self.flow.name in line.values:
            return line.values[self.flow.name]
        if dataclasses.is_dataclass(self._returns) and isinstance(self._returns, type):
            names = [each.name for each in dataclasses.fields(self._returns) if each.init]
            return self._returns(**{name: line.outputs.get(name) for name in names})
        is_plain = set(line.outputs) == {"output"} and not typing.is_typeddict(self._returns)
        return line.outputs["output"] if is_plain else line.outputs

    def _trace(self, started_s: float, error: FarthingError | None, node: str = "") -> Trace:
        return Trace(
            node=node or self.flow.name,
            status="ok" if error is None else "failed",
            started_s=started_s,
            latency_s=self._clock.now() - started_s,
            error=error.code if error is not None else None,
        )


def _init_of(kind: type[Any]) -> Callable[..., Any] | None:
    """The `__init__` of a class, None when it has none of its own."""
    init = kind.__init__
    return init if inspect.isroutine(init) and init is not object.__init__ else None


def _untyped(taken: Input) -> Input:
    """The input without conversion of its values."""
    return msgspec.structs.replace(taken, kind="")


def _is_record(value: Any) -> bool:
    """Whether it is an object of a dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _mapping(value: Any) -> dict[str, Any]:
    """What a line returned, as outputs by name."""
    if isinstance(value, dict):
        return value
    if _is_record(value):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return {"output": value}


def _log_metrics(result: LineResult, found: Mapping[str, Any]) -> None:
    for name, value in found.items():
        if isinstance(value, int | float):
            result.metrics[str(name)] = value
            log_metric(str(name), value)
        else:
            kind = type(value).__name__
            result.warnings.append(f"'{name}' is a {kind}, so it is no metric.")
