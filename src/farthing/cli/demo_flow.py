"""The demo's chapter on flows: a project in prompt flow's format runs as it is, over its data, with its cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farthing.cli.flow_run import Shown, summary

if TYPE_CHECKING:
    from farthing.flows.batch.records import Run
    from farthing.gateway.client import Gateway

#: The project, and the names that its files have for the two models; the demo's settings say who serves them.
TEMPLATE = "triage"
CHEAP, RICH = "gpt-4o-mini", "gpt-4o"


async def flow_chapter(gateway: Gateway, folder: Path, storage_url: str) -> None:
    """Write the project below `folder`, run all its lines, and show what came of it."""
    from farthing.cli.flow_templates import write_template

    files = write_template(folder / TEMPLATE, TEMPLATE, cheap=CHEAP, rich=RICH)
    names = ", ".join(file.name for file in files if file.suffix in (".yaml", ".py", ".jinja2"))
    click.secho("\nA project in prompt flow's format, run as it is", bold=True)
    click.echo(f"  {names}")
    run = await _run(gateway, folder / TEMPLATE, storage_url)
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)  # the progress line has had its day
    click.echo(f"  {run.completed} of {run.completed + run.failed} lines {run.status}")
    click.echo(f"  {summary(run)}, SIMULATED")
    if run.completed == 0 or run.failed:
        raise SystemExit(1)


async def _run(gateway: Gateway, project: Path, storage_url: str) -> Run:
    from farthing.base.clock import SystemClock
    from farthing.base.config.settings import Storage
    from farthing.base.storage import connect
    from farthing.cli.answer import COMMAND_LINE
    from farthing.flows.batch.batch import Batch
    from farthing.flows.batch.records import Definition
    from farthing.flows.batch.runs import Runs
    from farthing.flows.connections.connections import Connections
    from farthing.flows.models import GatewayModels
    from farthing.flows.open import open_flow

    clock = SystemClock()
    flow = open_flow(
        project,
        models=GatewayModels(gateway, COMMAND_LINE, tags=("flow",)),
        connections=Connections(project, environ={}),
        clock=clock,
    )
    try:
        async with Runs(connect(Storage(url=storage_url)), clock) as runs:
            batch = Batch(flow, runs, clock, on_progress=Shown())
            definition = Definition(flow=str(project), data=str(project / "data.jsonl"))
            return await batch.start("demo", definition)
    finally:
        await flow.aclose()
