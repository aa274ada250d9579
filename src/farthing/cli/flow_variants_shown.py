"""Shows a comparison of variants: while it runs, its cells side by side, and each line in all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import msgspec

from farthing.base.clock import SystemClock
from farthing.cli.output import Column, note, print_json, print_table
from farthing.core.money import format_dollars
from farthing.flows.variants.comparing import Watch
from farthing.flows.variants.files import as_record, text_of, write
from farthing.flows.variants.results import Compared, Result, Row, Side, compared, rows

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from farthing.cli.flow_variants import Asked
    from farthing.flows.batch.batch import Progress
    from farthing.flows.batch.records import Line, Run
    from farthing.flows.batch.runs import Runs
    from farthing.flows.models import Spent
    from farthing.flows.variants.matrix import Cell, Matrix

#: Without a terminal a cell is told of no more often than this, seconds.
_TOLD_EVERY_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is to be shown. rows: its lines, where they were asked for. written: where they are.

    failures: by the name of its run, the first failed line of each.
    """

    comparison: Compared
    failures: Mapping[str, Line]
    rows: tuple[Row, ...] = ()
    written: str | None = None

    @classmethod
    async def of(cls, runs: Runs, name: str, asked: Asked) -> Answer:
        """Read it from the store, and write the file that was asked for. Raises NotFoundError."""
        found = await compared(runs, name)
        if asked.output is not None:
            await write(runs, found, asked.output)
        failures = {}
        for run in (each for cell in found.cells for each in (cell.run, *cell.evaluations)):
            for line in await runs.lines_after(run.id, status="failed", limit=1):
                failures[run.name] = line
        wants_rows = asked.details or asked.order.trial.inputs
        return cls(
            comparison=found,
            failures=failures,
            rows=tuple([row async for row in rows(runs, found)]) if wants_rows else (),
            written=str(asked.output) if asked.output is not None else None,
        )


# --- while it runs ---


@contextmanager
def watching(matrix: Matrix, lines: int, *, quiet: bool) -> Iterator[Watch]:
    """Bars on a terminal, sentences in a log, nothing where it is quiet or a single line."""
    if quiet or lines <= 1:
        yield Watch()
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield Barred(matrix, lines, bars)
    else:
        yield Logged(matrix)


class Logged(Watch):
    """A sentence when a cell begins and ends, and now and then between."""

    def __init__(self, matrix: Matrix) -> None:
        self._cells = {cell.label: at for at, cell in enumerate(matrix.cells, 1)}
        self._clock = SystemClock()
        self._told_s = self._clock.monotonic()
        self._now = ""

    def note(self, text: str) -> None:
        """See `Watch`."""
        note(text)

    def begin(self, cell: Cell, kept: Run | None) -> None:
        """See `Watch`."""
        self._now = f"[{self._cells[cell.label]}/{len(self._cells)}] {cell.label}"
        self._told_s = self._clock.monotonic()

    def progress(self, progress: Progress) -> None:
        """See `Watch`."""
        if self._clock.monotonic() - self._told_s >= _TOLD_EVERY_S:
            self._told_s = self._clock.monotonic()
            done = progress.kept + progress.completed + progress.failed
            note(f"{self._now}: {done:,} lines, {progress.lines_per_s:,.1f} lines/s")

    def end(self, cell: Cell, run: Run) -> None:
        """See `Watch`."""
        note(f"{self._now}: {run.status}, {_told(run)}")


class Barred(Watch):
    """A bar for each cell."""

    def __init__(self, matrix: Matrix, lines: int, bars: Bars) -> None:
        self._bars = bars
        self._tasks = {
            cell.label: bars.add_task(cell.label, total=lines, told="", start=False)
            for cell in matrix.cells
        }
        self._now = next(iter(self._tasks.values()))

    def note(self, text: str) -> None:
        """See `Watch`."""
        self._bars.console.print(text, markup=False)

    def begin(self, cell: Cell, kept: Run | None) -> None:
        """See `Watch`."""
        self._now = self._tasks[cell.label]
        self._bars.start_task(self._now)
        self._bars.update(self._now, completed=0 if kept is None else kept.completed)

    def progress(self, progress: Progress) -> None:
        """See `Watch`."""
        done = progress.kept + progress.completed + progress.failed
        failed = f"{progress.failed:,} failed · " if progress.failed else ""
        cost = format_dollars(progress.cost.nanodollars)
        self._bars.update(
            self._now, completed=done, told=f"{failed}{progress.lines_per_s:,.1f} lines/s · {cost}"
        )

    def evaluate(self, cell: Cell) -> None:
        """See `Watch`."""
        self._bars.update(self._now, told="is evaluated")

    def end(self, cell: Cell, run: Run) -> None:
        """See `Watch`."""
        done = run.completed + run.failed
        self._bars.update(self._now, completed=done, total=max(done, 1), told=_told(run))


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )


def _told(run: Run) -> str:
    failed = f", {run.failed:,} failed" if run.failed else ""
    return f"{run.completed + run.failed:,} lines{failed}, {format_dollars(run.nanodollars)}"


# --- what came of it ---


def show(answer: Answer, *, as_json: bool, is_one_line: bool) -> None:
    """The cells in a table, and each line's outputs in all of them where they were asked for."""
    found = answer.comparison
    if as_json:
        print_json(_figures(answer))
        return
    if is_one_line:
        _show_one_line(found, answer.rows[0])
        return
    metrics = list(dict.fromkeys(name for cell in found.cells for name in cell.metrics))
    heads: list[Column | str] = [*found.nodes, Column("lines", "right"), Column("failed", "right")]
    heads += [Column(name, "right") for name in ("differs", *metrics, "tokens", "cost", "p50 s")]
    print_table(heads, [_cell_row(found, cell, metrics) for cell in found.cells])
    if answer.rows:
        click.echo()
        _show_rows(found, answer.rows)
    _show_end(answer)


