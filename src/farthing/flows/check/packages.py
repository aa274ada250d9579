"""Looks at nodes whose tool is a package's: whether it is there, what it takes, which connection it wants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from farthing.core.errors import did_you_mean
from farthing.flows.check.findings import (
    Finding,
    Known,
    at,
    check_model,
    is_installed,
    package_of,
)
from farthing.flows.graph import Node, Port
from farthing.flows.shim import NAME
from farthing.flows.tools.packaged import (
    absent_tools,
    former_tools,
    near_tool,
    needed_inputs,
    packaged_tools,
)

#: The inputs that name a model; of two that are given the first counts.
_MODELS = ("deployment_name", "model")


def check_package_tool(node: Node, known: Known) -> Iterator[Finding]:
    """What keeps the node from running. Of a package that is installed nothing is looked at but that it is."""
    tool = node.source.tool or ""
    top = tool.partition(".")[0]
    ours = packaged_tools() | former_tools()
    if tool in ours:
        yield from _check_inputs(node, ours[tool], known)
        return
    # Prompt flow's own tools come from here, whatever is installed under its name.
    if top != NAME and is_installed(top):
        return
    instead = absent_tools().get(tool)
    if instead is not None:
        what, _, hint = instead.partition(". ")
        message = f"'{node.name}' uses the tool '{tool}'. It {what}."
        yield Finding(kind="adaptation", message=message, hint=hint, **at(node.span, node))
        return
    near = near_tool(tool, ours)
    if near or top == NAME:
        message = f"'{node.name}' uses the tool '{tool}', which there is not."
        hint = near or "See farthing pf tool list."
        yield Finding(kind="broken", message=message, hint=hint, **at(node.span, node))
        return
    yield Finding(
        kind="package",
        message=f"'{node.name}' uses the tool '{tool}', whose package is not installed.",
        hint=f"pip install {package_of(top).replace('_', '-')}",
        **at(node.span, node),
    )


def _check_inputs(node: Node, told: Mapping[str, Any], known: Known) -> Iterator[Finding]:
    inputs: Mapping[str, Any] = told.get("inputs") or {}
    has_template = told.get("type") == "custom_llm"
    for port in node.inputs:
        if port.name in inputs:
            yield from _check_value(node, port, inputs[port.name], known)
        elif not has_template:  # a template takes what it likes
            yield Finding(
                kind="broken",
                message=f"'{node.name}' gives '{port.name}', which its tool does not take.",
                hint=did_you_mean(port.name, inputs) or f"It takes: {', '.join(inputs)}.",
                **at(port.span, node),
            )
    # The tools for models take one of two names for a model, by the connection's type.
    named = [port for port in node.inputs if port.name in _MODELS and port.value]
    if named and told.get("category") == "llm":
        yield from check_model(min(named, key=lambda port: _MODELS.index(port.name)), node, known)
    given = {port.name for port in node.inputs}
    missing = [name for name in needed_inputs(told) if name not in given]
    if missing:
        yield Finding(
            kind="broken",
            message=f"'{node.name}' leaves out {', '.join(missing)}, which its tool needs.",
            hint=did_you_mean(missing[0], given - set(inputs)) or "Add it to the node's inputs.",
            **at(node.span, node),
        )


def _check_value(
    node: Node, port: Port, told: Mapping[str, Any], known: Known
) -> Iterator[Finding]:
    if port.reference is not None or not isinstance(port.value, str) or not port.value:
        return
    wanted, choices = told["type"], told.get("enum")
    prefix = str(told.get("connection_prefix") or "")
    if prefix and not port.value.lower().startswith(prefix.lower()):
        yield Finding(
            kind="adaptation",
            message=f"'{node.name}' names '{port.value}', and Azure workspaces are not looked into here.",
            hint=f"Create a custom connection to the endpoint, and write {port.name}: {prefix}NAME.",
            **at(port.span, node),
        )
    elif prefix:
        yield from _check_connection(
            node, port, port.value[len(prefix) :], "CustomConnection", known
        )
    elif wanted[0].endswith("Connection"):
        yield from _check_connection(node, port, port.value, " or ".join(wanted), known)
    elif choices is not None and port.value not in choices:
        is_open = bool(told.get("allow_manual_entry"))
        yield Finding(
            kind="note" if is_open else "broken",
            message=f"'{node.name}' gives '{port.name}' the value '{port.value}', "
            + ("which its service may not know." if is_open else "which there is not."),
            hint=did_you_mean(port.value, choices) or f"Known: {', '.join(choices)}.",
            **at(port.span, node),
        )


def _check_connection(
    node: Node, port: Port, name: str, wanted: str, known: Known
) -> Iterator[Finding]:
    if name not in known.connections:
        yield Finding(
            kind="connection",
            subject=name,
            message=f"'{node.name}' needs the connection '{name}' ({wanted}).",
            hint=did_you_mean(name, known.connections)
            or f"Create it: farthing pf connection create -f FILE --name {name}",
            **at(port.span, node),
        )
