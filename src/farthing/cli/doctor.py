"""`farthing doctor`: what is wrong here, and how to fix it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farthing.cli.output import print_json

if TYPE_CHECKING:
    from farthing.cli.checks import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file, instead of farthing.toml in this folder.",
)
@click.option(
    "--online", is_flag=True, help="Also ask each provider for its model list (free of charge)."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def doctor(config_file: Path | None, online: bool, as_json: bool) -> None:
    """Check this installation. Exit code 1 when something fails.

    Nothing is sent to a provider unless you say --online; keys are named, never shown.
    """
    from farthing.cli.checks import examine

    findings = asyncio.run(examine(config_file, os.environ, online=online))
    if as_json:
        print_json(findings)
    else:
        _show(findings)
    if any(finding.level == "fail" for finding in findings):
        sys.exit(1)


def _show(findings: list[Finding]) -> None:
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        level = click.style(f"{finding.level:<4}", fg=_COLOURS[finding.level])
        click.echo(f"{level}  {finding.subject:<{width}}  {finding.text}")
        if finding.advice:
            click.echo(f"{'':<{width + 6}}  → {finding.advice}")
    failures = sum(finding.level == "fail" for finding in findings)
    warnings = sum(finding.level == "warn" for finding in findings)
    if not failures and not warnings:
        click.echo("\nAll is well. Start with `farthing up`.")
    else:
        click.echo(f"\n{failures} to fix, {warnings} to look at.")
