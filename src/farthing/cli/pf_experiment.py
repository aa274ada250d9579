"""`farthing pf experiment`: experiments out of files, run in the foreground, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farthing.cli.pf_parts import NAME, PfGroup, common
from farthing.cli.spaced import many, pairs
from farthing.core.errors import FlowError

if TYPE_CHECKING:
    from farthing.flows.experiment.record import Record, Store

_PATH = click.Path(path_type=Path)
_TEMPLATE = click.option("--template", type=_PATH, help="The experiment's file.")
_INPUTS = many("--inputs", metavar="NAME=VALUE …", help="Values of inputs, files of data.")
_STATUS = {
    "not_started": "NotStarted",
    "running": "InProgress",
    "completed": "Completed",
    "failed": "Failed",
    "cancelled": "Terminated",
    "interrupted": "Terminated",
}


@click.group("experiment", cls=PfGroup)
def experiment() -> None:
    """Run experiments: flows and commands, each fed by data and by those before it."""


@experiment.command("create")
@click.option("--template", type=_PATH, required=True, help="The experiment's file.")
@click.option("-n", "--name", help="Default: the name in the file and the time.")
@common
def create(template: Path, name: str | None) -> None:
    """Create an experiment from a file; `start` runs it."""
    _print(_created(_store(), template, name))


@experiment.command("start")
@click.option("-n", "--name", help="An experiment that was created.")
@_TEMPLATE
@_INPUTS
@click.option("-s", "--stream", is_flag=True, help="Show progress.")
@common
def start(name: str | None, template: Path | None, inputs: Sequence[str], stream: bool) -> None:
    """Run an experiment and wait for its end. What was completed, and is as it was, is not run again."""
    import asyncio

    from farthing.cli.experiment_run import start as run

    if (name is None) == (template is None):
        raise FlowError("Name one experiment: --name, or --template with a file.")
    store = _store()
    if template is not None:
        name = _created(store, template, None).name
    told = pairs(inputs, "--inputs")
    _print(asyncio.run(run(store, name or "", told, quiet=not stream)))


@experiment.command("show")
@NAME
@common
def show(name: str) -> None:
    """Show an experiment, and which run or folder each node became."""
    _print(_store().read(name))


@experiment.command("list")
@click.option("-r", "--max-results", type=int, default=50)
@click.option("--all-results", is_flag=True)
@click.option("--archived-only", is_flag=True, help="None: experiments are not archived here.")
@click.option("--include-archived", is_flag=True, expose_value=False)
@common
def list_all(max_results: int, all_results: bool, archived_only: bool) -> None:
    """List experiments as JSON, the latest first."""
    from farthing.cli.output import print_json

    found = [] if archived_only else _store().all()
    print_json([_shown(each) for each in (found if all_results else found[:max_results])])


@experiment.command("stop")
@click.option("-n", "--name")
@click.option("-f", "--file", type=_PATH, help="The file of the experiment that was started last.")
@common
def stop(name: str | None, file: Path | None) -> None:
    """End an experiment that runs, as Ctrl-C does; `start` goes on with it."""
    import os
    import signal

    if (name is None) == (file is None):
        raise FlowError("Name one experiment: --name, or --file with its file.")
    store = _store()
    if file is not None:
        names = [each.name for each in store.all() if each.template == str(file.resolve())]
        if not names:
            raise FlowError(
                f"No experiment was made of {file}.", hint="See `farthing pf experiment list`."
            )
        name = names[0]
    record, owner = store.read(name or ""), store.owner(name or "")
    if owner is not None:
        os.kill(owner, signal.SIGINT)
    _print(record)


@experiment.command("test")
@_TEMPLATE
@_INPUTS
@common
def test(template: Path | None, inputs: Sequence[str]) -> None:
    """Say what to do in place of a test of one line."""
    raise FlowError(
        "An experiment is not run for one line alone.",
        hint="Start it with data of one line: farthing pf experiment start --template FILE --inputs data=one.jsonl",
    )


# --- inside ---


def _store() -> Store:
    from farthing.base.clock import SystemClock
    from farthing.flows.experiment.record import Store

    return Store(Path.cwd(), SystemClock())


def _created(store: Store, template: Path, name: str | None) -> Record:
    from farthing.base.clock import SystemClock
    from farthing.cli.output import note
    from farthing.flows.batch.batch import default_name
    from farthing.flows.experiment.file import load

    found = load(template)
    for each in found.notes:
        note(f"Note: {each}")
    return store.create(template, name or default_name(found.name, None, SystemClock()))


def _print(record: Record) -> None:
    from farthing.cli.output import print_json

    print_json(_shown(record))


def _shown(record: Record) -> dict[str, Any]:
    """An experiment in the original's form."""
    runs = {
        name: [{"name": each.run or name, "status": _STATUS[each.status], "outputs": each.outputs}]
        for name, each in record.nodes.items()
    }
    return {
        "name": record.name,
        "path": record.template,
        "status": _STATUS[record.status],
        "inputs": record.given,
        "node_runs": runs,
        "created_on": record.created_on,
        "last_start_time": record.last_start_time,
        "last_end_time": record.last_end_time,
    }
