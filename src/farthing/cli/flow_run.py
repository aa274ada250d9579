"""Runs a flow over data from the command line, shows its progress, and finds runs again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from farthing.cli.output import Column, note, print_json, print_table
from farthing.cli.spaced import pairs

if TYPE_CHECKING:
    from farthing.cli.flow_test import Trial
    from farthing.flows.batch.batch import Progress
    from farthing.flows.batch.records import Definition, Line, Run
    from farthing.flows.batch.runs import Runs

#: Failed lines that are listed one by one.
_SHOWN_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class Order:
    """A run that was asked for. trial: how the flow is opened. in_place: go on with the run `resume_from`.

    Of a resumed run, what is not said here is as it was.
    """

    trial: Trial
    definition: Definition
    name: str | None = None
    in_place: bool = False


@dataclass(frozen=True, kw_only=True)
class Done:
    """A run as it stands. failures: its first failed lines."""

    run: Run
    failures: Sequence[Line] = ()

    @property
    def status(self) -> str:
        """The run's."""
        return self.run.status


def order_of(
    path: Path,
    *,
    data: Path | None,
    source_run: str | None,
    column_mapping: Sequence[str],
    connections: Sequence[str],
    name: str | None,
    resume_from: str | None,
    isolate: str | None,
    **told: Any,
) -> Order:
    """The options of `farthing flow run` as an order. Raises click.UsageError, FlowInputError."""
    from farthing.cli.flow import trial_of
    from farthing.core.errors import FlowInputError
    from farthing.flows.batch.records import Definition
    from farthing.flows.isolation.settings import isolation_of

    try:
        isolation_of(isolate)
    except FlowInputError as error:
        raise click.UsageError(f"--isolate: {error} A path stands before it.") from None
    if data is None and source_run is None and resume_from is None:
        raise click.UsageError("A run needs lines: --data FILE, --run NAME or --resume-from NAME.")
    trial = trial_of(path, **told)
    definition = Definition(
        flow=str(path.resolve()),
        data=str(data.resolve()) if data is not None else None,
        run=source_run,
        column_mapping=dict(pairs(column_mapping, "--column-mapping")),
        variant=trial.variant,
        connections=nested(pairs(connections, "--connections")),
        environment=tuple(trial.environment),
        init=tuple(trial.init),
        resume_from=resume_from,
        isolate=isolate,
    )
    in_place = resume_from is not None and name is None
    return Order(trial=trial, definition=definition, name=name, in_place=in_place)


def nested(values: dict[str, str]) -> dict[str, dict[str, str]]:
    """`node.field: value` as {node: {field: value}}. Raises click.UsageError."""
    found: dict[str, dict[str, str]] = {}
    for key, value in values.items():
        node, dot, field = key.partition(".")
        if not dot or not field:
            raise click.UsageError(f"--connections takes node.field=value, and '{key}' has no dot.")
        found.setdefault(node, {})[field] = value
    return found


async def run_order(order: Order, *, export: Path | None = None, quiet: bool = False) -> Done:
    """Run it to its end. Raises what `Batch.start` and `Batch.resume` raise."""
    from farthing.base.clock import SystemClock
    from farthing.cli.flow_models import flow_models, image_fetcher
    from farthing.core.private import Private
    from farthing.flows.batch.batch import IN_FLIGHT, Batch, default_name
    from farthing.flows.isolation.settings import isolation_of
    from farthing.flows.jobs import inside, opened, project_connections

    trial, clock = order.trial, SystemClock()
    key = Private(trial.key) if trial.key else None
    async with (
        flow_models(trial.config, url=trial.url, key=key) as models,
        open_runs(trial.config) as runs,
    ):
        definition = await _whole(order, runs)
        path, isolation = Path(definition.flow), isolation_of(definition.isolate)
        async with opened(
            path,
            models=models,
            connections=project_connections(),
            clock=clock,
            variant=definition.variant,
            init=trial.init,
            environment=trial.environment,
            overrides=definition.connections,
            line_timeout_s=number_of("PF_LINE_TIMEOUT_SEC"),
            isolation=isolation,
            images=image_fetcher(trial.config),
        ) as flow:
            batch = Batch(
                flow,
                runs,
                clock,
                in_flight=IN_FLIGHT if isolation is None else isolation.processes,
                timeout_s=number_of("PF_BATCH_TIMEOUT_SEC"),
                on_progress=None if quiet else Shown(),
            )
            name = order.name or default_name(flow.flow.name, definition.variant, clock)
            if order.in_place:
                name = definition.resume_from or name
            try:
                with inside(flow.flow.folder):
                    if order.in_place:
                        run = await batch.resume(name)
                    else:
                        run = await batch.start(name, definition)
            except asyncio.CancelledError:
                note(
                    f"\nThe run '{name}' was stopped. Go on: farthing flow run --resume-from {name}"
                )
                raise
        if export is not None:
            from farthing.flows.batch import runfolder

            await runfolder.export(runs, run.name, export)
        return await _done(run, runs)


