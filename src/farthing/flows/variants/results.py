"""How the cells of a comparison did, side by side; read from the store of runs, at any time."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from farthing.core.errors import NotFoundError, did_you_mean
from farthing.core.private import PrivateStruct
from farthing.flows.batch.records import Line, Run
from farthing.flows.batch.runs import PAGE, Runs
from farthing.flows.models import Spent
from farthing.flows.variants.choices import choices_of
from farthing.flows.variants.matrix import DEFAULT


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How one cell did. choices: of the nodes that differ in the comparison. paid: by its own run.

    shared: what it took from other cells, as they had paid for it. compared: lines that were completed here
    and in the baseline; differing: those of them whose outputs differ. latency_s: the median of its completed
    lines, each as long as if the cell had run alone; None without any. evaluations: runs over this one.
    """

    label: str
    choices: dict[str, str]
    is_baseline: bool
    run: Run
    evaluations: tuple[Run, ...]
    paid: Spent
    shared: Spent
    compared: int
    differing: int
    latency_s: float | None

    @property
    def spent(self) -> Spent:
        """What the cell would have cost alone, without its evaluations."""
        total = Spent()
        total.add(self.paid)
        total.add(self.shared)
        return total

    @property
    def metrics(self) -> dict[str, float]:
        """Its own and those of its evaluations; a name that several have is told by who measured it."""
        found = dict(self.run.metrics)
        for each in self.evaluations:
            judge = each.name.rpartition(":")[2]
            for name, value in each.metrics.items():
                found[f"{judge}.{name}" if name in found else name] = value
        return found


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison as it stands. nodes: those that differ between its cells. cells: the baseline first.

    lines: the most that a cell has.
    """

    name: str
    nodes: tuple[str, ...]
    cells: tuple[Result, ...]
    lines: int

    @property
    def paid(self) -> Spent:
        """What was paid for all of it, evaluations too."""
        total = Spent()
        for cell in self.cells:
            total.add(cell.paid)
            for each in cell.evaluations:
                total.add(_cost(each))
        return total

    @property
    def shared(self) -> Spent:
        """What was not paid again, because cells share what they have in common."""
        total = Spent()
        for cell in self.cells:
            total.add(cell.shared)
        return total


class Side(PrivateStruct, frozen=True, kw_only=True):
    """A line in one cell. differs: from the baseline; None in it, and where one of them was not completed.

    evaluations: its line of each evaluation, by the name of the flow that judged.
    """

    line: Line
    differs: bool | None
    evaluations: dict[str, Line] = {}

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs; empty of a failed line."""
        found: dict[str, Any] = msgspec.json.decode(self.line.outputs or "{}")
        return found


