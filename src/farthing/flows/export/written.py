"""A node as code: the record of it, and how its function is named, marked and commented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from farthing.flows.export.layout import Expression, Item, NotLiteralError, call, lines, text
from farthing.flows.export.parts import Parts
from farthing.flows.graph import Node, Port, wrong
from farthing.flows.references import Reference


class Argument(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's function is given under a name. reference None: `value` is its source text."""

    name: str
    reference: Reference | None = None
    value: Expression = ""


class NodeCode(msgspec.Struct, frozen=True, kw_only=True):
    """A node as code. name: of its function. text: what defines it, empty when another's text does.

    defaults: of the arguments that may be left out. gives: what is known of its value: `json` through and
    through, a `mapping`, or nothing. told: where its code comes from, when that is not plain.
    """

    node: Node
    name: str
    text: tuple[str, ...]
    arguments: tuple[Argument, ...]
    defaults: Mapping[str, Any] = {}
    gives: Literal["json", "mapping", "anything"] = "anything"
    told: str | None = None


class Marks:
    """How the functions of nodes are named and marked in one module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def name(self, node: Node) -> str:
        """A name for the node's function."""
        return self._parts.names.take(node.name, f"{node.name}_node")

    def decorator(self, node: Node, name: str) -> str:
        """What stands above its function. name: of that."""
        return f"@{self._node()}" if name == node.name else f"@{self._node()}({self._named(node)})"

    def made_of(self, node: Node, name: str, function: Expression) -> list[str]:
        """The statement that makes the node of a function that is there already."""
        marked = call(f"{self._node()}({self._named(node)})", [Item(function)])
        return [*self.comments(node), *lines(f"{name} = ", marked)]

    def comments(self, node: Node, *, depth: int = 0) -> list[str]:
        """What the flow's file says of the node in comments."""
        return [f"{'    ' * depth}# {line}".rstrip() for line in self._parts.comments_of(node)]

    def literal(self, node: Node, port: Port) -> Expression:
        """A literal of the node's inputs. Raises FlowFormatError: Python has none for it."""
        try:
            return self._parts.literal(port.value)
        except NotLiteralError as error:
            raise wrong(
                f"'{port.name}' of the node '{node.name}' is a {error.kind}, which cannot be written "
                "as Python.",
                hint="Make it a text, and read it in the tool.",
                node=node.name,
                field=f"inputs.{port.name}",
                span=port.span,
            ) from None

    def _node(self) -> str:
        return f"{self._parts.use('farthing')}.node"

    def _named(self, node: Node) -> str:
        return f"name={text(node.name)}"
