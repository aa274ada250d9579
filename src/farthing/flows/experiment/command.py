"""Commands of experiments: a program that gets paths and values, and writes files for the nodes behind it."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from farthing.core.errors import FlowError, did_you_mean
from farthing.flows.experiment.file import Node
from farthing.flows.graph import wrong

#: How long a command that was cancelled may go on, seconds.
CANCEL_S = 5.0
_PLACE = re.compile(r"\$\{(inputs|outputs)\.([^{}]+)\}")
#: What only a shell understands: redirections, pipes, lists of commands, patterns, variables.
_SHELL = re.compile(r"[|&;<>()`$*?~\n]")


class CommandFailedError(FlowError):
    """A command of an experiment did not end well. exit_code: its own; negative: the signal that ended it."""

    code = "command_failed"

    def __init__(self, message: str, *, hint: str | None, node: str, exit_code: int) -> None:
        super().__init__(message, hint=hint, node=node)
        self.exit_code = exit_code


def words_of(node: Node, inputs: Mapping[str, object], outputs: Mapping[str, Path]) -> list[str]:
    """The program and its arguments. A value is one word or a part of one, whatever is in it.

    Where the command needs a shell (a pipe, a redirection) one is started, and values are quoted for it.
    Raises FlowFormatError.
    """
    values = {"inputs": inputs, "outputs": outputs}

    def value(found: re.Match[str]) -> str:
        known = values[found[1]]
        if found[2] not in known:
            hint = did_you_mean(found[2], known) or f"It has: {', '.join(known) or 'none'}."
            raise wrong(
                f"The command of the node '{node.name}' names {found[0]}, which it does not have.",
                hint=hint,
                node=node.name,
                field="command",
                span=node.span,
            )
        return str(known[found[2]])

    if _SHELL.search(_PLACE.sub("", node.command)):
        # The options' names are in the file; only what is put in could be more than one word.
        return ["/bin/sh", "-c", _PLACE.sub(lambda each: shlex.quote(value(each)), node.command)]
    try:
        words = shlex.split(node.command)
    except ValueError as error:
        raise wrong(
            f"The command of the node '{node.name}' cannot be split into words: {error}.",
            hint="Close its quotes.",
            node=node.name,
            field="command",
            span=node.span,
        ) from None
    return [_PLACE.sub(value, word) for word in words]


async def run(node: Node, words: list[str], log: Path, environment: Mapping[str, str]) -> None:
    """Run it in its folder until it ends; what it prints goes to `log`. Cancelling ends it, and its children.

    `python` is the one that runs this. Raises CommandFailedError.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with log.open("wb") as file:
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=node.path,
                env={**os.environ, "PATH": path, **environment},
                start_new_session=True,
            )
        except OSError as error:
            raise CommandFailedError(
                f"The command of the node '{node.name}' cannot be started: {error.strerror}.",
                hint=f"Look whether '{words[0]}' is installed.",
                node=node.name,
                exit_code=127,
            ) from error
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await asyncio.shield(_end(process))
            raise
    if code != 0:
        raise CommandFailedError(
            f"The command of the node '{node.name}' ended with the exit code {code}.",
            hint=f"What it printed is in {log}.",
            node=node.name,
            exit_code=code,
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a command and what it has started: asked first, then made to."""
    for each in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, each)
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                await process.wait()
                return
