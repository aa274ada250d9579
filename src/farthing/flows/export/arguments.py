"""What the function of a Python node is called with: references, and literals made what its tool takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from farthing.flows.code.marks import EXPOSED
from farthing.flows.code.nodes import (
    Tool,
    check_ports,
    constructor_of,
    exposed_to,
    prompt_parameter,
)
from farthing.flows.code.parameters import Literals, Parameter, Signature, is_left_out
from farthing.flows.connections.connections import Connections
from farthing.flows.dag.includes import template_of
from farthing.flows.export.layout import Expression, Item, call, keyword, literal, text
from farthing.flows.export.parts import Parts
from farthing.flows.export.sources import Code
from farthing.flows.export.written import Argument, Marks
from farthing.flows.graph import Flow, Node, Port, wrong
from farthing.flows.prompts.images import Image


class Arguments:
    """The arguments of one flow's Python nodes. Connections are looked up when the module runs."""

    def __init__(self, flow: Flow, parts: Parts) -> None:
        self._flow = flow
        self._parts = parts
        self._marks = Marks(parts)

    def of(
        self, node: Node, tool: Tool, signature: Signature, code: object
    ) -> tuple[Argument, ...]:
        """Those of a node. code: of its file, when that stands in the module. Raises FlowFormatError."""
        prompt = prompt_parameter(node, signature)
        constructor = signature
        own: tuple[Port, ...] = ()
        if tool.provider is not None:
            constructor, own = constructor_of(tool.provider, tool, node)
        check_ports(node, tuple(p for p in node.inputs if p not in own), signature, prompt)
        made = []
        for port in node.inputs:
            where = constructor if port in own else signature
            if port.reference is not None:
                made.append(Argument(name=port.name, reference=port.reference))
            elif not is_left_out(port, where):
                value = self._value(node, port, where, code)
                made.append(Argument(name=port.name, value=value))
        if prompt is not None:
            made.append(Argument(name=prompt, value=self._template(node)))
        exposed = exposed_to(node, signature)
        if exposed:
            made.append(Argument(name=EXPOSED, value=self._parts.literal(exposed)))
        return tuple(made)

    def _template(self, node: Node) -> str:
        """The name of the text that a custom LLM tool renders itself."""
        return self._parts.constant(node.name, template_of(self._flow, node))

    def _value(self, node: Node, port: Port, signature: Signature, code: object) -> Expression:
        """A literal, made what the tool's parameter wants."""
        parameter = signature.parameters.get(port.name)
        if parameter is not None and parameter.kind == "connection":
            return self._connection(port, parameter, code)
        literals = Literals(self._flow, node, Connections())
        value = literals.fixed((port,), signature)[port.name]
        if isinstance(value, Image):
            items = [Item(self._marks.literal(node, port)), Item(self._parts.folder())]
            return call(self._parts.use("farthing.flows", "image_of"), items)
        kind = parameter.kind if parameter is not None else ""
        if kind == "file_path" and Path(value).is_absolute():
            return call("str", [Item(self._parts.path(Path(value)))])
        if kind == "assistant_definition":
            definition = self._parts.use("farthing.flows", "AssistantDefinition")
            fields = [keyword(k, literal(v)) for k, v in msgspec.structs.asdict(value).items()]
            return call(definition, fields)
        if _holds_image(value):
            items = [Item(self._marks.literal(node, port)), Item(self._parts.folder())]
            if self._flow.message_format != "basic":
                items.append(Item(text(self._flow.message_format)))
            return call(self._parts.use("farthing.flows", "with_images"), items)
        return self._marks.literal(node, msgspec.structs.replace(port, value=value))

    def _connection(self, port: Port, parameter: Parameter, code: object) -> Expression:
        if not isinstance(port.value, str):
            raise wrong(
                f"'{port.name}' is no name of a connection.",
                hint="Write the name of one.",
                field=f"inputs.{port.name}",
                span=port.span,
            )
        kinds = [text(each) for each in parameter.connections]
        if parameter.strong is not None and isinstance(code, Code):
            kinds = [parameter.strong.__name__]
        items = [Item(text(port.value)), *(Item(each) for each in kinds)]
        return call(self._parts.use("farthing.flows", "connection"), items)


def _holds_image(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_image, value.values()))
    return any(map(_holds_image, value)) if isinstance(value, list) else isinstance(value, Image)