class Row(PrivateStruct, frozen=True, kw_only=True):
    """A line of the data in each cell that has run it. sides: by label."""

    number: int
    sides: dict[str, Side]

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs, as the first cell took them."""
        found: dict[str, Any] = msgspec.json.decode(next(iter(self.sides.values())).line.inputs)
        return found


async def compared(runs: Runs, name: str) -> Compared:
    """The comparison of that name. Raises NotFoundError."""
    found = await runs.of_matrix(name)
    cells = [run for run in found if run.definition.variant is not None]
    if not cells:
        raise await _no_comparison(runs, name)
    # The one that was begun first stands in for the defaults where these are not compared.
    cells.sort(key=lambda run: (_label(run) != DEFAULT, run.id))
    choices = {run.id: choices_of(run.definition.variant or "") for run in cells}
    every = [set(each.items()) for each in choices.values()]
    same = set.intersection(*every) if len(every) > 1 else set()
    nodes = tuple(
        dict.fromkeys(n for each in choices.values() for n, v in each.items() if (n, v) not in same)
    )
    figures = {run.id: _Figures() for run in cells}
    async for lines in _numbered(runs, [run.id for run in cells]):
        first = lines.get(cells[0].id)
        for run, line in lines.items():
            figures[run].add(line, first)
    return Compared(
        name=name,
        nodes=nodes,
        cells=tuple(
            _result(run, found, choices[run.id], nodes, figures[run.id], run is cells[0])
            for run in cells
        ),
        lines=max(run.completed + run.failed for run in cells),
    )


async def rows(runs: Runs, comparison: Compared) -> AsyncIterator[Row]:
    """Its lines, by number, a page in memory at a time."""
    labels = {cell.run.id: cell.label for cell in comparison.cells}
    judged = {
        each.id: (cell.run.id, each.name.rpartition(":")[2])
        for cell in comparison.cells
        for each in cell.evaluations
    }
    baseline = comparison.cells[0].run.id
    async for lines in _numbered(runs, [*labels, *judged]):
        evaluations: dict[int, dict[str, Line]] = {run: {} for run in labels}
        for run, (cell, judge) in judged.items():
            if run in lines:
                evaluations[cell][judge] = lines[run]
        sides = {
            label: Side(
                line=lines[run],
                differs=None if run == baseline else _differs(lines[run], lines.get(baseline)),
                evaluations=evaluations[run],
            )
            for run, label in labels.items()
            if run in lines
        }
        if sides:
            number = next(iter(lines.values())).number
            yield Row(number=number, sides=sides)


async def _numbered(runs: Runs, ids: Sequence[int]) -> AsyncIterator[dict[int, Line]]:
    """By run the lines of each number, the numbers in their order."""
    last = -1
    while True:
        pages = {run: await runs.lines_after(run, last) for run in ids}
        if not any(pages.values()):
            return
        # Behind the last line of a whole page, that run may have more that is not read yet.
        until = min(
            (page[-1].number for page in pages.values() if len(page) == PAGE),
            default=max(page[-1].number for page in pages.values() if page),
        )
        found: dict[int, dict[int, Line]] = {}
        for run, page in pages.items():
            for line in page:
                if line.number <= until:
                    found.setdefault(line.number, {})[run] = line
        for number in sorted(found):
            yield found[number]
        last = until


class _Figures:
    """What is counted of a cell's lines. latencies_us: of the completed ones."""

    def __init__(self) -> None:
        self.latencies_us = array("q")
        self.shared = Spent()
        self.compared = self.differing = 0

    def add(self, line: Line, baseline: Line | None) -> None:
        if line.shared is not None:
            self.shared.add(msgspec.json.decode(line.shared, type=Spent))
        if line.status == "completed":
            self.latencies_us.append(line.latency_us)
        differs = _differs(line, baseline)
        if differs is not None:
            self.compared += 1
            self.differing += differs


def _result(
    run: Run,
    found: Sequence[Run],
    choices: Mapping[str, str],
    nodes: Sequence[str],
    figures: _Figures,
    is_baseline: bool,
) -> Result:
    latencies_us = figures.latencies_us
    return Result(
        label=_label(run),
        choices={node: choices[node] for node in nodes if node in choices},
        is_baseline=is_baseline,
        run=run,
        evaluations=tuple(each for each in found if each.definition.run == run.name),
        paid=_cost(run),
        shared=figures.shared,
        compared=figures.compared,
        differing=figures.differing,
        latency_s=statistics.median(latencies_us) / 1_000_000 if latencies_us else None,
    )


def _differs(line: Line, baseline: Line | None) -> bool | None:
    if baseline is None or line.status != "completed" or baseline.status != "completed":
        return None
    if line.outputs == baseline.outputs:
        return False
    return bool(
        msgspec.json.decode(line.outputs or "{}") != msgspec.json.decode(baseline.outputs or "{}")
    )


def _label(run: Run) -> str:
    return run.name.removeprefix(f"{run.definition.matrix}:")


def _cost(run: Run) -> Spent:
    return Spent(
        calls=run.calls,
        input_tokens=run.input_tokens,
        output_tokens=run.output_tokens,
        nanodollars=run.nanodollars,
    )


async def _no_comparison(runs: Runs, name: str) -> NotFoundError:
    names = {run.definition.matrix for run in await runs.all(limit=1000) if run.definition.matrix}
    return NotFoundError(
        f"There is no comparison '{name}'.",
        hint=did_you_mean(name, sorted(names))
        or "`farthing flow variants FLOW --data FILE` makes one.",
    )
