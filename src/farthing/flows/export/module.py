"""A graph as the text of one Python module: nodes as functions, the flow as a function that awaits them."""

from __future__ import annotations

import re
from pathlib import Path

from farthing.flows.dag.includes import template_of
from farthing.flows.export.body import Body
from farthing.flows.export.functions import Functions
from farthing.flows.export.inputs import Inputs
from farthing.flows.export.layout import Group, Item, docstring, flat, lines, literal, text
from farthing.flows.export.names import Names, identifier
from farthing.flows.export.parts import Parts
from farthing.flows.export.prompts import Prompts
from farthing.flows.export.written import NodeCode
from farthing.flows.graph import Flow, Node
from farthing.flows.prompts.templates import IMAGE_PLACE

#: The class of images, in the code of a tool.
_IMAGE = re.compile(r"\bImage\b")


def module_of(flow: Flow, file: Path) -> str:
    """The text of a module that is the flow. file: where it is to stand.

    Raises FlowFormatError: what in the flow cannot be Python, with node, file, line and reason.
    """
    return _Module(flow, file).text()


class _Module:
    def __init__(self, flow: Flow, file: Path) -> None:
        self._flow = flow
        self._parts = Parts(flow, file, Names(avoid=[each.name for each in flow.inputs]))
        self._farthing = self._parts.use("farthing")
        self._codes: dict[str, NodeCode] = {}

    def text(self) -> str:
        functions, prompts = Functions(self._flow, self._parts), Prompts(self._flow, self._parts)
        for node in self._flow.nodes:
            has_template = node.kind in ("llm", "prompt")
            self._codes[node.name] = (prompts if has_template else functions).write(node)
        nodes = {node.name for node in self._flow.nodes}
        name = identifier(self._flow.name)
        while name in nodes:  # the flow's value is kept under its name, as a node's is
            name = f"{name}_flow"
        name = self._parts.names.take(name, f"{name}_flow")
        inputs = Inputs(
            self._flow.inputs,
            self._parts,
            message_format=self._flow.message_format,
            looks_at_images=self._looks_at_images(),
        )
        body = Body(self._flow, self._codes, inputs, self._parts)
        flow = [*self._flow_function(name, inputs, body), *self._behind(name, body)]
        blocks = [list(code.text) for code in self._codes.values() if code.text]
        constants = self._parts.constants
        head = [*self._environment(), *self._parts.folder_definition()]
        future = "from __future__ import annotations"
        made = [
            *self._docstring(),
            "",
            *([future, ""] if self._parts.has_future_annotations else []),
        ]
        made += self._parts.imports.lines()
        if head or constants:
            made += ["", *head, *constants]
        for block in [*blocks, flow]:
            made += ["", "", *block]
        return "\n".join(made) + "\n"

    # --- words ---

    def _docstring(self) -> list[str]:
        flow = self._flow
        paragraphs = [
            _sentence(flow.description) or f"The flow '{flow.name}'.",
            "Written by `farthing flow export`. It is a flow as the one that it was written from.",
        ]
        for name, choice in flow.variants.items():
            chosen = next(
                (key for key, node in choice.nodes.items() if node == flow.node(name)),
                choice.default,
            )
            others = [f"'${{{name}.{key}}}'" for key in choice.nodes if key != chosen]
            if others:
                paragraphs.append(
                    f"The node '{name}' is its variant {chosen}. To have another, export with "
                    f"--variant {' or '.join(others)}."
                )
        kept = [code for code in self._codes.values() if code.told]
        if kept:
            told = [f"- {code.node.source.path} ({code.node.name}): {code.told}." for code in kept]
            paragraphs.append("\n".join(["Files of the flow that it imports, and why:", *told]))
        cached = [node.name for node in flow.nodes if node.is_cached]
        if cached:
            paragraphs.append(
                f"Not kept between lines here, as the flow does: {', '.join(cached)}."
            )
        return docstring(paragraphs)

    # --- the flow ---

    def _flow_function(self, name: str, inputs: Inputs, body: Body) -> list[str]:
        statements = body.line()
        told = [each for each in self._flow.inputs if each.description]
        words = [_sentence(self._flow.description)] if self._flow.description else []
        words += (
            ["\n".join(f"{each.name}: {_sentence(each.description)}" for each in told)]
            if told
            else []
        )
        return [
            f"@{self._farthing}.flow",
            *inputs.head(name, f"dict[str, {self._parts.use('typing', 'Any')}]"),
            *(docstring(words, depth=1) if words else []),
            *inputs.reading(),
            *statements,
        ]

    def _looks_at_images(self) -> bool:
        flow = self._flow
        if flow.message_format != "basic" or any(each.kind == "image" for each in flow.inputs):
            return True
        written = [each.default for each in flow.inputs]
        written += [port.value for node in flow.nodes for port in node.inputs]
        if any("data:image/" in str(each) for each in written):
            return True
        return any(self._is_about_images(node) for node in flow.nodes)

    def _is_about_images(self, node: Node) -> bool:
        if node.source.kind != "code":
            return "gpt4v" in (node.source.tool or "")
        looked_for = IMAGE_PLACE if node.kind in ("llm", "prompt") else _IMAGE
        return looked_for.search(template_of(self._flow, node)) is not None

    # --- around it ---

    def _behind(self, name: str, body: Body) -> list[str]:
        statements = body.behind()
        if not statements:
            return []
        function = self._parts.names.take("behind_all_lines")
        nodes = literal(body.needed())
        kind = self._parts.use("farthing.flows", "Lines")
        return [
            "",
            "",
            *lines("", Group(f"@{name}.aggregate(", (Item(nodes, "nodes="),), ")")),
            f"async def {function}(lines: {kind}) -> None:",
            '    """Runs once behind all lines; what its nodes log are the metrics."""',
            *statements,
        ]

    def _environment(self) -> list[str]:
        made = []
        for name, value in self._flow.environment.items():
            made.append(
                f"{self._parts.use('os')}.environ[{text(name)}] = {flat(self._variable(value))}"
            )
        return made

    def _variable(self, value: str) -> str:
        from farthing.flows.open import CONNECTION_VALUE

        found = CONNECTION_VALUE.fullmatch(value)
        if found is None:
            return text(value)
        connection = self._parts.use("farthing.flows", "connection")
        return f"str({connection}({text(found[1])}).{found[2]})"


def _sentence(words: str) -> str:
    words = " ".join(words.split())
    return words if not words or words.endswith((".", "!", "?")) else f"{words}."
