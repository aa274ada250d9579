"""What `farthing up` says when it answers: where, with what, and what to type next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from farthing.base.config.loader import Loaded
    from farthing.providers.detect import Detected
    from farthing.providers.directory import Directory


class Started:
    """What was started. workers: process ids, empty when this process serves."""

    def __init__(
        self,
        url: str,
        loaded: Loaded,
        directory: Directory,
        found: Sequence[Detected],
        *,
        needs_key: bool,
        workers: Sequence[int] = (),
    ) -> None:
        self.url = url
        self.loaded = loaded
        self.directory = directory
        self.found = found
        self.needs_key = needs_key
        self.workers = tuple(workers)

    @property
    def simulated(self) -> list[str]:
        """The deployments whose answers are not real."""
        return [d.name for d in self.directory.deployments.values() if d.is_simulated]


def say_json(started: Started) -> None:
    """One line of JSON."""
    import msgspec

    loaded = started.loaded
    document: dict[str, object] = {
        "url": started.url,
        "pid": os.getpid(),
        "data": _data(loaded),
        "settings": str(loaded.path) if loaded.path else None,
        "found": started.found,
        "simulated": started.simulated,
        "needs_key": started.needs_key,
        "warnings": loaded.warnings,
    }
    if started.workers:
        document["workers"] = started.workers
    click.echo(msgspec.json.encode(document))


def say(started: Started) -> None:
    """A few lines for a person."""
    from farthing import __version__
    from farthing.cli.example import example_model

    loaded, simulated = started.loaded, started.simulated
    settings = loaded.settings
    click.secho(f"farthing {__version__} listens on {started.url}", bold=True)
    rows = [
        ("settings", str(loaded.path) if loaded.path else "defaults (no farthing.toml here)"),
        ("data", _data(loaded)),
        ("privacy", _privacy(loaded)),
        ("callers", "need a key" if started.needs_key else "this machine only, without a key"),
    ]
    names = [_configured(name, table.type) for name, table in settings.providers.items()]
    names += [_detected(entry) for entry in started.found]
    rows.append(("providers", "; ".join(names) or "none found"))
    if started.workers:
        rows.append(("workers", f"{len(started.workers)} processes"))
    for label, text in rows:
        click.echo(f"  {label:<10} {text}")
    if simulated:
        click.secho(
            f"  simulated  {_listing(simulated)}: these answers and costs are not real",
            fg="yellow",
        )
    for warning in loaded.warnings:
        click.secho(f"  warning    {warning}", fg="yellow")
    click.echo("\nNext:")
    example = example_model(started.directory)
    for command in _commands(started.url, example, started.needs_key):
        click.echo(f"  {command}")


def _commands(url: str, model: str, needs_key: bool) -> tuple[str, str, str]:
    key = ' -H "authorization: Bearer $FARTHING_KEY"' if needs_key else ""
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    variables = (
        f"OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={'$FARTHING_KEY' if needs_key else 'none'}"
    )
    return (
        f"curl {url}/v1/chat/completions -H 'content-type: application/json'{key} -d '{body}'",
        f'{variables} python -c "from openai import OpenAI; '
        f"print(OpenAI().responses.create(model='{model}', input='Hello').output_text)\"",
        "farthing spend",
    )


def _data(loaded: Loaded) -> str:
    kind, _, rest = loaded.settings.storage.url.partition(":")
    if kind == "sqlite":
        return str(Path(rest).absolute())
    return "Postgres at " + rest.rpartition("@")[2].lstrip("/")


def _privacy(loaded: Loaded) -> str:
    endpoint = loaded.settings.telemetry.otlp_endpoint
    sent = "No telemetry is sent."
    if endpoint is not None:
        sent = f"Traces and metrics go to {endpoint} (telemetry.otlp_endpoint), without text."
    return f"No prompt text is stored. {sent}"


def _configured(name: str, kind: str) -> str:
    return f"{name} (settings)" if name == kind else f"{name} ({kind}, settings)"


def _detected(entry: Detected) -> str:
    if entry.variable is not None:
        return f"{entry.title} ({entry.variable})"
    count = len(entry.models or ())
    return f"{entry.title} ({entry.base_url}, {count} model{'' if count == 1 else 's'})"


def _listing(names: Sequence[str], limit: int = 6) -> str:
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
