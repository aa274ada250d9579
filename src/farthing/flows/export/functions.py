"""Python nodes as code: the tool's own, written into the module, or imported from where it is."""

from __future__ import annotations

import inspect
import typing
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farthing.flows.code.nodes import tool_of
from farthing.flows.code.parameters import Signature, signature_of
from farthing.flows.code.tool import parameters_of
from farthing.flows.dag.includes import import_folders, located
from farthing.flows.export.arguments import Arguments
from farthing.flows.export.layout import Group, Item, call, text
from farthing.flows.export.parts import Parts
from farthing.flows.export.sources import Code, NotSelfContainedError, Piece, read
from farthing.flows.export.written import Marks, NodeCode
from farthing.flows.flex.signature import returned
from farthing.flows.graph import Flow, Node


class Functions:
    """Writes the Python nodes of one flow. What all nodes share stands in `parts`."""

    def __init__(self, flow: Flow, parts: Parts) -> None:
        """Imports their tools. Raises FlowFormatError."""
        self._flow = flow
        self._parts = parts
        self._marks = Marks(parts)
        self._arguments = Arguments(flow, parts)
        nodes = [node for node in flow.nodes if node.kind in ("python", "custom_llm")]
        self._tools = {node.name: tool_of(flow, node) for node in nodes}
        self._counts = Counter(self._key(node) for node in nodes)
        self._code: dict[tuple[Path, str], Code | NotSelfContainedError] = {}

    def write(self, node: Node) -> NodeCode:
        """The node's code. Raises FlowFormatError: it cannot be written, with the reason."""
        tool = self._tools[node.name]
        code = self._code_of(node)
        told = None
        if isinstance(code, Code):
            name, made = self._inlined(node, code)
        else:
            name, made = self._imported(node)
            told = code.reason if code is not None else None
        signature = signature_of(tool.function, tool.inputs)
        return NodeCode(
            node=node,
            name=name,
            text=tuple(made),
            arguments=self._arguments.of(node, tool, signature, code),
            defaults=_defaults(tool.function, signature),
            gives="mapping" if _gives_mapping(tool.function) else "anything",
            told=told,
        )

    def _code_of(self, node: Node) -> Code | NotSelfContainedError | None:
        """The code of its file, or why it stays there; None for a package's tool."""
        if node.source.kind != "code":
            return None
        key = self._key(node)
        if key not in self._code:
            self._code[key] = self._read(node)
        return self._code[key]

    def _read(self, node: Node) -> Code | NotSelfContainedError:
        file, function = self._key(node)
        if self._tools[node.name].provider is not None:
            return NotSelfContainedError("its function is a method")
        try:
            code = read(file, function, self._flow.folder)
            self._parts.adopt(code, keeps_name=self._keeps_name(node, code))
        except NotSelfContainedError as error:
            return error
        return code

    def _keeps_name(self, node: Node, code: Code) -> bool:
        """Whether its function keeps its own name, because other code calls it by that."""
        return code.is_called_elsewhere or self._counts[self._key(node)] > 1

    def _inlined(self, node: Node, code: Code) -> tuple[str, list[str]]:
        name = self._marks.name(node)
        is_first = self._parts.is_new(code)
        if not self._keeps_name(node, code):
            above = [*self._marks.comments(node), self._marks.decorator(node, name)]
            return name, _joined(code.pieces, "\n".join(above), name)
        made = [*_joined(code.pieces, None, None), "", ""] if is_first else []
        return name, [*made, *self._marks.made_of(node, name, code.function)]

    def _imported(self, node: Node) -> tuple[str, list[str]]:
        """A tool that stays where it is: in its file, or in its package."""
        name = self._marks.name(node)
        if node.source.kind != "code":
            loader = self._parts.use("farthing.flows", "package_tool")
            loaded = call(loader, [Item(text(node.source.tool or ""))])
        else:
            loaded = self._file_tool(node)
        return name, self._marks.made_of(node, name, loaded)

    def _file_tool(self, node: Node) -> Group:
        file, _ = self._key(node)
        items = [Item(self._parts.path(file))]
        if node.function is not None:
            items.append(Item(text(node.function), "function="))
        home, *beside = import_folders(self._flow)
        if file.is_relative_to(home) and file.parent != home:
            items.append(Item(self._parts.path(home), "folder="))
        if beside:
            paths = Group("[", tuple(Item(self._parts.path(each)) for each in beside), "]")
            items.append(Item(paths, "beside="))
        return call(self._parts.use("farthing.flows", "file_tool"), items)

    def _key(self, node: Node) -> tuple[Path, str]:
        function = self._tools[node.name].function
        name = inspect.unwrap(function).__name__
        return located(self._flow, node.source.path or node.name).resolve(), name


def _joined(pieces: tuple[Piece, ...], decorator: str | None, name: str | None) -> list[str]:
    """The pieces of a file with the blank lines between them that formatters want."""
    made: list[str] = []
    before: Piece | None = None
    for piece in pieces:
        if before is not None:
            is_wide = piece.is_definition or before.is_definition
            made += [""] * (2 if is_wide else min(piece.gap, 1))
        made += piece.text(decorator=decorator, name=name).split("\n")
        before = piece
    return made


def _defaults(function: Callable[..., Any], signature: Signature) -> dict[str, Any]:
    """What its parameters are when they are not given; of those that only a package knows, nothing."""
    known = {each.name: each.default for each in parameters_of(function)}
    return {
        name: known.get(name, inspect.Parameter.empty)
        for name, each in signature.parameters.items()
        if each.has_default
    }


def _gives_mapping(function: Callable[..., Any]) -> bool:
    hint = returned(function)
    return (typing.get_origin(hint) or hint) is dict or typing.is_typeddict(hint)
