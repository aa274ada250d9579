"""Looks at nodes whose tool is a package's: whether it is there, what it takes, which connection it wants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from farthing.core.errors import did_you_mean
from farthing.flows.check.findings import Finding, Known, at, is_installed, package_of
from farthing.flows.graph import Node, Port
from farthing.flows.shim import NAME
from farthing.flows.tools.packaged import (
    absent_tools,
    former_tools,
    near_tool,
    needed_inputs,
    packaged_tools,
)


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
    if wanted[0].endswith("Connection") and port.value not in known.connections:
        yield Finding(
            kind="connection",
            subject=port.value,
            message=f"'{node.name}' needs the connection '{port.value}' ({' or '.join(wanted)}).",
            hint=did_you_mean(port.value, known.connections)
            or f"Create it: farthing pf connection create -f FILE --name {port.value}",
            **at(port.span, node),
        )
    elif choices is not None and port.value not in choices:
        is_open = bool(told.get("allow_manual_entry"))
        yield Finding(
            kind="note" if is_open else "broken",
            message=f"'{node.name}' gives '{port.name}' the value '{port.value}', "
            + ("which its service may not know." if is_open else "which there is not."),
            hint=did_you_mean(port.value, choices) or f"Known: {', '.join(choices)}.",
            **at(port.span, node),
        )
