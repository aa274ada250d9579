"""What `farthing pf run` does; runs are shown in the original's form."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from farthing.base import runtime
from farthing.cli.flow_run import Done, Order, duration_s, nested, open_runs, run_order
from farthing.cli.output import note, print_table
from farthing.cli.spaced import pairs
from farthing.core.errors import FlowError

if TYPE_CHECKING:
    from farthing.flows.batch.records import Definition, Line, Run

_STATUS = {
    "running": "Running",
    "completed": "Completed",
    "cancelled": "Canceled",
    "failed": "Failed",
    "interrupted": "Failed",
}
#: More runs than anybody has.
_ALL = 1_000_000
#: How often `stream` looks, seconds.
_LOOK_S = 0.5


def create_run(
    *, file: Path | None, flow: str | None, source: Path | None, stream: bool, **told: Any
) -> None:
    """Create a run, wait for its end and show it. Raises FlowError and what running raises."""
    from farthing.cli.pf_flow import flow_at

    given = [bool(each) for each in (told["resume_from"], file, flow, source)]
    if sum(given) > 1:
        raise FlowError(
            "A run is made of one of --file, --flow, --source and --resume-from.",
            hint="Leave the others out.",
        )
    if source is not None:
        raise FlowError(
            "Folders of runs that prompt flow has written are not taken in.",
            hint="Run the flow again: its inputs are in inputs.jsonl of that folder (--data).",
        )
    if not any(given):
        raise FlowError("A run needs --file, --flow or --resume-from.", hint="See --help.")
    with flow_at(flow or "") as path:
        order = _order(path if flow else None, file, **told)
        done = runtime.run(run_order(order, quiet=not stream))
    _print(shown(done.run))
    if done.run.failed:
        first = done.failures[0]
        note(
            f"{done.run.failed:,} lines failed; the first, line {first.number}: {first.error_message}"
        )


def _order(
    path: Path | None,
    file: Path | None,
    *,
    data: Path | None,
    source_run: str | None,
    name: str | None,
    column_mapping: Sequence[str],
    connections: Sequence[str],
    changes: Sequence[str],
    resume_from: str | None,
    **told: Any,
) -> Order:
    """Options before what the file says, `--set` before both."""
    from farthing.cli.flow import trial_of
    from farthing.flows.batch.records import Definition

    trial = trial_of(path or Path(), **told)
    definition = Definition(flow=str((path or Path()).resolve()))
    environment: dict[str, str] = {}
    init: dict[str, Any] = {}
    if file is not None:
        definition, environment, init, name = _read(file, name)
    told_changes = pairs(changes, "--set")
    tags = {k.partition(".")[2]: v for k, v in told_changes.items() if k.startswith("tags.")}
    environment = {**environment, **trial.environment}
    init = {**init, **trial.init}
    given: dict[str, Any] = {
        "data": str(_beside(data, file)) if data is not None else None,
        "run": source_run,
        "column_mapping": dict(pairs(column_mapping, "--column-mapping")),
        "variant": trial.variant,
        "connections": nested(pairs(connections, "--connections")),
        "display_name": told_changes.get("display_name"),
        "description": told_changes.get("description"),
        "tags": tags,
        "resume_from": resume_from,
        "environment": tuple(environment),
        "init": tuple(init),
    }
    definition = msgspec.structs.replace(
        definition, **{key: value for key, value in given.items() if value}
    )
    has_lines = definition.data or definition.run or definition.resume_from
    if not has_lines:
        raise FlowError(
            "The run has no lines.", hint="Give --data FILE, or --run with an earlier run's name."
        )
    isolate = definition.isolate or _isolation_asked(definition, environment)
    definition = msgspec.structs.replace(definition, isolate=isolate)
    trial = dataclasses.replace(trial, environment=environment, init=init)
    return Order(trial=trial, definition=definition, name=name or told_changes.get("name"))


def _isolation_asked(definition: Definition, environment: Mapping[str, str]) -> str | None:
    """What the variables of the original ask for: of the run before the flow's before this process's."""
    from farthing.flows.isolation.settings import asked_of_prompt_flow
    from farthing.flows.jobs import declared_environment

    # A run that is gone on with is asked of its flow when it is begun.
    declared = {} if definition.resume_from else declared_environment(Path(definition.flow))
    return asked_of_prompt_flow({**os.environ, **declared, **environment})


def _read(file: Path, name: str | None) -> tuple[Any, dict[str, str], dict[str, Any], str | None]:
    from farthing.flows.batch import runfile

    found = runfile.load(file)
    for each in found.notes:
        note(f"Note: {each}")
    environment, init = dict(found.environment_variables), dict(found.init)
    return found.definition(), environment, init, name or found.name


def _beside(data: Path, file: Path | None) -> Path:
    """A path as the original means it: from the run's file when there is one."""
    if file is not None and not data.is_absolute() and (file.parent / data).exists():
        return (file.parent / data).resolve()
    return data.resolve()


# --- what there is ---