async def _whole(order: Order, runs: Runs) -> Definition:
    """The definition with what a run that is gone on with had. Raises NotFoundError."""
    definition = order.definition
    if definition.resume_from is None:
        return definition
    earlier = (await runs.find(definition.resume_from)).definition
    if order.in_place:
        isolate = definition.isolate or earlier.isolate
        return msgspec.structs.replace(earlier, resume_from=definition.resume_from, isolate=isolate)
    fields = {
        each: getattr(definition, each) or getattr(earlier, each)
        for each in definition.__struct_fields__
        if each not in ("resume_from", "data_digest", "files", "flow")
    }
    return msgspec.structs.replace(definition, flow=earlier.flow, **fields)


async def _done(run: Run, runs: Runs) -> Done:
    failures: Sequence[Line] = ()
    if run.failed:
        failures = await runs.lines_after(run.id, status="failed", limit=_SHOWN_FAILURES)
    return Done(run=run, failures=failures)


def number_of(variable: str) -> float | None:
    """The number in an environment variable; None where there is none."""
    try:
        return float(os.environ[variable])
    except (KeyError, ValueError):
        return None


class Shown:
    """One line on standard error that is written over; nothing where that is no terminal."""

    def __call__(self, progress: Progress) -> None:
        from farthing.core.money import format_dollars

        if not sys.stderr.isatty():
            return
        done = progress.kept + progress.completed + progress.failed
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        cost = f" · {format_dollars(progress.cost.nanodollars)}" if progress.cost.calls else ""
        click.echo(
            f"\r{done:,} lines{failed} · {progress.lines_per_s:,.1f} lines/s{cost}   ",
            nl=False,
            err=True,
        )


@asynccontextmanager
async def open_runs(config: Path | None = None) -> AsyncIterator[Runs]:
    """The store of runs of the settings' database, for the block. Raises ConfigError, StorageError."""
    from farthing.base.clock import SystemClock
    from farthing.base.config.loader import load
    from farthing.base.storage import connect
    from farthing.flows.batch.runs import Runs

    settings = load(config, os.environ).settings
    os.umask(0o077)  # a database that is made now is for this user only
    async with Runs(connect(settings.storage), SystemClock()) as runs:
        yield runs


# --- showing ---


async def find_run(name: str) -> Done:
    """A run by its name. Raises NotFoundError."""
    async with open_runs() as runs:
        return await _done(await runs.find(name), runs)


def show_run(done: Done, *, as_json: bool) -> None:
    """How a run ended, its metrics, and which lines failed with what."""
    if as_json:
        print_json(as_builtins(done))
        return
    run = done.run
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)  # the progress line has had its day
    lines = run.completed + run.failed
    failed = f", {run.failed:,} failed" if run.failed else ""
    click.echo(f"{click.style(run.name, bold=True)}: {run.status}, {lines:,} lines{failed}")
    for name, value in run.metrics.items():
        click.echo(f"{name}: {value}")
    for line in done.failures:
        where = f" in '{line.error_node}'" if line.error_node else ""
        click.echo(f"line {line.number}{where}: {line.error_message}")
    if run.failed > len(done.failures):
        click.echo(f"… and {run.failed - len(done.failures):,} more failed lines")
    if run.error_message:
        click.echo(f"The run ended with: {run.error_message}")
    if run.status in ("cancelled", "failed", "interrupted") or run.failed:
        note(f"Run what is left or failed: farthing flow run --resume-from {run.name}")
    note(summary(run))


def summary(run: Run) -> str:
    """Calls, tokens, cost and time of a run, in one line."""
    from farthing.core.money import format_dollars

    parts = []
    if run.calls:
        parts.append(f"{run.calls:,} model call{'s' if run.calls != 1 else ''}")
        parts.append(f"{run.input_tokens:,} in, {run.output_tokens:,} out tokens")
        parts.append(format_dollars(run.nanodollars))
    seconds = duration_s(run)
    if seconds is not None:
        parts.append(f"{seconds:.2f} s")
    return " · ".join(parts)


def duration_s(run: Run) -> float | None:
    """How long its last session took, seconds; None while it runs."""
    if run.started_at_ms is None or run.ended_at_ms is None:
        return None
    return (run.ended_at_ms - run.started_at_ms) / 1000


def as_builtins(done: Done) -> dict[str, Any]:
    """A run for programs."""
    found: dict[str, Any] = msgspec.to_builtins(done.run)
    found["definition"] = msgspec.to_builtins(done.run.definition)
    found["failures"] = [
        {"line": f.number, "node": f.error_node, "code": f.error_code, "message": f.error_message}
        for f in done.failures
    ]
    return found


def list_runs(*, as_json: bool) -> None:
    """The runs of this project, the newest first."""
    from farthing.core.money import format_dollars

    async def read() -> list[Run]:
        async with open_runs() as runs:
            return await runs.all()

    found = asyncio.run(read())
    if as_json:
        print_json([as_builtins(Done(run=run)) for run in found])
        return
    print_table(
        [
            "run",
            "status",
            Column("lines", "right"),
            Column("failed", "right"),
            Column("cost", "right"),
            "metrics",
        ],
        [
            [
                run.name,
                run.status,
                f"{run.completed + run.failed:,}",
                f"{run.failed:,}",
                format_dollars(run.nanodollars),
                ", ".join(f"{name} {value:g}" for name, value in run.metrics.items()),
            ]
            for run in found
        ],
        empty="There are no runs yet. `farthing flow run PATH --data FILE` makes one.",
    )
