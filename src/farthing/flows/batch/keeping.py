"""What a batch keeps of its lines: as records, written to the store in groups while others run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from farthing.core.errors import FarthingError, FlowError
from farthing.flows.batch.records import Line, as_json
from farthing.flows.engine.plan import LineResult
from farthing.flows.graph import Flow
from farthing.flows.models import Spent
from farthing.flows.references import NodeReference
from farthing.flows.values import TYPES

if TYPE_CHECKING:
    from farthing.flows.batch.feed import Fed
    from farthing.flows.batch.runs import Runs

#: A line's record may have so many bytes; databases take little more in one row.
MOST_BYTES = 256 << 20


class Recorder:
    """Makes the record of a line. needed: the nodes whose values those behind all lines refer to."""

    def __init__(self, flow: Flow) -> None:
        ordinary = {node.name for node in flow.nodes if not node.is_aggregation}
        references = [
            reference
            for node in flow.nodes
            if node.is_aggregation
            for _, reference, _ in node.references()
        ]
        named = {each.node for each in references if isinstance(each, NodeReference)}
        self.needed = frozenset(named & ordinary)
        #: Whether something may run behind all lines; a flow without nodes says so only when it is asked.
        self.has_end = not flow.nodes or any(node.is_aggregation for node in flow.nodes)
        # An input of another type is a connection, and what it stands for holds a key.
        self._hidden = frozenset(each.name for each in flow.inputs if each.kind not in TYPES)

    def record(
        self,
        fed: Fed,
        inputs: Mapping[str, Any],
        result: LineResult,
        started_at_s: float,
        took_s: float,
    ) -> Line:
        """The record of a line. inputs: as mapped. An output that cannot be kept makes it a failed one."""
        error, outputs = result.error, None
        if error is None:
            outputs = as_json_or(result.outputs, None)
            if outputs is None:
                error = result.error = unwritable(result.outputs)
        shown = self.shown(result.inputs)
        text = as_json_or(shown, "")
        if not text:
            shown = self.shown(inputs)
            text = as_json_or(shown, "{}")
        rest = {k: v for k, v in fed.columns.items() if k not in shown or shown[k] != v}
        return Line(
            number=fed.number,
            status="completed" if error is None else "failed",
            inputs=text,
            columns=as_json_or(rest, None) if rest else None,
            outputs=outputs,
            node_values=self._values(result) if error is None else None,
            error_code=error.code if error is not None else None,
            error_node=error.node if isinstance(error, FlowError) else None,
            error_message=str(error) if error is not None else None,
            started_at_ms=int(started_at_s * 1000),
            latency_us=int(took_s * 1_000_000),
        )

    def shown(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs without those that hold a key."""
        return {k: v for k, v in inputs.items() if k not in self._hidden}

    def trimmed(self, result: LineResult) -> LineResult:
        """What those behind all lines need of a line, and no more."""
        if result.carried is not None:
            return LineResult(inputs={}, carried=result.carried)
        return LineResult(
            inputs=result.inputs,
            outputs=result.outputs,
            values={k: v for k, v in result.values.items() if k in self.needed},
        )

    def restored(self, line: Line) -> LineResult:
        """The same, of a line that was run in an earlier session."""
        return LineResult(
            inputs=msgspec.json.decode(line.inputs),
            outputs=msgspec.json.decode(line.outputs or "{}"),
            values=msgspec.json.decode(line.node_values or "{}"),
        )

    def _values(self, result: LineResult) -> str | None:
        if not self.needed:
            return None
        values = {k: v for k, v in result.values.items() if k in self.needed}
        text: str | None = as_json_or(values, None)
        return text


class Keeper:
    """Writes records in groups: while one group is written the next gathers.

    The writing is a task of its own, so that a batch that is cancelled does not leave a group half told.
    """

    def __init__(
        self, runs: Runs, run: int, spent: Callable[[], Spent], told: Callable[[list[Line]], None]
    ) -> None:
        """spent: what models have cost so far. told: hears of each group that is kept."""
        self._runs = runs
        self._run = run
        self._spent = spent
        self._told = told
        self._before = msgspec.structs.replace(spent())
        self._waiting: list[Line] = []
        self._next = asyncio.Event()  # what those who wait for the next group wait for
        self._writing: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    async def add(self, line: Line) -> None:
        """Return once it is kept. Raises StorageError, of an earlier one too.

        A process that dies has therefore no more lines to run again than it ran at once.
        """
        self._waiting.append(line)
        kept = self._next
        self._begin()
        await kept.wait()
        if self._error is not None:
            raise self._error

    async def flush(self) -> None:
        """Return once all are kept. Raises StorageError."""
        for is_last in (False, True):  # what is under way, then what has been spent behind it
            self._begin(is_last=is_last)
            if self._writing is not None:
                await asyncio.shield(self._writing)
        if self._error is not None:
            raise self._error

    def _begin(self, *, is_last: bool = False) -> None:
        if self._error is None and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write(is_last=is_last))

    async def _write(self, *, is_last: bool) -> None:
        while self._waiting or is_last:
            group, self._waiting, is_last = self._waiting, [], False
            kept, self._next = self._next, asyncio.Event()
            now = msgspec.structs.replace(self._spent())
            try:
                await self._runs.add(self._run, group, now.since(self._before))
                self._told(group)
            # Border: a task, whose error nobody would hear; `add` and `flush` raise it.
            except Exception as error:
                self._error = error
                self._next.set()  # those who came meanwhile are told as well
                return
            finally:
                kept.set()
            self._before = now


def as_json_or(value: Any, default: Any) -> Any:
    """The value as JSON text, the default where there is none or it is too long."""
    try:
        text = as_json(value)
    except Exception:  # border: classes of the user's own are asked what they are as JSON
        return default
    return text if len(text) <= MOST_BYTES else default


def unwritable(outputs: Mapping[str, Any]) -> FarthingError:
    """Why these outputs cannot be kept."""
    for name, value in outputs.items():
        try:
            size = len(as_json(value))
        except Exception:  # border: see above
            return FlowError(
                f"The output '{name}' is a {type(value).__name__} that JSON has nothing for.",
                hint="Return texts, numbers, lists and dicts.",
                param=name,
            )
        if size > MOST_BYTES // len(outputs):
            return FlowError(
                f"The output '{name}' is too long to be kept: {size >> 20:,} MiB, and all outputs of a "
                f"line may have {MOST_BYTES >> 20}.",
                hint="Write it to a file, and return its name.",
                param=name,
            )
    return FlowError(
        "The outputs have names that JSON has nothing for.", hint="Name them by texts."
    )
