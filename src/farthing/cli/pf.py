"""`farthing pf`: prompt flow's commands (1.18.5) with its flags and exit codes, as scripts type them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from farthing.base import runtime
from farthing.cli.pf_connection import connection
from farthing.cli.pf_experiment import experiment
from farthing.cli.pf_others import config, service, tool, trace
from farthing.cli.pf_parts import COMPATIBLE, NAME, SET, YES, PfGroup, common
from farthing.cli.spaced import many, pairs

F = TypeVar("F", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)
#: How many rows lists and details show; the original's.
MAX_LISTED, MAX_DETAILS = 50, 100


def _version_asked(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        _say_version()
        ctx.exit()


@click.group(cls=PfGroup)
@click.option(
    "-v",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version_asked,
    help="Show the version and exit.",
)
def pf() -> None:
    """Prompt flow's commands, with its flags and exit codes. `farthing flow` says more with less typing."""


@pf.command("version")
def version() -> None:
    """Show the versions as JSON."""
    _say_version()


def _say_version() -> None:
    from farthing import __version__
    from farthing.cli.output import print_json

    print_json({"promptflow": COMPATIBLE, "farthing": __version__})


@pf.command("upgrade")
@click.option("-y", "--yes", is_flag=True)
def upgrade(yes: bool) -> None:
    """Say how to upgrade."""
    click.echo("Nothing upgrades itself here. Run: pip install --upgrade farthing")


# --- options that several commands have ---


_ENVIRONMENT = many("--environment-variables", metavar="KEY=VALUE …")
_INIT = many("--init", metavar="KEY=VALUE … | FILE")
_CONFIG = many("--config", "settings", hidden=True, expose_value=False)
_DOTENV = click.option("--env", is_flag=False, flag_value=".env", metavar="[FILE]")


# --- flow ---


@pf.group("flow")
def flow() -> None:
    """Manage flows."""


@flow.command("init")
@click.option("--flow", "path", type=_PATH, required=True, help="The folder to make.")
@click.option(
    "--type", "kind", type=click.Choice(["standard", "evaluation", "chat"]), default="standard"
)
@click.option("--entry", help="Make the flow around this Python file.")
@click.option("--function", help="The function in it.")
@many("--prompt-template", metavar="NAME=FILE …")
@click.option("--connection", hidden=True)
@click.option("--deployment", hidden=True)
@YES
@common
def init(path: Path, **told: Any) -> None:
    """Make a flow's folder."""
    from farthing.cli.pf_flow import init_flow

    told["prompt_template"] = pairs(told["prompt_template"], "--prompt-template")
    init_flow(path, **told)


@flow.command("save")
@click.option("--entry", required=True, help="module:function or module:Class.")
@click.option("--code", type=_PATH, help="The folder with the code. Default: this one.")
@click.option("--path", type=_PATH, help="Where the flow is to be. Default: beside the code.")
@common
def save(entry: str, code: Path | None, path: Path | None) -> None:
    """Save a function or a class as a flex flow."""
    from farthing.cli.pf_flow import save_flow

    save_flow(entry, code or Path(), path)


@flow.command("test")
@click.option(
    "--flow", "path", required=True, help="The flow's folder or file, or module:function."
)
@click.option("--node", help="Test this node alone.")
@click.option("--variant", help="${node.variant}")
@click.option("--interactive", is_flag=True, help="Chat in the terminal.")
@click.option("--input", "input_file", hidden=True)
@many("--inputs", metavar="KEY=VALUE … | FILE")
@_ENVIRONMENT
@click.option("--multi-modal", is_flag=True, hidden=True)
@click.option("--ui", is_flag=True, help="Chat in a page.")
@_CONFIG
@click.option("--detail", type=_PATH, hidden=True, help="Write the result here as well.")
@click.option("--collection", hidden=True, expose_value=False)
@click.option("--skip-open-browser", is_flag=True, hidden=True, expose_value=False)
@_INIT
@many("--url-params", hidden=True, expose_value=False)
@_DOTENV
@common
def test(path: str, interactive: bool, multi_modal: bool, ui: bool, **told: Any) -> None:
    """Test a flow or one of its nodes; the outputs come as JSON."""
    from farthing.cli.pf_flow import test_flow

    # A terminal can show what the page of the original shows, and needs no browser.
    how = "page" if ui else "terminal" if interactive or multi_modal else "once"
    test_flow(path, how, **told)


@flow.command("serve")
@click.option("--source", type=_PATH, required=True)
@click.option("--port", type=int, default=8080, show_default=True)
@click.option("--host", default="localhost", show_default=True)
@click.option("--static_folder", hidden=True, expose_value=False)
@_ENVIRONMENT
@_CONFIG
@click.option("--skip-open-browser", is_flag=True, expose_value=False)
@click.option("--engine", type=click.Choice(["flask", "fastapi"]), expose_value=False, hidden=True)
@_INIT
@_DOTENV
@common
def serve(source: Path, port: int, host: str, **told: Any) -> None:
    """Serve a flow: POST /score, /health, /swagger.json and a chat page."""
    from farthing.cli.flow import trial_of
    from farthing.cli.flow_serve import serve_trial

    runtime.run(serve_trial(trial_of(source, **told), host=host, port=port))