def shown(run: Run) -> dict[str, Any]:
    """A run in the original's form."""
    seconds = duration_s(run)
    definition = run.definition
    found: dict[str, Any] = {
        "name": run.name,
        "created_on": _moment(run.created_at_ms),
        "status": _STATUS[run.status],
        "display_name": definition.display_name or run.name,
        "description": definition.description or None,
        "tags": definition.tags or None,
        "properties": {
            "flow_path": definition.flow,
            "system_metrics": {
                "total_tokens": run.input_tokens + run.output_tokens,
                "prompt_tokens": run.input_tokens,
                "completion_tokens": run.output_tokens,
                "duration": seconds,
            },
            **definition.properties,
        },
        "flow_name": Path(definition.flow).name,
        "data": definition.data,
        "run": definition.run,
        "lines": {"completed": run.completed, "failed": run.failed},
    }
    if run.error_message:
        found["error"] = {"code": run.error_code, "message": run.error_message}
    return {key: value for key, value in found.items() if value is not None}


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def _print(value: object) -> None:
    click.echo(json.dumps(value, indent=4, ensure_ascii=False))


async def _find(name: str) -> Run:
    async with open_runs() as runs:
        return await runs.find(name)


async def _lines(name: str, limit: int | None) -> list[Line]:
    async with open_runs() as runs:
        run = await runs.find(name)
        lines: list[Line] = []
        while page := await runs.lines_after(run.id, lines[-1].number if lines else -1):
            lines += page
            if limit is not None and len(lines) >= limit:
                break
        return lines[:limit]


def list_runs(
    *,
    max_results: int,
    all_results: bool,
    archived_only: bool,
    include_archived: bool,
    output: str,
) -> None:
    """The runs, the newest first, as JSON or a table."""

    archived = None if include_archived else archived_only
    limit = _ALL if all_results else max_results

    async def read() -> list[Run]:
        async with open_runs() as runs:
            return await runs.all(limit=limit, archived=archived)

    found = [shown(run) for run in asyncio.run(read())]
    if output == "json":
        _print(found)
        return
    heads = ["name", "created_on", "status", "display_name"]
    print_table(heads, [[row[each] for each in heads] for row in found], empty="No runs.")


def show_run(name: str) -> None:
    """A run as JSON. Raises NotFoundError."""
    _print(shown(asyncio.run(_find(name))))


def show_details(name: str, limit: int | None) -> None:
    """The inputs and outputs of a run's lines as a table; of a failed line, what it failed with."""
    rows = [details_of(line) for line in asyncio.run(_lines(name, limit))]
    heads = list(dict.fromkeys(key for row in rows for key in row))
    print_table(heads, [[row.get(key, "") for key in heads] for row in rows], empty="No lines.")


def details_of(line: Line) -> dict[str, str]:
    """A line by column: `inputs.a`, `outputs.b`, and `error` where it failed."""
    row = {"line": str(line.number)}
    for part, text in (("inputs", line.inputs), ("outputs", line.outputs)):
        for key, value in json.loads(text or "{}").items():
            row[f"{part}.{key}"] = (
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            )
    if line.error_message:
        row["error"] = line.error_message
    return row


def show_metrics(name: str) -> None:
    """A run's metrics as JSON. Raises NotFoundError."""
    _print(asyncio.run(_find(name)).metrics)


def stream_run(name: str) -> None:
    """Say how a run is doing until it is over; then show it. Raises NotFoundError."""

    async def watch() -> Run:
        from farthing.base.clock import SystemClock

        clock = SystemClock()
        async with open_runs() as runs:
            seen = -1
            while (run := await runs.find(name)).status == "running":
                done = run.completed + run.failed
                if done != seen:
                    seen = done
                    note(f"{done:,} lines, {run.failed:,} failed")
                await clock.sleep(_LOOK_S)
            return run

    _print(shown(asyncio.run(watch())))


# --- what changes ---


def update_run(name: str, changes: dict[str, str]) -> None:
    """Change what a run is called and tagged. Raises NotFoundError, FlowError."""
    known = ("display_name", "description")
    for key in changes:
        if key not in known and not key.startswith("tags."):
            raise FlowError(
                f"'{key}' of a run cannot be changed.",
                hint="Change display_name, description or tags.NAME.",
            )
    tags = {k.partition(".")[2]: v for k, v in changes.items() if k.startswith("tags.")}

    async def work() -> Run:
        async with open_runs() as runs:
            old = (await runs.find(name)).definition.tags
            return await runs.describe(
                name,
                display_name=changes.get("display_name"),
                description=changes.get("description"),
                tags={**old, **tags} if tags else None,
            )

    _print(shown(asyncio.run(work())))


def archive_run(name: str, *, is_archived: bool) -> None:
    """Hide a run from the list, or show it again. Raises NotFoundError."""

    async def work() -> Run:
        async with open_runs() as runs:
            return await runs.archive(name, is_archived=is_archived)

    _print(shown(asyncio.run(work())))


def delete_run(name: str) -> None:
    """Forget a run and its lines. Raises NotFoundError, ConflictError while it runs."""

    async def work() -> None:
        async with open_runs() as runs:
            await runs.delete(name)

    asyncio.run(work())


def runs_by_name(names: Sequence[str]) -> list[tuple[Done, list[Line]]]:
    """Several runs with all their lines. Raises NotFoundError."""
    return [(Done(run=asyncio.run(_find(n))), asyncio.run(_lines(n, None))) for n in names]
