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
from farthing.core.errors import FarthingError, FlowFormatError, FlowInputError, did_you_mean
from farthing.flows.engine import LINE_TIMEOUT_S, LineResult
from farthing.flows.graph import Flow, Input, Node, Output, Port, Variants
from farthing.flows.references import InputReference, NodeReference

if TYPE_CHECKING:
    from farthing.flows.connections import Connections
    from farthing.flows.models import Models, Spent
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


class _Measured:
    """A flow whose aggregations' results have the metrics that were logged. See `runnable.Runnable`."""

    def __init__(self, flow: Runnable) -> None:
        self._flow = flow
        self.run = flow.run
        self.aclose = flow.aclose

    @property
    def flow(self) -> Flow:
        return self._flow.flow

    @property
    def spent(self) -> Spent:
        return self._flow.spent

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        from farthing.flows.metrics import collecting

        with collecting() as metrics:
            result = await self._flow.aggregate(lines)
        result.metrics = {**metrics, **result.metrics}
        return result


# --- opening ---


def project_connections() -> Connections:
    """The connections of the project in this folder, its `.env` not included."""
    from farthing.flows.connections import Connections

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
        from farthing.flows.dagflow import DagFlow

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
        yield _Measured(flow)
    finally:
        await flow.aclose()


def _dag_with(path: Path, variant: str | None) -> Flow:
    from farthing.flows import dag

    file = path / dag.FILE if path.is_dir() else path
    if file.suffix not in (".yaml", ".yml") or "flex" in file.name or not file.is_file():
        raise FlowInputError(
            f"{path} has no nodes whose connections could be replaced.",
            hint="Leave --connections out; it is for flows with a flow.dag.yaml.",
            param="connections",
        )
    flow, choice = dag.load(file), chosen_variant(variant)
    return flow if choice is None else flow.with_variant(choice.node, choice.variant)


def overridden(flow: Flow, overrides: Mapping[str, Mapping[str, str]]) -> Flow:
    """The flow with other connections and literals in some nodes. Raises FlowFormatError for no such node."""
    nodes = {node.name: node for node in flow.nodes}
    for name, fields in overrides.items():
        node = flow.node(name)
        ports = {port.name: port for port in node.inputs}
        for field, value in fields.items():
            # Of an LLM node it is a field of its own, of others the input that takes the connection.
            if field == "connection" and node.kind == "llm":
                node = msgspec.structs.replace(node, connection=value)
            else:
                ports[field] = Port(name=field, value=value, span=node.span)
        nodes[name] = msgspec.structs.replace(node, inputs=tuple(ports.values()))
    return msgspec.structs.replace(flow, nodes=tuple(nodes.values()))


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


def node_alone(flow: Flow, name: str, given: Mapping[str, Any]) -> Flow:
    """A flow that is this node only, its inputs taken from `given`.

    given: by the node's own names for them, or by what it refers to (`fetch.output`, `url`). An input of the
    flow that is not given has its default. Raises FlowFormatError for no such node, FlowInputError.
    """
    node = flow.node(name)
    flow_inputs = {each.name: each for each in flow.inputs}
    ports, inputs, missing = [], [], []
    for port in node.inputs:
        key = _key_given(port, given)
        reference = port.reference
        if reference is None and key is None:
            ports.append(port)
        elif isinstance(reference, InputReference):
            declared = flow_inputs[reference.name]
            if key is not None:
                declared = msgspec.structs.replace(declared, default=given[key], has_default=True)
            elif not declared.has_default:
                missing.append(reference.name)
            inputs.append(_coerced(declared))
            ports.append(port)
        elif key is not None:
            value = _as_list(given[key]) if node.is_aggregation else given[key]
            ports.append(Port(name=port.name, value=value, span=port.span))
        else:
            missing.append(str(reference)[2:-1])
    if missing:
        raise FlowInputError(
            f"The node '{name}' needs {', '.join(missing)}.",
            hint=f'Give it: --inputs {missing[0]}="…".',
            param=missing[0],
        )
    _refuse_unknown(node, flow, given)
    alone = msgspec.structs.replace(node, inputs=tuple(ports), activate=None, is_aggregation=False)
    output = Output(name="output", reference=NodeReference(name))
    unique = {each.name: each for each in inputs}
    return msgspec.structs.replace(
        flow, nodes=(alone,), inputs=tuple(unique.values()), outputs=(output,), variants={}
    )


def _key_given(port: Port, given: Mapping[str, Any]) -> str | None:
    reference = port.reference
    names = [port.name]
    if isinstance(reference, InputReference):
        names += [reference.name, f"inputs.{reference.name}", f"flow.{reference.name}"]
        names += [f"${{inputs.{reference.name}}}"]
    elif reference is not None:
        names += [str(reference), str(reference)[2:-1], reference.node]
    # What the node refers to is the surer name: a port may be called like another node's output.
    return next((name for name in reversed(names) if name in given), None)


def _coerced(declared: Input) -> Input:
    from farthing.flows.values import coerce

    if not declared.has_default:
        return declared
    value = coerce(declared.kind, declared.default, name=declared.name)
    return msgspec.structs.replace(declared, default=value)


def _as_list(value: Any) -> Any:
    """A text that is a list in JSON as that list; any other single value as a list of it."""
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except ValueError:
            return [value]
        return found if isinstance(found, list) else [value]
    return value if isinstance(value, list) else [value]


def _refuse_unknown(node: Node, flow: Flow, given: Mapping[str, Any]) -> None:
    known = {port.name for port in node.inputs}
    used: set[str] = set()
    for port in node.inputs:
        key = _key_given(port, given)
        if key is not None:
            used.add(key)
    others = set(given) - used - {each.name for each in flow.inputs} - known
    if others:
        name = sorted(others)[0]
        raise FlowInputError(
            f"The node '{node.name}' has no input '{name}'.",
            hint=did_you_mean(name, known) or f"It has: {', '.join(sorted(known)) or 'none'}.",
            param=name,
        )


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
