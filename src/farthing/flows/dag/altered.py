"""A DAG flow changed for one occasion: one node of it alone, or other connections and models in some nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from farthing.core.errors import FlowInputError, did_you_mean
from farthing.flows.graph import Flow, Input, Node, Output, Port
from farthing.flows.references import InputReference, NodeReference
from farthing.flows.values import coerce


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
