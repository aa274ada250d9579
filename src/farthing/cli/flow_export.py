"""Writes a flow as a Python module, and says how to try it."""

from __future__ import annotations

from pathlib import Path

import click

from farthing.cli.output import note, print_json


def export_flow(
    path: Path, *, to: str, output: Path | None, variant: str | None, force: bool, as_json: bool
) -> None:
    """Write it and print the file's name. Raises FlowFormatError, FlowInputError."""
    from farthing.flows.export.export import export

    assert to == "python"  # the command has no other
    file = export(path, output, variant=variant, replaces=force)
    if as_json:
        print_json({"file": str(file)})
        return
    click.echo(str(file))
    note(f"Try it: farthing flow test {file}")
