"""The lines that a batch is fed: rows of data and lines of an earlier run, joined by their numbers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from farthing.core.errors import FlowInputError
from farthing.core.private import PrivateStruct
from farthing.flows.batch.data import Row
from farthing.flows.batch.mapping import DATA, RUN_INPUTS, RUN_OUTPUTS, Numbered, numbered
from farthing.flows.batch.records import Line, Run
from farthing.flows.batch.runs import Runs

#: Rows that are read, and joined, at once.
GROUP = 64


class Fed(PrivateStruct, frozen=True, kw_only=True):
    """A line before its mapping. sources: its row of each source. columns: its row of the data."""

    number: int
    sources: Mapping[str, dict[str, Any]]
    columns: dict[str, Any]
    where: str


class Feed:
    """Where a run's lines come from; read once, a group at a time, never all at once."""

    def __init__(self, runs: Runs, *, rows: Iterable[Row] | None, earlier: Run | None) -> None:
        """rows: of data. earlier: the run whose completed lines are a source."""
        self._runs = runs
        self._rows = rows
        self._earlier = earlier

    @property
    def sources(self) -> tuple[str, ...]:
        """The names that a column mapping may use."""
        of_data = () if self._rows is None else (DATA,)
        of_run = () if self._earlier is None else (RUN_INPUTS, RUN_OUTPUTS)
        return (*of_data, *of_run)

    async def groups(self) -> AsyncIterator[list[Fed]]:
        """Groups of lines, none empty. Lines that a source lacks are dropped. Raises FlowInputError."""
        if self._rows is not None:
            rows = numbered(self._rows)
            while group := list(islice(rows, GROUP)):
                joined = await self._joined(group)
                if joined:
                    yield joined
                # Lines that are kept already are passed over; others must have their turn meanwhile.
                await asyncio.sleep(0)
        elif self._earlier is not None:
            last = -1
            while lines := await self._runs.lines_after(
                self._earlier.id, last, status="completed", limit=GROUP
            ):
                last = lines[-1].number
                yield [_of_run(line, None) for line in lines]

    async def _joined(self, group: list[Numbered]) -> list[Fed]:
        if self._earlier is None:
            return [_of_data(each) for each in group]
        numbers = [each.number for each in group]
        lines = await self._runs.lines_of(self._earlier.id, numbers)
        return [_of_run(lines[each.number], each.row) for each in group if each.number in lines]


def rows_in_memory(rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Rows that a program made itself."""
    return (Row("the given rows", line, dict(row)) for line, row in enumerate(rows, 1))


def finished(run: Run) -> Run:
    """The run, if its lines may be a source. Raises FlowInputError."""
    if run.status != "completed":
        raise FlowInputError(
            f"The run '{run.name}', which rows come from, is {run.status}.",
            hint="Resume it, or wait for its end.",
            param="run",
        )
    return run


def columns_of(line: Line) -> dict[str, Any]:
    """What `${run.inputs.…}` sees of a line: the columns of its data, and its inputs."""
    found: dict[str, Any] = msgspec.json.decode(line.inputs)
    if line.columns is not None:
        found.update(msgspec.json.decode(line.columns))
    return found


def _of_data(each: Numbered) -> Fed:
    row = each.row
    return Fed(
        number=each.number,
        sources={DATA: row.values},
        columns=row.values,
        where=f" at line {row.line} of {row.path}",
    )


def _of_run(line: Line, row: Row | None) -> Fed:
    inputs = columns_of(line)
    sources = {RUN_INPUTS: inputs, RUN_OUTPUTS: msgspec.json.decode(line.outputs or "{}")}
    if row is not None:
        sources = {DATA: row.values, **sources}
    return Fed(
        number=line.number,
        sources=sources,
        columns=inputs if row is None else row.values,
        where=f" at line {line.number} of the run"
        if row is None
        else f" at line {row.line} of {row.path}",
    )
