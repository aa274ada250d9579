"""Experiment files as prompt flow has them (1.18.5): data, inputs, and nodes in the order of their references."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from farthing.core.errors import FlowFormatError, did_you_mean
from farthing.flows import yaml
from farthing.flows.graph import NOWHERE, Span, wrong
from farthing.flows.yaml import Table

_REFERENCE = re.compile(r"\$\{([^{}]+)\}")
#: Of the cloud, and of chat groups in prompt flow, which does not count them either.
_NOTED = ("runtime", "resources", "identity", "max_tokens", "max_time")

#: What a reference begins with when it is to no node.
_OTHERS = ("data", "inputs")
NodeKind = Literal["flow", "command", "chat_group"]
#: What a role refers to for the turns so far.
HISTORY = "${parent.conversation_history}"


class Reference(msgspec.Struct, frozen=True):
    """What `${…}` in a node's inputs refers to.

    source: `data`, `inputs`, or the name of a node, whose `part` is `inputs` or `outputs`; of a chat group
    `${node.conversation_history}` is `${node.outputs.conversation_history}`. name: of the data, the input,
    or below a part; "" for all of it. column: what is behind the name, "" for none.
    """

    source: str
    part: str
    name: str
    column: str = ""


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """One who takes part in a chat group. path: of its flow. history: the input that gets the turns so far."""

    name: str
    path: Path
    inputs: Mapping[str, Any] = {}
    history: str | None = None
    init: Mapping[str, Any] = {}


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One step. path: of the flow, or the folder that a command runs in. inputs: literals and references.

    outputs: of a command, by name; None: a folder is made for it. init, variant, connections: of a flow.
    roles, max_turns, stop_signal: of a chat group, whose inputs are those of its roles, `role.input`.
    """

    name: str
    kind: NodeKind
    path: Path
    inputs: Mapping[str, Any] = {}
    command: str = ""
    outputs: Mapping[str, Path | None] = {}
    variant: str | None = None
    init: Mapping[str, Any] = {}
    connections: Mapping[str, Mapping[str, str]] = {}
    environment: Mapping[str, str] = {}
    display_name: str = ""
    roles: tuple[Role, ...] = ()
    max_turns: int = 0
    stop_signal: str | None = None
    span: Span = NOWHERE

    @property
    def paths(self) -> tuple[Path, ...]:
        """The flows and folders that it is made of."""
        return tuple(each.path for each in self.roles) or (self.path,)

    def references(self) -> Iterator[Reference]:
        """Each reference in its inputs."""
        for value in self.inputs.values():
            found = reference_of(value)
            if found is not None:
                yield found

    def sources(self) -> tuple[str, ...]:
        """The nodes that must be over before this one, each once."""
        found = (each.source for each in self.references() if each.source not in _OTHERS)
        return tuple(dict.fromkeys(found))


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """A whole experiment. nodes: each behind those it refers to. inputs: with their values, the defaults."""

    path: Path
    name: str
    nodes: tuple[Node, ...]
    data: Mapping[str, Path] = {}
    inputs: Mapping[str, Any] = {}
    description: str = ""
    notes: tuple[str, ...] = ()

    def given(self, values: Mapping[str, str]) -> Experiment:
        """The experiment with other values of inputs, and other files of data. Raises FlowFormatError."""
        inputs, data = dict(self.inputs), dict(self.data)
        for name, value in values.items():
            if name in data:
                data[name] = Path(value).resolve()
            elif name in inputs:
                inputs[name] = value
            else:
                known = [*inputs, *data]
                raise FlowFormatError(
                    f"The experiment has neither an input nor data '{name}'.",
                    hint=did_you_mean(name, known) or f"It has: {', '.join(known) or 'none'}.",
                    path=str(self.path),
                )
        return msgspec.structs.replace(self, inputs=inputs, data=data)


def load(path: Path) -> Experiment:
    """Read an experiment file. Raises FlowFormatError that names node, field and line."""
    document = yaml.read(path)
    top = Table(document, path=str(path), name="The experiment", span=Span(str(path)), node=None)
    data = dict(_named(top, path, "data", "path"))
    inputs = dict(_named(top, path, "inputs", "default"))
    items = top.items("nodes")
    if not items:
        raise top.wrong("has no nodes.", "nodes", hint="List them below nodes:, each with a type.")
    nodes: dict[str, Node] = {}
    notes: list[str] = []
    for item, span in items:
        node = _node(Table(item, path=str(path), name="A node", span=span, node=None), path, notes)
        if node.name in nodes or node.name in (*_OTHERS, "parent"):
            what = "comes twice" if node.name in nodes else "is the name of something else"
            raise wrong(
                f"The node name '{node.name}' {what}.",
                hint="Give it another name.",
                node=node.name,
                span=span,
            )
        nodes[node.name] = node
    experiment = Experiment(
        path=path,
        name=top.text("name") or path.resolve().parent.name,
        nodes=_ordered(nodes),
        data={name: (path.parent / str(value)).resolve() for name, value in data.items()},
        inputs=inputs,
        description=top.text("description") or "",
        notes=tuple(notes),
    )
    _check(experiment)
    return experiment


