"""What the commands do with a flow: open it, try one line, one node, a conversation."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from farthing.base.clock import Clock
from farthing.core.errors import FarthingError, FlowFormatError, FlowInputError
from farthing.flows.engine.engine import LINE_TIMEOUT_S
from farthing.flows.engine.plan import LineResult
from farthing.flows.graph import Flow, Variants

if TYPE_CHECKING:
    from farthing.flows.connections.connections import Connections
    from farthing.flows.models import Models
    from farthing.flows.runnable import Runnable

#: `${node.variant}`; the bare `node.variant` is understood as well.
_VARIANT = re.compile(r"\$\{(?P<node>[^.{}]+)\.(?P<variant>[^{}]+)\}|(?P<n>[^.{}]+)\.(?P<v>[^{}]+)")
_CONNECTION_KEY = re.compile(r"\$\{(?P<connection>[^.{}]+)\.(?P<key>[^{}]+)\}")


class Choice(msgspec.Struct, frozen=True):
    """The variant of one node."""

    node: str
    variant: str


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


def project_connections() -> Connections:
    """The connections of the project in this folder, its `.env` not included."""
    from farthing.flows.connections.connections import Connections

    return Connections(Path.cwd(), environ=os.environ)


def chosen_variant(text: str | None) -> Choice | None:
    """What `${node.variant}` names. Raises FlowInputError."""
    if not text:
        return None
    found = _VARIANT.fullmatch(text.strip())
    if found is None:
        raise FlowInputError(
            f"'{text[:80]}' names no variant.",
            hint="Write '${node.variant}', in single quotes so that the shell leaves it alone.",
            param="variant",
        )
    return Choice(found["node"] or found["n"], found["variant"] or found["v"])


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
) -> AsyncIterator[Runnable]:
    """The flow at `path`, open for the block. `environment` counts before the variables of its file.

    overrides: by node, its connection and fields. is_streaming: generators stay generators. Raises
    FlowFormatError and what the flow's own files raise.
    """
    from farthing.flows.open import open_flow

    choice = chosen_variant(variant)
    variant = f"${{{choice.node}.{choice.variant}}}" if choice is not None else None
    set_environment({**declared_environment(path), **(environment or {})}, connections)
    limit_s = LINE_TIMEOUT_S if line_timeout_s is None else line_timeout_s
    flow: Runnable
    if overrides:
        from farthing.flows.dag.altered import overridden
        from farthing.flows.dag.flow import DagFlow

        changed = overridden(_dag_with(path, variant), overrides)
        flow = DagFlow(
            changed, models=models, connections=connections, clock=clock, line_timeout_s=limit_s
        )
    else:
        flow = open_flow(
            path,
            models=models,
            connections=connections,
            clock=clock,
            variant=variant,
            init=init,
            is_streaming=is_streaming,
            line_timeout_s=limit_s,
        )
    # Opening has set what the file says once more.
    set_environment(environment or {}, connections)
    try:
        yield flow
    finally:
        await flow.aclose()


def _dag_with(path: Path, variant: str | None) -> Flow:
    from farthing.flows.dag import format as dag

    file = path / dag.FILE if path.is_dir() else path
    if file.suffix not in (".yaml", ".yml") or "flex" in file.name or not file.is_file():
        raise FlowInputError(
            f"{path} has no nodes whose connections could be replaced.",
            hint="Leave --connections out; it is for flows with a flow.dag.yaml.",
            param="connections",
        )
    flow, choice = dag.load(file), chosen_variant(variant)
    return flow if choice is None else flow.with_variant(choice.node, choice.variant)


def declared_environment(path: Path) -> dict[str, str]:
    """The `environment_variables` of the flow file at `path`; of a prompty, of which there are none, {}."""
    from farthing.flows import yaml

    file = path
    if path.is_dir():
        files = [path / "flow.dag.yaml", path / "flow.flex.yaml"]
        file = next((each for each in files if each.is_file()), path)
    if file.suffix not in (".yaml", ".yml") or not file.is_file():
        return {}
    table = yaml.plain(yaml.read(file)).get("environment_variables")
    if not isinstance(table, dict):
        return {}
    return {str(name): "" if value is None else _as_text(value) for name, value in table.items()}


def set_environment(variables: Mapping[str, str], connections: Connections) -> None:
    """Set them in this process; `${connection.key}` becomes the connection's value. Raises FlowInputError."""
    for name, value in variables.items():
        found = _CONNECTION_KEY.fullmatch(value)
        os.environ[name] = (
            _connection_value(found["connection"], found["key"], connections) if found else value
        )


def read_dotenv(file: Path) -> dict[str, str]:
    """The variables of a `.env` file: `NAME=value` lines, `#` comments, quotes. Raises FlowInputError."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FlowInputError(
            f"The file {file} with environment variables cannot be read.",
            hint="Write NAME=value lines into it, or name another with --env FILE.",
            param="env",
        ) from error
    found = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = value.strip().strip("'\"")
    return found


def _connection_value(connection: str, key: str, connections: Connections) -> str:
    found = connections.get(connection)
    value = getattr(found, key, None)
    if value is None:
        raise FlowInputError(
            f"The connection '{connection}' has no '{key}'.",
            hint=f"`farthing pf connection show -n {connection}` lists what it has.",
            param="environment_variables",
        )
    return str(value)


def _as_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


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


async def whole(value: Any) -> Any:
    """The value with what comes piece by piece put together; of a mapping, each of its values."""
    if isinstance(value, dict):
        return {key: await whole(each) for key, each in value.items()}
    if inspect.isasyncgen(value):
        return _joined([piece async for piece in value])
    if inspect.isgenerator(value):
        return _joined(list(value))
    return value


def _joined(pieces: list[Any]) -> Any:
    return "".join(str(piece) for piece in pieces)


async def try_line(flow: Runnable, inputs: Mapping[str, Any]) -> Tried:
    """Run one line, and behind it what runs behind all lines. What fails is in the result."""
    line = await flow.run(inputs)
    nothing = LineResult(inputs={})
    if line.error is not None:
        return Tried(line=line, behind=nothing)
    try:
        line.outputs = await whole(line.outputs)
    except FarthingError as error:  # a stream may break off while it is read
        line.error = error
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


def variant_names(flow: Flow) -> list[str]:
    """Every variant of the flow as `${node.variant}`, the defaults first."""
    names = []
    choice: Variants
    for node, choice in flow.variants.items():
        rest = [each for each in choice.nodes if each != choice.default]
        names += [f"${{{node}.{each}}}" for each in (choice.default, *rest)]
    return names