def _cell_row(found: Compared, cell: Result, metrics: list[str]) -> list[object]:
    spent, run = cell.spent, cell.run
    measured = cell.metrics
    return [
        *(cell.choices.get(node, "") for node in found.nodes),
        f"{run.completed + run.failed:,}",
        f"{run.failed:,}",
        _differing(cell),
        *(f"{measured[name]:.4g}" if name in measured else "" for name in metrics),
        f"{spent.input_tokens + spent.output_tokens:,}",
        format_dollars(spent.nanodollars),
        "" if cell.latency_s is None else f"{cell.latency_s:.3f}",
    ]


def _differing(cell: Result) -> str:
    if cell.is_baseline:
        return "baseline"
    return f"{100 * cell.differing / cell.compared:.0f} %" if cell.compared else ""


def _show_one_line(found: Compared, row: Row) -> None:
    table = []
    for cell in found.cells:
        spent, side = cell.spent, row.sides[cell.label]
        metrics = [f"{name}: {value:.4g} (metric)" for name, value in cell.metrics.items()]
        text = side.line.error_message or "; ".join([_outputs(side.outputs), *metrics])
        tokens = spent.input_tokens + spent.output_tokens
        seconds = "" if cell.latency_s is None else f"{cell.latency_s:.2f}"
        choices = [cell.choices.get(node, "") for node in found.nodes]
        table.append([*choices, text, f"{tokens:,}", format_dollars(spent.nanodollars), seconds])
    right = [Column(name, "right") for name in ("tokens", "cost", "s")]
    print_table([*found.nodes, "outputs", *right], table)


def _show_rows(found: Compared, lines: tuple[Row, ...]) -> None:
    judges = list(
        dict.fromkeys(
            judge for row in lines for side in row.sides.values() for judge in side.evaluations
        )
    )
    table = [
        [
            row.number,
            *(cell.choices.get(node, "") for node in found.nodes),
            "≠" if side.differs else "",
            side.line.error_message or _outputs(side.outputs),
            *(_judged(side, judge) for judge in judges),
        ]
        for row in lines
        for cell in found.cells
        if (side := row.sides.get(cell.label)) is not None
    ]
    print_table([Column("line", "right"), *found.nodes, "", "outputs", *judges], table)


def _judged(side: Side, judge: str) -> str:
    line = side.evaluations.get(judge)
    return "" if line is None else _outputs(msgspec.json.decode(line.outputs or "{}"))


def _outputs(values: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {text_of(value)}" for name, value in values.items())


def _show_end(answer: Answer) -> None:
    found = answer.comparison
    paid, shared = found.paid, found.shared
    if paid.calls:
        note(f"Paid: {_cost_told(paid)}.")
    if shared.calls:
        note(
            f"Tokens, cost and p50 are of each combination as if it ran alone; {_cost_told(shared)} were not "
            "paid again, because they share what they have in common."
        )
    for run in (each for cell in found.cells for each in (cell.run, *cell.evaluations)):
        line = answer.failures.get(run.name)
        if line is not None:
            more = f"; {run.failed - 1:,} more failed" if run.failed > 1 else ""
            note(f"{run.name}: line {line.number}: {line.error_message}{more}")
        if run.error_message:
            note(f"{run.name} ended with: {run.error_message}")
    if answer.written is not None:
        note(f"Its lines are in {answer.written}.")
    failed = sum(cell.run.failed for cell in found.cells)
    if failed or any(cell.run.status != "completed" for cell in found.cells):
        note(f"Run what is left or failed: say the same with --name {found.name}")
    else:
        note(f"Look at it again: farthing flow variants --name {found.name} --details")


def _cost_told(spent: Spent) -> str:
    calls = f"{spent.calls:,} model call{'s' if spent.calls != 1 else ''}"
    return f"{calls}, {format_dollars(spent.nanodollars)}"


def _figures(answer: Answer) -> dict[str, Any]:
    """For programs."""
    found = answer.comparison
    figures: dict[str, Any] = {
        "name": found.name,
        "nodes": list(found.nodes),
        "lines": found.lines,
        "paid": _money(found.paid),
        "shared": _money(found.shared),
        "cells": [_cell_figures(cell) for cell in found.cells],
    }
    if answer.rows:
        figures["rows"] = [as_record(row) for row in answer.rows]
    return figures


def _cell_figures(cell: Result) -> dict[str, Any]:
    run = cell.run
    return {
        "label": cell.label,
        "choices": cell.choices,
        "is_baseline": cell.is_baseline,
        "run": run.name,
        "status": run.status,
        "error": run.error_message,
        "completed": run.completed,
        "failed": run.failed,
        "compared": cell.compared,
        "differing": cell.differing,
        "metrics": cell.metrics,
        "evaluations": [each.name for each in cell.evaluations],
        **_money(cell.spent),
        "paid": _money(cell.paid),
        "latency_p50_s": cell.latency_s,
    }


def _money(spent: Spent) -> dict[str, Any]:
    return {
        "calls": spent.calls,
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "cost_dollars": format_dollars(spent.nanodollars)[1:].replace(",", ""),
    }
