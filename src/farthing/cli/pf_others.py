"""`farthing pf tool|config|service|trace`: the smaller groups, and what to do in place of some."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from farthing.cli.pf_parts import SET, PfGroup, common
from farthing.cli.spaced import pairs
from farthing.core.errors import FlowError

_PATH = click.Path(path_type=Path)
#: Settings of the original, and what there is here in their place.
_SETTINGS = {
    "connection.provider": "Connections are always those of this folder's project.",
    "trace.destination": "Set telemetry.otlp_endpoint in farthing.toml to send traces elsewhere.",
    "run.output_path": "Write a run's folder with `farthing flow run … --export FOLDER`.",
    "telemetry.enabled": "Nothing is reported to anybody.",
}
_LOCAL = {
    "connection.provider": "local",
    "trace.destination": "local",
    "telemetry.enabled": "false",
}


# --- tool ---


@click.group("tool", cls=PfGroup)
def tool() -> None:
    """Make, list and check tools."""


@tool.command("init")
@click.option("--package", help="Make a package of this name around it.")
@click.option("--tool", "name", required=True, help="The tool's name.")
@SET
@common
def init_tool(package: str | None, name: str, changes: Sequence[str]) -> None:
    """Write a tool to begin with."""
    from farthing.cli.pf_tool import write_tool

    told = pairs(changes, "--set")
    made = write_tool(Path(), package, name, told)
    click.echo(f"Made the tool '{name}': {', '.join(str(each) for each in made)}")


@tool.command("list")
@click.option("--flow", "folder", type=_PATH, help="The tools in this flow's files too.")
@common
def list_tools(folder: Path | None) -> None:
    """List the tools of installed packages as JSON."""
    from farthing.cli.output import print_json
    from farthing.cli.pf_tool import code_tools, package_tools

    listed: dict[str, object] = {"package": package_tools()}
    if folder is not None:
        listed["code"] = code_tools(folder)
    print_json(listed)


@tool.command("validate")
@click.option(
    "--source", required=True, help="A Python file, a package, or package.module.function."
)
@common
def validate_tool(source: str) -> None:
    """Check that tools can be used; exit code 1 if not."""
    from farthing.cli.pf_tool import faults_of

    faults = faults_of(source)
    for fault in faults:
        click.echo(fault, err=True)
    if not faults:
        click.echo(f"{source} is valid.")
    sys.exit(1 if faults else 0)


# --- config ---


@click.group("config", cls=PfGroup)
def config() -> None:
    """Say what prompt flow's settings are here; those of this program stand in farthing.toml."""


@config.command("set")
@click.argument("changes", nargs=-1, required=True)
@click.option("--path", type=_PATH, expose_value=False)
@common
def set_config(changes: tuple[str, ...]) -> None:
    """Say what to do in place of a setting of the original."""
    for key, value in pairs(changes, "config set").items():
        if key in _LOCAL and value.startswith("azureml"):
            raise FlowError(
                f"{key} cannot be {value}: nothing of a run leaves this machine for a workspace.",
                hint=f"Leave it as it is ({_LOCAL[key]}); create connections with `farthing pf connection create`.",
            )
        told = _SETTINGS.get(key, "There is no such setting here; see `farthing config show`.")
        click.echo(f"{key}: {told}")


@config.command("show")
@common
def show_config() -> None:
    """Show the settings of the original as they are here."""
    from farthing.cli.output import print_json

    nested: dict[str, dict[str, str]] = {}
    for key, value in _LOCAL.items():
        part, _, name = key.partition(".")
        nested.setdefault(part, {})[name] = value
    print_json(nested)


# --- service, trace ---


@click.group("service", cls=PfGroup)
def service() -> None:
    """Say what there is in place of the background service."""


@service.command("start")
@click.option("-p", "--port", type=int, expose_value=False)
@click.option("--force", is_flag=True, expose_value=False)
@common
def start_service() -> None:
    """Nothing is to be started."""
    click.echo(
        "No service is needed: commands work by themselves. `farthing up` serves flows and models."
    )


@service.command("stop")
@common
def stop_service() -> None:
    """Nothing is to be stopped."""
    click.echo("No service runs in the background, so there is nothing to stop.")


@service.command("status")
@common
def service_status() -> None:
    """Say that no service runs; exit code 1, as the original ends when it has none."""
    click.echo("No service runs, and none is needed. `farthing doctor` says how things are.")
    sys.exit(1)


@click.group("trace", cls=PfGroup)
def trace() -> None:
    """Say what becomes of traces."""


@trace.command("delete")
@click.option("--run", expose_value=False)
@click.option("--collection", expose_value=False)
@click.option("--started-before", expose_value=False)
@click.option("-y", "--yes", is_flag=True, expose_value=False)
@common
def delete_traces() -> None:
    """Nothing is kept that could be deleted."""
    click.echo(
        "Traces are sent on, not kept. `farthing pf run delete -n NAME` forgets a run's lines."
    )
