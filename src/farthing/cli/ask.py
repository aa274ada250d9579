"""`farthing ask`: one question, the answer on standard output, its cost on standard error."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farthing.cli.output import note, print_json

if TYPE_CHECKING:
    from farthing.cli.answer import Answer


@click.command()
@click.argument("words", required=False)
@click.option("-m", "--model", envvar="FARTHING_MODEL", help="Model, route or deployment to ask.")
@click.option("-s", "--system", help="Instructions that come before the question.")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file to send along: text, a picture or a PDF. Repeatable.",
)
@click.option(
    "--schema",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON schema that the answer must follow.",
)
@click.option("--stream/--no-stream", default=None, help="Show the answer as it is written.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer with its figures as JSON.")
@click.option("--url", help="Ask the gateway at this address instead.")
@click.option("--key", envvar="FARTHING_KEY", help="Key for that gateway.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file, instead of farthing.toml in this folder.",
)
def ask(
    words: str | None,
    model: str | None,
    system: str | None,
    files: tuple[Path, ...],
    schema: Path | None,
    stream: bool | None,
    as_json: bool,
    url: str | None,
    key: str | None,
    config_file: Path | None,
) -> None:
    """Ask a model one question. Text that is piped in comes before the question.

    It runs by itself, with the keys of this environment; when a gateway is running on this folder's
    database, the question goes through that one.
    """
    from farthing.cli.question import question_body

    piped = "" if sys.stdin.isatty() else sys.stdin.read().strip()
    text = "\n\n".join(part for part in (piped, (words or "").strip()) if part)
    if not text and not files:
        raise click.UsageError('There is no question. Try: farthing ask "What is a farthing?"')
    is_streamed = not as_json if stream is None else stream and not as_json

    def body_for(name: str) -> bytes:
        return question_body(
            name, text, system=system, files=files, schema=schema, stream=is_streamed
        )

    asyncio.run(_ask(body_for, model, url=url, key=key, config_file=config_file, as_json=as_json))


async def _ask(
    body_for: Callable[[str], bytes],
    model: str | None,
    *,
    url: str | None,
    key: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    from farthing.base.config.loader import load
    from farthing.cli.answer import ask_here, ask_there
    from farthing.core.errors import StorageLockedError

    if url is not None:
        await _show(ask_there(url, key, body_for, model), as_json=as_json)
        return
    settings = load(config_file, os.environ).settings
    os.umask(0o077)  # a database that is made now is for this user only
    try:
        await _show(ask_here(settings, os.environ, body_for, model), as_json=as_json)
    except StorageLockedError as error:
        from farthing.cli.running import running_gateway

        url = running_gateway(settings)
        if url is None:
            raise error
        await _show(ask_there(url, key, body_for, model), as_json=as_json)


async def _show(opened: AbstractAsyncContextManager[Answer], *, as_json: bool) -> None:
    pieces: list[str] = []
    async with opened as answer:
        async for piece in answer:
            pieces.append(piece)
            if not as_json:
                click.echo(piece, nl=False)
                sys.stdout.flush()
    if as_json:
        print_json({"answer": "".join(pieces), **answer.figures()})
        return
    click.echo()
    note(answer.summary())
