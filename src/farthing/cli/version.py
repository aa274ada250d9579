"""`farthing version`: what is installed, and where its files are."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import click

from farthing import __version__
from farthing.cli.output import Column, json_option, print_json, print_table


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Show the version and where things are."""
    from farthing.base.config.loader import examination, find_file
    from farthing.core.errors import ConfigError

    try:
        settings_file = find_file(None, os.environ)
    except ConfigError:
        settings_file = None
    loaded = examination(None, os.environ).loaded
    url = loaded.settings.storage.url if loaded else "unknown: the settings have mistakes"
    facts = {
        "farthing": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "package": str(Path(__file__).parents[1]),
        "settings": str(settings_file.absolute()) if settings_file else None,
        "storage": _without_password(url),
    }
    if as_json:
        print_json(facts)
        return
    rows = [(name, value or "none; defaults are used") for name, value in facts.items()]
    print_table([Column("what"), Column("where")], rows)


def _without_password(url: str) -> str:
    head, at, rest = url.rpartition("@")
    if not at:
        return url
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.partition(':')[0]}@{rest}"
