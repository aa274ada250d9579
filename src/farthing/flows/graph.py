"""A flow as a graph: inputs, nodes, outputs. Immutable; every front end makes one, the engine runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from farthing.core.errors import FlowFormatError, did_you_mean
from farthing.flows.references import InputReference, NodeReference, Reference

NodeKind = Literal["python", "llm", "prompt", "custom_llm"]
SourceKind = Literal["code", "package", "package_with_prompt"]


class Span(msgspec.Struct, frozen=True):
    """Where something stands in a file; line and column from 1."""

    path: str
    line: int | None = None
    column: int | None = None


NOWHERE = Span("")


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a node. reference None: `value` is a literal of the file."""

    name: str
    reference: Reference | None = None
    value: object = None
    span: Span = NOWHERE


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """Run the node only when `when` equals `value`. reference None: `when` is a literal of the file."""

    when: object
    value: object
    reference: Reference | None = None
    span: Span = NOWHERE


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node's body is. path: below the flow's folder. tool: of a package, by its id."""

    kind: SourceKind = "code"
    path: str | None = None
    tool: str | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a flow. function: its name in the source, when the file says which is meant.

    is_aggregation: runs once behind all lines, on lists. module: where an LLM node's provider comes from.
    """

    name: str
    kind: NodeKind
    source: Source = Source()
    inputs: tuple[Port, ...] = ()
    connection: str | None = None
    api: str | None = None
    provider: str | None = None
    module: str | None = None
    function: str | None = None
    activate: Activation | None = None
    is_aggregation: bool = False
    is_cached: bool = False
    span: Span = NOWHERE

    def references(self) -> Iterator[tuple[str, Reference, Span]]:
        """Each field that refers to something: its name, to what, where."""
        for port in self.inputs:
            if port.reference is not None:
                yield port.name, port.reference, port.span
        if self.activate is not None and self.activate.reference is not None:
            yield "activate.when", self.activate.reference, self.activate.span

    def sources(self) -> tuple[str, ...]:
        """The nodes that must be over before this one, each once."""
        found = (r.node for _, r, _ in self.references() if isinstance(r, NodeReference))
        return tuple(dict.fromkeys(found))


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """An input of a flow. has_default: `default` counts even when it is null."""

    name: str
    kind: str = "string"
    default: object = None
    has_default: bool = False
    description: str = ""
    choices: tuple[object, ...] = ()
    is_chat_input: bool = False
    is_chat_history: bool = False
    span: Span = NOWHERE


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """An output of a flow: a reference, or a literal. is_for_evaluation: not part of a served answer.

    is_assumed: neither the flow's file nor the fields of what its code returns name it.
    """

    name: str
    reference: Reference | None
    value: object = None
    kind: str = "string"
    description: str = ""
    is_for_evaluation: bool = False
    is_chat_output: bool = False
    is_assumed: bool = False
    span: Span = NOWHERE


