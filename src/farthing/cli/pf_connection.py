"""`farthing pf connection`: the connections of the project in this folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from farthing.cli.pf_parts import NAME, SET, YES, PfGroup, common
from farthing.cli.spaced import pairs


@click.group("connection", cls=PfGroup)
def connection() -> None:
    """Manage connections. Secrets stay in .farthing/ of this folder, for its owner only."""


@connection.command("create")
@SET
@click.option("-f", "--file", type=click.Path(path_type=Path), required=True)
@click.option("-n", "--name")
@common
def create(file: Path, name: str | None, changes: Sequence[str]) -> None:
    """Create a connection from a YAML file; a .env file makes a custom one."""
    from farthing.flows.connections.connections import CustomConnection
    from farthing.flows.jobs import project_connections, read_dotenv

    connections = project_connections()
    values = pairs(changes, "--set")
    name = name or values.pop("name", None)
    if file.suffix in (".yml", ".yaml"):
        made = connections.create(file, name=name, values=values, ask=_asker())
        _show(str(made.name))
        return
    if not name:
        raise click.UsageError(f"{file} names no connection; give it a name with --name.")
    # The original keeps all that a .env holds as secrets.
    connections.add(CustomConnection(secrets=read_dotenv(file), configs={}), name=name)
    _show(name)


@connection.command("update")
@SET
@NAME
@common
def update(name: str, changes: Sequence[str]) -> None:
    """Change fields of a connection."""
    from tempfile import TemporaryDirectory

    from ruamel.yaml import YAML

    from farthing.flows.jobs import project_connections

    connections = project_connections()
    with TemporaryDirectory() as folder:
        # Secrets stand there as stars, and what is kept of them stays.
        file = Path(folder) / "connection.yaml"
        with file.open("w", encoding="utf-8") as written:
            YAML(typ="rt").dump(connections.show(name), written)
        connections.create(file, name=name, values=pairs(changes, "--set"))
    _show(name)


@connection.command("show")
@NAME
@common
def show(name: str) -> None:
    """Show a connection as JSON, its secrets as stars."""
    _show(name)


@connection.command("list")
@click.option("-r", "--max-results", type=int, default=50)
@click.option("--all-results", is_flag=True)
@common
def list_(max_results: int, all_results: bool) -> None:
    """List connections as JSON, their secrets as stars."""
    from farthing.cli.output import print_json
    from farthing.flows.jobs import project_connections

    connections = project_connections()
    names = connections.names()
    shown = names if all_results else names[:max_results]
    print_json([connections.show(name) for name in shown])


@connection.command("delete")
@NAME
@YES
@common
def delete(name: str, yes: bool) -> None:
    """Delete a connection."""
    from farthing.flows.jobs import project_connections

    if not yes and not click.confirm("Delete the connection?"):
        click.echo("Nothing was deleted.")
        return
    project_connections().delete(name)


def _show(name: str) -> None:
    from farthing.cli.output import print_json
    from farthing.flows.jobs import project_connections

    print_json(project_connections().show(name))


def _asker() -> Any:
    """Asks for a secret, where there is somebody to ask."""
    if not sys.stdin.isatty():
        return None
    return lambda field: click.prompt(field, hide_input=True)