def _build_options(command: F) -> F:
    for option in (
        click.option("--variant", "-v"),
        click.option("--flow-only", is_flag=True, hidden=True),
        click.option("--format", "-f", "form", type=click.Choice(["docker", "executable"])),
        click.option("--output", "-o", type=_PATH, required=True),
        click.option("--source", type=_PATH, required=True),
    ):
        command = option(command)
    return command


@flow.command("build")
@_build_options
@common
def build(**told: Any) -> None:
    """Write a folder that a container is built from."""
    from farthing.cli.pf_build import build_flow

    build_flow(**told)


@flow.command("validate")
@click.option("--source", type=_PATH, required=True)
@common
def validate(source: Path) -> None:
    """Validate a flow; exit code 1 if it is not valid."""
    from farthing.cli.pf_flow import validate_flow

    sys.exit(0 if validate_flow(source) else 1)


@flow.command(
    "export", hidden=True, cls=click.Command, context_settings={"ignore_unknown_options": True}
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def export(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Say what took its place."""
    # Documents of the original still name it, and no release of the last years has it.
    ctx.fail("`flow export` is `flow build` now: --source PATH --output FOLDER --format docker.")


# --- run ---


@pf.group("run")
def run() -> None:
    """Manage runs."""


@run.command("create")
@click.option("-f", "--file", type=_PATH, help="run.yml with what the run is.")
@click.option("-s", "--stream", is_flag=True, help="Show progress.")
@click.option("--flow", help="The flow's folder or file, or module:function.")
@click.option("--variant", help="${node.variant}")
@click.option("--run", "source_run", help="An earlier run that rows come from.")
@click.option("-n", "--name")
@many("--column-mapping", metavar="INPUT='${data.column}' …")
@_ENVIRONMENT
@many("--connections", metavar="NODE.FIELD=VALUE …")
@SET
@click.option("--resume-from", help="Go on with this run.")
@_INIT
@click.option("--data", type=_PATH)
@click.option("--source", type=_PATH, help="A run's folder, to take it in.")
@_DOTENV
@common
def create(**told: Any) -> None:
    """Create a run and wait for its end."""
    from farthing.cli.pf_run import create_run

    create_run(**told)


@run.command("update")
@NAME
@SET
@common
def update(name: str, changes: Sequence[str]) -> None:
    """Change a run's display name, description or tags."""
    from farthing.cli.pf_run import update_run

    update_run(name, pairs(changes, "--set"))


@run.command("stream")
@NAME
@common
def stream(name: str) -> None:
    """Show how a run is doing until it ends."""
    from farthing.cli.pf_run import stream_run

    stream_run(name)


@run.command("list")
@click.option("-r", "--max-results", type=int, default=MAX_LISTED, show_default=True)
@click.option("--all-results", is_flag=True)
@click.option("--archived-only", is_flag=True)
@click.option("--include-archived", is_flag=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="json")
@common
def list_runs(**told: Any) -> None:
    """List runs, the newest first."""
    from farthing.cli.pf_run import list_runs as list_them

    list_them(**told)


@run.command("show")
@NAME
@common
def show(name: str) -> None:
    """Show a run as JSON."""
    from farthing.cli.pf_run import show_run

    show_run(name)


@run.command("show-details")
@click.option("-r", "--max-results", type=int, default=MAX_DETAILS, show_default=True)
@NAME
@click.option("--all-results", is_flag=True)
@common
def show_details(name: str, max_results: int, all_results: bool) -> None:
    """Show a run's inputs and outputs."""
    from farthing.cli.pf_run import show_details as show_them

    show_them(name, None if all_results else max_results)


@run.command("show-metrics")
@NAME
@common
def show_metrics(name: str) -> None:
    """Show a run's metrics as JSON."""
    from farthing.cli.pf_run import show_metrics as show_them

    show_them(name)


@run.command("visualize")
@click.option("-n", "--names", required=True, help="Runs, comma separated.")
@click.option("--html-path", type=_PATH, hidden=True)
@common
def visualize(names: str, html_path: Path | None) -> None:
    """Write a page that shows runs side by side."""
    from farthing.cli.pf_page import visualize_runs

    visualize_runs([each.strip() for each in names.split(",") if each.strip()], html_path)


@run.command("archive")
@NAME
@common
def archive(name: str) -> None:
    """Hide a run from the list."""
    from farthing.cli.pf_run import archive_run

    archive_run(name, is_archived=True)


@run.command("restore")
@NAME
@common
def restore(name: str) -> None:
    """Show an archived run again."""
    from farthing.cli.pf_run import archive_run

    archive_run(name, is_archived=False)


@run.command("delete")
@NAME
@YES
@common
def delete(name: str, yes: bool) -> None:
    """Delete a run and its lines."""
    from farthing.cli.pf_run import delete_run

    if not yes and not click.confirm("Delete the run and its lines for good?"):
        click.echo("Nothing was deleted.")
        return
    delete_run(name)


@run.command("build")
@_build_options
@common
def build_run(**told: Any) -> None:
    """Write a folder that a container is built from, of the flow of a run."""
    from farthing.cli.pf_build import build_flow

    build_flow(**told)


for _group in (connection, tool, config, service, trace, experiment):
    pf.add_command(_group)
