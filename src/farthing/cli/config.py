"""`farthing config`: check, show, begin and import settings."""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farthing.cli.output import Column, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from farthing.base.config.loader import Loaded
    from farthing.core.errors import ConfigError


@click.group()
def config() -> None:
    """Check, show and import settings."""


@config.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@json_option
def check(path: Path | None, as_json: bool) -> None:
    """List every mistake in the settings as path:line:column: message; exit 1 if there is one."""
    from farthing.base.config.loader import examination

    examined = examination(path, os.environ)
    loaded, found = examined.loaded, list(examined.mistakes)
    if loaded is not None:
        found += _provider_mistakes(loaded)
        loaded = None if found else loaded
    if as_json:
        mistakes = [
            {
                "path": error.path,
                "line": error.line,
                "column": error.column,
                "message": error.message,
                "hint": error.hint,
            }
            for error in found
        ]
        warnings = loaded.warnings if loaded else ()
        print_json({"ok": loaded is not None, "mistakes": mistakes, "warnings": warnings})
    elif loaded is None:
        for error in found:
            click.echo(str(error))
        count = len(found)
        note(f"{count} mistake{'s' if count > 1 else ''}.")
    else:
        for warning in loaded.warnings:
            click.echo(f"warning: {warning}")
        where = str(loaded.path) if loaded.path else "No farthing.toml here; the defaults"
        click.echo(f"{where}: no mistakes.")
    if loaded is None:
        sys.exit(1)


def _provider_mistakes(loaded: Loaded) -> list[ConfigError]:
    """What the providers dislike in settings that are valid by themselves: types, files, addresses."""
    from farthing.base.clock import SystemClock
    from farthing.core.errors import ConfigError
    from farthing.providers.catalogue import Catalogue
    from farthing.providers.directory import build_directory

    settings = loaded.settings
    try:
        directory = build_directory(
            settings, catalogue=Catalogue.load(), clock=SystemClock(), environ=os.environ
        )
        directory.providers.make(settings.providers)
    except ConfigError as error:
        error.path = error.path or (str(loaded.path) if loaded.path else None)
        return [error]
    return []


@config.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--changed", is_flag=True, help="Only settings that differ from their defaults.")
@json_option
def show(path: Path | None, changed: bool, as_json: bool) -> None:
    """Print the settings in effect, secrets masked, and where each one was set."""
    from farthing.base.config import load
    from farthing.base.config.view import rows

    loaded = load(path, os.environ)
    shown = [row for row in rows(loaded) if row.origin != "default" or not changed]
    if as_json:
        print_json({"path": str(loaded.path) if loaded.path else None, "settings": shown})
        return
    columns = [Column("setting"), Column("value"), Column("set by")]
    print_table(columns, [(row.name, row.text, row.origin) for row in shown])
    for warning in loaded.warnings:
        note(f"warning: {warning}")


@config.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("farthing.toml"))
@json_option
def init(path: Path, as_json: bool) -> None:
    """Write a commented farthing.toml to start from; an existing file is never overwritten."""
    _write_new(path, files("farthing.templates").joinpath("farthing.toml").read_text("utf-8"))
    if as_json:
        print_json({"written": str(path)})
        return
    click.echo(f"Wrote {path}. Edit it, then run `farthing config check {path}`.")


@config.command(name="import")
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("farthing.toml"),
    show_default=True,
    help="File to write; `-` prints it. An existing file is never overwritten.",
)
@json_option
def import_(source: Path, output: Path, as_json: bool) -> None:
    """Turn a LiteLLM proxy config (YAML) into farthing.toml, reporting by line what stays behind."""
    from farthing.cli.litellm_import import convert

    conversion = convert(source.read_text(encoding="utf-8"), path=str(source))
    is_stdout = str(output) == "-"
    if not is_stdout:
        _write_new(output, conversion.toml)
    if as_json:
        written = None if is_stdout else str(output)
        print_json({"written": written, "toml": conversion.toml, "notes": conversion.notes})
        return
    if is_stdout:
        click.echo(conversion.toml, nl=False)
    for entry in conversion.notes:
        note(f"{source}:{entry.line}: {entry.message}")
    if not is_stdout:
        note(f"Wrote {output}. Next: `farthing config check {output}`, then `farthing up`.")


def _write_new(path: Path, text: str) -> None:
    from farthing.core.errors import ConfigError

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        hint = "Name another file, or move it away first."
        raise ConfigError(f"{path} exists and was left as it is.", hint=hint) from None
    except OSError as error:
        hint = "Name a file in a folder that exists and that you may write to."
        raise ConfigError(f"{path} cannot be written: {error.strerror}.", hint=hint) from error
