"""`farthing models`: what can be called here, and what it costs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from farthing.cli.output import Column, json_option, note, print_json, print_table
from farthing.cli.prices import dollars_per_million

if TYPE_CHECKING:
    from farthing.core.models import Deployment
    from farthing.providers.directory import Directory


@click.command()
@click.argument("words", nargs=-1)
@click.option("--provider", help="Only this configured provider.")
@click.option("--no-detect", is_flag=True, help="Do not look for keys and local servers.")
@json_option
def models(words: Sequence[str], provider: str | None, no_detect: bool, as_json: bool) -> None:
    """List the models that can be called here; with WORDS, only those whose name contains all of them."""
    directory = _directory(detects=not no_detect)
    named = sorted(directory.deployments.values(), key=lambda each: each.name)
    listed = {each.name for each in named}
    rows = [*named, *(each for each in directory.catalogued() if each.name not in listed)]
    chosen = [
        each
        for each in rows
        if (provider is None or each.provider == provider)
        and all(word in each.name for word in words)
    ]
    if as_json:
        print_json([_as_json(each) for each in chosen])
        return
    for name, route in directory.routes.items():
        members = " | ".join(", ".join(d.name for d in group) for group in route.groups)
        click.echo(f"route {name}: {members}")
    print_table(
        [
            "name",
            "model",
            "provider",
            Column("context", "right"),
            Column("input", "right"),
            Column("output", "right"),
            "",
        ],
        [_row(each) for each in chosen],
        empty="No such model. `farthing models` without words lists all.",
    )
    note("Dollars per million tokens. A model's own name works too, wherever it is offered.")


def _directory(*, detects: bool) -> Directory:
    from farthing.base.clock import SystemClock
    from farthing.base.config.loader import load
    from farthing.providers.catalogue import Catalogue
    from farthing.providers.detect import detect
    from farthing.providers.directory import build_directory

    settings = load(None, os.environ).settings
    found = asyncio.run(detect(os.environ)) if detects and settings.server.detect else ()
    return build_directory(
        settings,
        catalogue=Catalogue.load(),
        clock=SystemClock(),
        environ=os.environ,
        detected=found,
    )


def _row(deployment: Deployment) -> list[object]:
    rates = deployment.price.standard if deployment.price else None
    return [
        deployment.name,
        deployment.model,
        deployment.provider,
        f"{deployment.context_tokens:,}" if deployment.context_tokens else "",
        dollars_per_million(rates.input) if rates else "not known",
        dollars_per_million(rates.output) if rates else "not known",
        "simulated" if deployment.is_simulated else "",
    ]


def _as_json(deployment: Deployment) -> dict[str, Any]:
    rates = deployment.price.standard if deployment.price else None
    return {
        "name": deployment.name,
        "model": deployment.model,
        "provider": deployment.provider,
        "kind": deployment.kind,
        "region": deployment.region,
        "context_tokens": deployment.context_tokens,
        "max_output_tokens": deployment.max_output_tokens,
        "input_picodollars_per_token": rates.input if rates else None,
        "output_picodollars_per_token": rates.output if rates else None,
        "is_simulated": deployment.is_simulated,
    }