def reference_of(value: Any) -> Reference | None:
    """The reference that a whole value is; None: a literal."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    first, _, rest = found[1].partition(".")
    if first in _OTHERS:
        name, _, column = rest.partition(".")
        return Reference(first, "", name, column)
    if rest == "conversation_history":
        rest = f"outputs.{rest}"
    part, _, rest = rest.partition(".")
    name, _, column = rest.partition(".")
    return Reference(first, part, name, column)


# --- inside ---


def _named(top: Table, path: Path, key: str, field: str) -> Iterator[tuple[str, Any]]:
    """The items of a list with names, and one field of each."""
    for item, span in top.items(key):
        table = Table(item, path=str(path), name=f"An item of {key}", span=span, node=None)
        name = table.required("name", hint="Write - name: …")
        if field == "path":
            yield name, table.required("path", hint="Write path: with the file of the data.")
        else:
            yield name, table.raw(field)


def _node(table: Table, path: Path, notes: list[str]) -> Node:
    name = table.required("name", hint="Write - name: …")
    table.name, table.node = f"The node '{name}'", name
    table.required("type", hint="Write type: flow or type: command.")
    kind = msgspec.convert(table.choice("type", get_args(NodeKind)), NodeKind)
    notes += [
        f"'{each}' of the node '{name}' has no effect here." for each in _NOTED if each in table
    ]
    outputs = table.table("outputs", f"'outputs' of '{name}'")
    roles = tuple(_roles(table, path)) if kind == "chat_group" else ()
    is_command = kind == "command"
    return Node(
        name=name,
        kind=kind,
        path=_path(table, path, "path") if kind == "flow" else _path(table, path, "code", "."),
        inputs=_raw(table, "inputs")
        if not roles
        else {f"{r.name}.{key}": value for r in roles for key, value in r.inputs.items()},
        command=table.required("command", hint="Write command: …") if is_command else "",
        outputs={
            each: (path.parent / str(outputs.raw(each))).resolve() if each in outputs else None
            for each in outputs
        },
        variant=table.text("variant"),
        init=_raw(table, "init"),
        connections=_raw(table, "connections"),
        environment={k: str(v) for k, v in _raw(table, "environment_variables").items()},
        display_name=table.text("display_name") or "",
        roles=roles,
        max_turns=_turns(table) if roles else 0,
        stop_signal=table.text("stop_signal"),
        span=table.span,
    )


def _roles(table: Table, path: Path) -> Iterator[Role]:
    items = table.items("roles")
    if len(items) < 2:
        raise table.wrong("has fewer than two roles.", "roles", hint="List - role: …, with a path.")
    seen: set[str] = set()
    for item, span in items:
        below = Table(item, path=str(path), name="A role", span=span, node=table.node)
        name = below.required("role", hint="Write - role: …")
        if name in seen or "." in name:
            raise below.wrong(
                f"is '{name}', which comes twice or has a dot.", "role", hint="Rename it."
            )
        seen.add(name)
        inputs = _raw(below, "inputs")
        yield Role(
            name=name,
            path=_path(below, path, "path"),
            inputs={key: value for key, value in inputs.items() if value != HISTORY},
            history=next((key for key, value in inputs.items() if value == HISTORY), None),
            init=_raw(below, "init"),
        )


def _turns(table: Table) -> int:
    turns = table.raw("max_turns")
    if not isinstance(turns, int) or turns < 1:
        raise table.wrong(
            "has no max_turns that is a whole number from 1.",
            "max_turns",
            hint="Write e.g. max_turns: 10; a conversation that nobody stops must end too.",
        )
    return turns


def _path(table: Table, path: Path, field: str, default: str | None = None) -> Path:
    """A folder or file that must be there, relative to the experiment's file."""
    where = table.text(field, default)
    if not where:
        raise table.wrong(
            f"has no {field}.", hint=f"Write {field}: with the flow's folder or file."
        )
    found = (path.parent / where).resolve()
    if not found.exists():
        beside = [each.name for each in found.parent.iterdir()] if found.parent.is_dir() else []
        raise table.wrong(
            f"has the {field} '{where}', which does not exist.",
            field,
            hint=did_you_mean(found.name, beside) or "Paths are relative to the experiment's file.",
        )
    return found


def _raw(table: Table, key: str) -> dict[str, Any]:
    below = table.table(key, f"'{key}' of '{table.node}'")
    return {each: below.raw(each) for each in below}


def _ordered(nodes: Mapping[str, Node]) -> tuple[Node, ...]:
    """Each node behind those it refers to, else as listed."""
    for node in nodes.values():
        for source in node.sources():
            if source not in nodes:
                raise _no_source(node, source, [*nodes, "data", "inputs"])
    left, ordered = dict(nodes), list[Node]()
    while left:
        ready = [node for node in left.values() if not set(node.sources()) & set(left)]
        if not ready:
            first = next(iter(left.values()))
            raise wrong(
                f"The nodes {', '.join(left)} wait for each other.",
                hint="Break the circle of references in their inputs.",
                node=first.name,
                span=first.span,
            )
        for node in ready:
            ordered.append(left.pop(node.name))
    return tuple(ordered)


def _check(experiment: Experiment) -> None:
    """Whether each reference is to something that there is. Raises FlowFormatError."""
    kinds = {node.name: node for node in experiment.nodes}
    for node in experiment.nodes:
        for each in node.references():
            if each.source in _OTHERS:
                known = experiment.data if each.source == "data" else experiment.inputs
                if each.name not in known:
                    raise _no_source(node, f"{each.source}.{each.name}", [*known])
                continue
            source = kinds[each.source]
            if each.part not in ("inputs", "outputs"):
                raise _no_source(node, f"{each.source}.{each.part}", ["outputs", "inputs"])
            if (
                source.kind == "command"
                and each.part == "outputs"
                and each.name not in source.outputs
            ):
                raise _no_source(node, f"{each.source}.outputs.{each.name}", [*source.outputs])


def _no_source(node: Node, what: str, known: list[str]) -> FlowFormatError:
    return wrong(
        f"The node '{node.name}' refers to '{what}', which the experiment does not have.",
        hint=did_you_mean(what.rpartition(".")[2], known)
        or f"It has: {', '.join(known) or 'none'}.",
        node=node.name,
        field="inputs",
        span=node.span,
    )
