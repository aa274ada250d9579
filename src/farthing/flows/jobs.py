"""What the commands do with a flow: open it, try one line, one node, a conversation."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from farthing.base.clock import Clock
from farthing.core.errors import FlowFormatError, FlowInputError
from farthing.flows.engine.engine import LINE_TIMEOUT_S
from farthing.flows.engine.plan import LineResult
from farthing.flows.graph import Flow

if TYPE_CHECKING:
    from farthing.flows.connections.connections import Connections
    from farthing.flows.isolation.settings import Isolation
    from farthing.flows.models import Models
    from farthing.flows.prompts.fetch import ImageFetcher
    from farthing.flows.runnable import Runnable


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """How a flow is talked to: the input that is said, the one that holds what was said, the answer."""

    question: str
    history: str | None
    answer: str


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A line that was tried. behind: what ran behind it, with its metrics; empty when it failed."""

    line: LineResult
    behind: LineResult


# --- opening ---


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The flow's folder is the working directory for the block, as it is for prompt flow's.

    Functions of flows open their files by paths from there. For programs that run one flow: the directory
    is the whole process's.
    """
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def project_connections() -> Connections:
    """The connections of the project in this folder, its `.env` not included."""
    from farthing.flows.connections.connections import Connections

    return Connections(Path.cwd(), environ=os.environ)


@asynccontextmanager
async def opened(
    path: Path,
    *,
    models: Models,
    connections: Connections,
    clock: Clock,
    variant: str | None = None,
    init: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Mapping[str, str]] | None = None,
    is_streaming: bool = False,
    line_timeout_s: float | None = None,
    isolation: Isolation | None = None,
    images: ImageFetcher | None = None,
) -> AsyncIterator[Runnable]:
    """The flow at `path`, open for the block. `environment` counts before the variables of its file.

    overrides: by node, its connection and fields. is_streaming: generators stay generators. isolation: run
    lines in processes of their own; then nothing streams. images: see `open_flow`. Raises FlowFormatError and
    what the flow's own files raise.
    """
    from farthing.flows.dag.altered import overridden
    from farthing.flows.open import open_flow, varied

    limit_s = LINE_TIMEOUT_S if line_timeout_s is None else line_timeout_s
    source = path if not overrides else overridden(varied(graph_at(path), variant), overrides)
    given: dict[str, Any] = {
        "models": models,
        "connections": connections,
        "variant": variant if not overrides else None,
        "init": init,
        "environment": environment,
        "line_timeout_s": limit_s,
        "images": images,
    }
    flow: Runnable
    if isolation is None:
        flow = open_flow(source, clock=clock, is_streaming=is_streaming, **given)
    else:
        from farthing.flows.isolation.flow import opened_apart

        flow = await opened_apart(source, isolation, **given)
    try:
        yield flow
    finally:
        await flow.aclose()


def graph_at(path: Path) -> Flow:
    """The graph of nodes at a path. Raises FlowInputError for a flow of another kind, FlowFormatError."""
    from farthing.flows.dag import format as dag
    from farthing.flows.open import find_flow

    kind, file = find_flow(path)
    if kind != "dag":
        raise FlowInputError(
            f"{path} is no graph of nodes, as a flow.dag.yaml is: there are none to show, try or change.",
            hint="`farthing flow list` shows the flows below a folder, each with its kind.",
        )
    return dag.load(file)


def declared_environment(path: Path) -> dict[str, str]:
    """The environment variables in the flow's own file. Raises FlowFormatError."""
    from farthing.flows import yaml
    from farthing.flows.open import find_flow

    kind, file = find_flow(path)
    found = None if kind == "prompty" else yaml.read(file).get("environment_variables")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, Mapping) else {}


def read_dotenv(file: Path) -> dict[str, str]:
    """The variables of a `.env` file. Raises FlowInputError."""
    from farthing.flows.batch.runfile import dotenv

    try:
        return dotenv(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise FlowInputError(
            f"The file {file} with environment variables cannot be read.",
            hint="Write NAME=value lines into it, or name another with --env FILE.",
            param="env",
        ) from error


# --- inputs ---


def read_inputs(words: Sequence[str]) -> dict[str, Any]:
    """`key=value` words, or one file: `.json` as it is, of `.jsonl` the first line. Raises FlowInputError."""
    if len(words) == 1 and "=" not in words[0]:
        return _first_row(Path(words[0]))
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise FlowInputError(
                f"'{word[:60]}' is no input.",
                hint="Write name=value, with quotes around values that have blanks, or one file.",
                param="inputs",
            )
        found[key] = value
    return found


def _first_row(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        hint = "Give a .json or .jsonl file, or inputs as name=value."
        raise FlowInputError(
            f"The inputs' file {file} cannot be read.", hint=hint, param="inputs"
        ) from error
    if file.suffix == ".jsonl":
        text = next((line for line in text.splitlines() if line.strip()), "")
    try:
        row = json.loads(text)
    except ValueError as error:
        raise FlowInputError(
            f"{file} is not JSON: {error}.", hint="Check its first line.", param="inputs"
        ) from None
    if not isinstance(row, dict):
        raise FlowInputError(
            f"{file} holds a {type(row).__name__} where inputs by name are expected.",
            hint='Write {"name": value, …}.',
            param="inputs",
        )
    return row


# --- one line, one node ---


async def try_line(flow: Runnable, inputs: Mapping[str, Any]) -> Tried:
    """Run one line, and behind it the nodes that run behind all lines. What fails is in the result.

    What a flex flow's class has for that runs in batches only, as in prompt flow: its metrics are of many lines.
    """
    line = await flow.run(inputs)
    nothing = LineResult(inputs={})
    if line.error is not None or not flow.flow.nodes:
        return Tried(line=line, behind=nothing)
    return Tried(line=line, behind=await flow.aggregate([line]))


# --- conversations ---


def chat_of(flow: Flow) -> Chat:
    """How the flow is talked to. Raises FlowFormatError for one that is no chat."""
    history = flow.chat_history
    asked = [each.name for each in flow.inputs if each.is_chat_input]
    others = [each.name for each in flow.inputs if each.name != history]
    if not asked and len(others) == 1:
        asked = others
    told = [each.name for each in flow.outputs if each.is_chat_output]
    if not told and len(flow.outputs) < 2:
        told = [each.name for each in flow.outputs] or [
            "output"
        ]  # flex and prompty may declare none
    if len(asked) == 1 and len(told) == 1:
        return Chat(question=asked[0], history=history, answer=told[0])
    what = "input with is_chat_input: true" if len(asked) != 1 else "output with is_chat_output"
    raise FlowFormatError(
        f"The flow '{flow.name}' is no chat: it needs exactly one {what}.",
        hint="Mark it in the flow's file, or test it with --inputs.",
    )


def turn(inputs: Mapping[str, Any], outputs: Mapping[str, Any], chat: Chat) -> dict[str, Any]:
    """One turn of a conversation as the history has it."""
    kept = {name: value for name, value in inputs.items() if name != chat.history}
    return {"inputs": kept, "outputs": dict(outputs)}
