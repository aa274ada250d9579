"""LLM and prompt nodes as code: the template, and a function that fills it."""

from __future__ import annotations

from farthing.flows.dag.includes import located, template_of
from farthing.flows.export.layout import (
    Group,
    Item,
    block,
    call,
    is_keyword,
    keyword,
    lines,
    literal,
    text,
)
from farthing.flows.export.names import identifier
from farthing.flows.export.parts import Parts
from farthing.flows.export.written import Argument, Marks, NodeCode
from farthing.flows.graph import Flow, Node, Port
from farthing.flows.references import InputReference

#: A template with more lines stays in its file.
LINES_OF_A_TEMPLATE = 120
_KINDS = {"int": "int", "double": "float", "bool": "bool", "string": "str", "list": "list[Any]"}


class Prompts:
    """Writes the nodes of one flow that have a template. What all nodes share stands in `parts`."""

    def __init__(self, flow: Flow, parts: Parts) -> None:
        self._flow = flow
        self._parts = parts
        self._marks = Marks(parts)
        self._inputs = {each.name: each.kind for each in flow.inputs}

    def write(self, node: Node) -> NodeCode:
        """The node's code. Raises FlowFormatError: its template cannot be read."""
        is_llm = node.kind == "llm"
        name = self._marks.name(node)
        ports = {port.name for port in node.inputs}
        constant = self._parts.names.take(f"{name}_template".upper() if is_llm else name.upper())
        while constant in ports:
            constant = self._parts.names.take(constant)
        made = self._prompt(node, constant)
        parameters: list[Item] = []
        values: list[Item] = []
        arguments: list[Argument] = []
        for port in node.inputs:
            if port.reference is None:
                values.append(keyword(port.name, self._marks.literal(node, port)))
                continue
            parameter = _parameter_name(port.name, [each.label for each in parameters])
            parameters.append(Item(f": {self._kind(port)}", parameter))
            values.append(keyword(port.name, parameter))
            arguments.append(Argument(name=parameter, reference=port.reference))
        with_message = is_llm and any(
            port.name in ("tools", "functions") and port.value for port in node.inputs
        )
        is_plain = not with_message and not any(
            port.name in ("stream", "tools", "functions") for port in node.inputs
        )
        gives = "str" if is_plain else self._parts.use("typing", "Any")
        method = f"{constant}.ask" if is_llm else f"{constant}.render"
        body = call(method, values)
        head = Group(
            f"{'async ' if is_llm else ''}def {name}(", tuple(parameters), f") -> {gives}:"
        )
        made += [self._marks.decorator(node, name), *lines("", head)]
        made += self._marks.comments(node, depth=1)
        made += lines("return await " if is_llm else "return ", body, depth=1)
        return NodeCode(
            node=node,
            name=name,
            text=tuple(made),
            arguments=tuple(arguments),
            gives="json" if with_message else "anything",
        )

    def _prompt(self, node: Node, constant: str) -> list[str]:
        """The template's definition, with the blank lines behind it."""
        prompt = self._parts.use("farthing.flows", "Prompt")
        template = template_of(self._flow, node)
        untrusted = [p.name for p in node.inputs if isinstance(p.reference, InputReference)]
        told = []
        if node.kind == "llm":
            if (node.api or "chat") != "chat":
                told.append(Item(text(node.api or ""), "api="))
            if node.connection:
                told.append(Item(text(node.connection), "connection="))
            if node.provider and node.provider != "AzureOpenAI":
                told.append(Item(text(node.provider), "provider="))
        if untrusted:
            told.append(Item(literal(untrusted), "untrusted="))
        if template.count("\n") > LINES_OF_A_TEMPLATE:
            file = Item(self._parts.path(located(self._flow, node.source.path or "")))
            return [*lines(f"{constant} = ", call(f"{prompt}.read", [file, *told])), "", ""]
        whole = Item(block(template) if "\n" in template else text(template))
        is_apart = "\n" in template
        return [*lines(f"{constant} = ", call(prompt, [whole, *told], is_apart=is_apart)), "", ""]

    def _kind(self, port: Port) -> str:
        reference = port.reference
        kind = self._inputs.get(reference.name) if isinstance(reference, InputReference) else None
        found = _KINDS.get(kind or "")
        if found is None or "Any" in found:
            anything = self._parts.use("typing", "Any")
            return (found or "Any").replace("Any", anything)
        return found


def _parameter_name(name: str, taken: list[str]) -> str:
    """The name of a parameter for an input of a template, which may be any text."""
    made = identifier(name)
    while is_keyword(made) or made in taken:
        made += "_"
    return made
