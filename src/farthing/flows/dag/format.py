"""`flow.dag.yaml`: prompt flow's graph of nodes, read into a `Flow` (1.18.5's rules)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec

from farthing.core.errors import FlowFormatError, FlowInputError, did_you_mean
from farthing.flows import yaml
from farthing.flows.dag.includes import file_of
from farthing.flows.graph import (
    Activation,
    Flow,
    Input,
    Node,
    NodeKind,
    Output,
    Port,
    Source,
    SourceKind,
    Span,
    Variants,
    checked,
    wrong,
)
from farthing.flows.references import Reference, parse
from farthing.flows.values import coerce
from farthing.flows.yaml import Table

FILE = "flow.dag.yaml"
_KINDS: tuple[NodeKind, ...] = get_args(NodeKind)
_PROVIDERS = ("AzureOpenAI", "OpenAI")
_APIS = ("chat", "completion")


def load(path: Path) -> Flow:
    """The flow in this folder, or in this file. Raises FlowFormatError."""
    file = path / FILE if path.is_dir() else path
    return from_document(yaml.read(file), file)


def from_document(document: Any, file: Path) -> Flow:
    """The flow that a document says, as if it stood in `file`. Raises FlowFormatError."""
    top = Table(document, path=str(file), name="The flow", span=Span(str(file)), node=None)
    if top.text("language", "python") == "csharp":
        raise top.wrong(
            "is written in C#, which does not run here.",
            "language",
            hint="Port its tools to Python; prompts and graph can stay as they are.",
        )
    reader = _Reader(file)
    includes = reader.includes(top)
    variants = reader.variants(top)
    flow = Flow(
        name=file.parent.resolve().name,
        folder=file.parent.absolute(),
        inputs=reader.inputs(top),
        nodes=reader.nodes(top, variants),
        outputs=reader.outputs(top),
        variants=variants,
        environment=reader.environment(top),
        includes=includes,
        message_format=reader.message_format(top),
        description=top.text("description") or "",
    )
    return checked(flow)


class _Reader:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._path = str(file)
        self._includes: tuple[str, ...] = ()
        self._legacy: dict[str, dict[str, Any]] = {}

    def includes(self, top: Table) -> tuple[str, ...]:
        items = top.items("additional_includes")
        self._includes = tuple(str(yaml.plain(item)) for item, _ in items)
        return self._includes

    # --- inputs and outputs ---

    def inputs(self, top: Table) -> tuple[Input, ...]:
        tables = top.table("inputs", "The flow's inputs")
        return tuple(self._input(tables, name) for name in tables)

    def _input(self, tables: Table, name: str) -> Input:
        table = tables.table(name, f"The input '{name}'")
        kind = table.text("type", "string") or "string"
        default = table.raw("default")
        has_default = table.has("default") and default is not None
        if has_default:
            try:
                default = coerce(kind, default, name=name)
            except FlowInputError as error:
                raise table.wrong(
                    f"has a default that is no {kind}.", "default", hint=error.hint
                ) from None
        return Input(
            name=name,
            kind=kind,
            default=default,
            has_default=has_default,
            description=table.text("description") or "",
            choices=tuple(yaml.plain(item) for item, _ in table.items("enum")),
            is_chat_input=table.flag("is_chat_input"),
            is_chat_history=table.flag("is_chat_history"),
            span=tables.place(name),
        )

    def outputs(self, top: Table) -> tuple[Output, ...]:
        tables = top.table("outputs", "The flow's outputs")
        return tuple(self._output(tables, name) for name in tables)

    def _output(self, tables: Table, name: str) -> Output:
        table = tables.table(name, f"The output '{name}'")
        if table.raw("reference") in (None, ""):
            raise table.wrong(
                "has no reference.", "reference", hint="Write reference: ${node.output}."
            )
        value = table.raw("reference")
        return Output(
            name=name,
            reference=self._reference(value, table.place("reference"), None, "reference"),
            value=value,
            kind=table.text("type", "string") or "string",
            description=table.text("description") or "",
            is_for_evaluation=table.flag("evaluation_only"),
            is_chat_output=table.flag("is_chat_output"),
            span=table.place("reference"),
        )

    # --- nodes ---

    def nodes(self, top: Table, variants: Mapping[str, Variants]) -> tuple[Node, ...]:
        self._legacy = {
            str(tool.get("name")): yaml.plain(tool)
            for tool, _ in top.items("tools")
            if isinstance(tool, Mapping)
        }
        nodes: dict[str, Node] = {}
        for item, span in top.items("nodes"):
            listed = Table(item, path=self._path, name="A node", span=span, node=None)
            name = listed.required("name", hint="Give each node a name of its own.")
            if name in nodes:
                raise wrong(
                    f"Two nodes are called '{name}'.",
                    hint="Rename one of them, and what refers to it.",
                    node=name,
                    field="name",
                    span=listed.place("name"),
                )
            if listed.flag("use_variants"):
                nodes[name] = self._chosen(name, variants, listed)
            else:
                nodes[name] = self.node(name, item, span)
        return tuple(nodes.values())

    def _chosen(self, name: str, variants: Mapping[str, Variants], listed: Table) -> Node:
        choice = variants.get(name)
        if choice is None:
            raise listed.wrong(
                f"'{name}' uses variants, and node_variants has none for it.",
                "use_variants",
                hint=did_you_mean(name, list(variants)) or "Add them, or remove use_variants.",
            )
        return choice.nodes[choice.default]

    def variants(self, top: Table) -> dict[str, Variants]:
        tables = top.table("node_variants", "node_variants")
        found = {}
        for name in tables:
            table = tables.table(name, f"node_variants of '{name}'", node=name)
            bodies = table.table("variants", f"The variants of '{name}'")
            nodes = {}
            for key in bodies:
                body = bodies.table(key, f"The variant '{key}' of '{name}'")
                if "node" not in body:
                    raise body.wrong("has no node.", hint="Put the node's fields under node:.")
                nodes[key] = self.node(name, body.raw_map("node"), body.place("node"))
            default = table.text("default_variant_id")
            if default not in nodes:
                raise table.wrong(
                    f"has no variant '{default}', which is to be the default."
                    if default
                    else "does not say which variant is the default.",
                    "default_variant_id",
                    hint=f"Set default_variant_id to one of: {', '.join(nodes) or 'none'}.",
                )
            found[name] = Variants(default=default, nodes=nodes)
        return found

    def node(self, name: str, item: Any, span: Span) -> Node:
        table = Table(item, path=self._path, name=f"The node '{name}'", span=span, node=name)
        tool = self._tool(table)
        kind = table.choice("type", _KINDS, tool.get("type"))
        if kind is None:
            raise table.wrong("has no type.", "type", hint=f"Known: {', '.join(_KINDS)}.")
        ports = table.table("inputs", f"The inputs of the node '{name}'", node=name)
        return Node(
            name=name,
            kind=msgspec.convert(kind, NodeKind),
            source=self._source(table, kind, tool),
            inputs=tuple(self._port(ports, key) for key in ports),
            connection=table.text("connection"),
            api=table.choice("api", _APIS) if kind == "llm" else table.text("api"),
            provider=table.choice("provider", _PROVIDERS),
            module=table.text("module"),
            function=tool.get("function"),
            activate=self._activation(table),
            is_aggregation=table.flag("aggregation") or table.flag("reduce"),
            is_cached=table.flag("enable_cache"),
            span=span,
        )

    def _tool(self, table: Table) -> dict[str, Any]:
        """What the oldest form keeps in a list of its own, for `tool: name`."""
        name = table.text("tool")
        if not name or "source" in table:
            return {}
        if name in self._legacy:
            return self._legacy[name]
        return {"source": None, "package": name}

    def _source(self, table: Table, kind: str, tool: Mapping[str, Any]) -> Source:
        if tool:
            if isinstance(tool.get("source"), str):
                return Source(path=self._existing(tool["source"], table, "tool"))
            return Source(kind="package", tool=str(tool.get("package") or tool.get("name")))
        if "source" not in table:
            raise table.wrong("has no source.", hint="Add source: with type: code and path:.")
        source = table.table("source", f"The source of the node '{table.node}'")
        where = source.choice("type", ("code", "package", "package_with_prompt"), "code")
        path, package = source.text("path"), source.text("tool")
        if where != "package" and not path:
            raise source.wrong(
                "has no path.", "path", hint="Name the file, below the flow's folder."
            )
        if where != "code" and not package:
            raise source.wrong(
                "names no tool.", "tool", hint="Write tool: package.module.function."
            )
        if path and where != "package":
            path = self._existing(path, source, "path")
        return Source(kind=msgspec.convert(where, SourceKind), path=path, tool=package)

    def _existing(self, path: str, table: Table, key: str) -> str:
        file = file_of(self._file.parent, self._includes, path)
        if not file.is_file():
            folder = file.parent
            names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
            raise table.wrong(
                f"names the file '{path}', which is not there.",
                key,
                hint=did_you_mean(file.name, names)
                or f"Paths are relative to {self._file.parent}.",
            )
        return path

    def _port(self, ports: Table, key: str) -> Port:
        value, span = ports.raw(key), ports.place(key)
        reference = self._reference(value, span, ports.node, f"inputs.{key}")
        return Port(name=key, reference=reference, value=value, span=span)

    def _activation(self, table: Table) -> Activation | None:
        if not table.has("activate") or table.raw("activate") is None:
            return None
        condition = table.table("activate", f"activate of the node '{table.node}'")
        for key in ("when", "is"):
            if not condition.has(key):
                raise condition.wrong(
                    f"has no '{key}'.", hint="Write both: when: ${node.output} and is: a value."
                )
        when, span = condition.raw("when"), condition.place("when")
        return Activation(
            when=when,
            value=condition.raw("is"),
            reference=self._reference(when, span, table.node, "activate.when"),
            span=span,
        )

    def _reference(
        self, value: object, span: Span, node: str | None, field: str
    ) -> Reference | None:
        try:
            return parse(value)
        except FlowFormatError as error:
            raise wrong(error.message, hint=error.hint, node=node, field=field, span=span) from None

    # --- the rest ---

    def environment(self, top: Table) -> dict[str, str]:
        table = top.table("environment_variables", "environment_variables")
        return {name: _variable(table.raw(name)) for name in table}

    def message_format(self, top: Table) -> Any:
        return top.choice("message_format", ("basic", "openai-vision"), "basic")


def _variable(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "" if value is None else str(value)