class Variants(msgspec.Struct, frozen=True, kw_only=True):
    """The bodies that a node may have. default: the id of the one that runs unless another is asked for."""

    default: str
    nodes: Mapping[str, Node]


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A whole flow. folder: what paths in it are relative to. nodes: as listed, variants put in.

    variants: by the name of their node. environment: variables to set, a value may be
    `${connection.key}`. includes: files and folders that belong beside the flow. warnings: what was set
    right while it was read.
    """

    name: str
    folder: Path
    inputs: tuple[Input, ...] = ()
    nodes: tuple[Node, ...] = ()
    outputs: tuple[Output, ...] = ()
    variants: Mapping[str, Variants] = {}
    environment: Mapping[str, str] = {}
    includes: tuple[str, ...] = ()
    message_format: Literal["basic", "openai-vision"] = "basic"
    description: str = ""
    warnings: tuple[str, ...] = ()

    def node(self, name: str) -> Node:
        """The node of that name. Raises FlowFormatError."""
        for each in self.nodes:
            if each.name == name:
                return each
        names = [each.name for each in self.nodes]
        raise FlowFormatError(
            f"The flow '{self.name}' has no node '{name}'.",
            hint=did_you_mean(name, names) or f"It has: {', '.join(names)}.",
        )

    def with_variants(self, choices: Mapping[str, str]) -> Flow:
        """The flow with other bodies of some nodes. choices: by node, its variant. Raises FlowFormatError."""
        bodies = {node: self._body(node, variant) for node, variant in choices.items()}
        nodes = tuple(bodies.get(each.name, each) for each in self.nodes)
        return checked(msgspec.structs.replace(self, nodes=nodes))

    def variants_of(self, node: str) -> Variants:
        """The bodies that a node may have. Raises FlowFormatError: it has no variants."""
        choice = self.variants.get(node)
        if choice is not None:
            return choice
        span = next((each.span for each in self.nodes if each.name == node), NOWHERE)
        raise wrong(
            f"The node '{node}' of the flow '{self.name}' has no variants.",
            hint=did_you_mean(node, list(self.variants)) or "See node_variants in its file.",
            node=node,
            span=span,
        )

    def _body(self, node: str, variant: str) -> Node:
        choice = self.variants_of(node)
        if variant not in choice.nodes:
            raise wrong(
                f"The node '{node}' has no variant '{variant}'.",
                hint=did_you_mean(variant, list(choice.nodes))
                or f"It has: {', '.join(choice.nodes)}.",
                node=node,
                span=choice.nodes[choice.default].span,
            )
        return choice.nodes[variant]

    def is_last(self, node: Node) -> bool:
        """Whether outputs of the flow read the node, and no other node does."""
        read = (each.reference for each in self.outputs)
        is_read = any(isinstance(each, NodeReference) and each.node == node.name for each in read)
        return is_read and not any(node.name in each.sources() for each in self.nodes)

    @property
    def chat_history(self) -> str | None:
        """The input that holds the conversation so far, if the flow has one."""
        for each in self.inputs:
            if each.is_chat_history:
                return each.name
        names = (each.name for each in self.inputs)
        return "chat_history" if "chat_history" in names else None


def checked(flow: Flow) -> Flow:
    """The flow, its nodes in an order in which they can run, its loose ends tied.

    Raises FlowFormatError: a reference to nothing, a cycle, an ordinary node behind an aggregation.
    """
    nodes = {node.name: node for node in flow.nodes}
    inputs = {each.name for each in flow.inputs}
    for node in flow.nodes:
        for field, reference, span in node.references():
            who = f"The node '{node.name}'"
            _check_reference(reference, nodes, inputs, who, field, span, node.name)
            source = nodes.get(reference.node) if isinstance(reference, NodeReference) else None
            if source is not None and source.is_aggregation and not node.is_aggregation:
                raise wrong(
                    f"The node '{node.name}' refers to '{source.name}', which runs behind all lines.",
                    hint=f"Set aggregation: true on '{node.name}', or refer to another node.",
                    node=node.name,
                    field=field,
                    span=span,
                )
    outputs, warnings = [], list(flow.warnings)
    for output in flow.outputs:
        target = output.reference
        if target is not None:
            who = f"The output '{output.name}'"
            _check_reference(target, nodes, inputs, who, output.name, output.span)
        if isinstance(target, NodeReference) and nodes[target.node].is_aggregation:
            warnings.append(
                f"The output '{output.name}' is left out: '{target.node}' runs behind all lines."
            )
        else:
            outputs.append(output)
    return msgspec.structs.replace(
        flow, nodes=_ordered(nodes), outputs=tuple(outputs), warnings=tuple(dict.fromkeys(warnings))
    )


def wrong(
    message: str,
    *,
    hint: str | None = None,
    node: str | None = None,
    field: str | None = None,
    span: Span = NOWHERE,
) -> FlowFormatError:
    """The error for something at `span`."""
    return FlowFormatError(
        message,
        hint=hint,
        node=node,
        field=field,
        path=span.path or None,
        line=span.line,
        column=span.column,
    )


def _check_reference(
    reference: Reference,
    nodes: Mapping[str, Node],
    inputs: set[str],
    who: str,
    field: str,
    span: Span,
    node: str | None = None,
) -> None:
    known = inputs if isinstance(reference, InputReference) else set(nodes)
    name = reference.name if isinstance(reference, InputReference) else reference.node
    if name in known:
        return
    what = "input" if isinstance(reference, InputReference) else "node"
    raise wrong(
        f"{who} refers to the {what} '{name}', which the flow does not have.",
        hint=did_you_mean(name, sorted(known)) or f"It has: {', '.join(sorted(known)) or 'none'}.",
        node=node,
        field=field,
        span=span,
    )


def _ordered(nodes: Mapping[str, Node]) -> tuple[Node, ...]:
    """Each node behind those it refers to, else as listed. Without recursion: chains may be long."""
    sources = {name: node.sources() for name, node in nodes.items()}
    left = {name: len(before) for name, before in sources.items()}
    behind: dict[str, list[str]] = {name: [] for name in nodes}
    for name, before in sources.items():
        for source in before:
            behind[source].append(name)
    ready = [name for name, count in left.items() if not count]
    ordered: list[Node] = []
    for name in ready:
        ordered.append(nodes[name])
        for follower in behind[name]:
            left[follower] -= 1
            if not left[follower]:
                ready.append(follower)
    if len(ordered) < len(nodes):
        circle = _circle(sources, {name for name, count in left.items() if count})
        first = nodes[circle[0]]
        raise wrong(
            f"The nodes {' → '.join([*circle, circle[0]])} wait for each other.",
            hint="Break the circle; a condition in activate counts as a reference too.",
            node=first.name,
            span=first.span,
        )
    return tuple(ordered)


def _circle(sources: Mapping[str, tuple[str, ...]], stuck: set[str]) -> list[str]:
    name, path = min(stuck), []
    while name not in path:
        path.append(name)
        name = next(source for source in sources[name] if source in stuck)
    return path[path.index(name) :][::-1]
