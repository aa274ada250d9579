"""Shows flows without running them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farthing.cli.output import note, print_json, print_table
from farthing.core.errors import FlowError

if TYPE_CHECKING:
    from farthing.flows.graph import Node


def described(folder: Path) -> list[dict[str, Any]]:
    """Each flow at or below a folder in one row; of one that cannot be read, only where it is."""
    from farthing.flows.check.check import find_flows, kind_of
    from farthing.flows.jobs import graph_at

    rows = []
    for file in find_flows(folder):
        row: dict[str, Any] = {"path": _where(file), "kind": kind_of(file)}
        row.update(inputs="", outputs="", nodes="")
        if row["kind"] == "dag":
            try:
                found = graph_at(file)
            except FlowError:
                row["nodes"] = "does not load; see `farthing flow check`"
            else:
                row["inputs"] = ", ".join(each.name for each in found.inputs)
                row["outputs"] = ", ".join(each.name for each in found.outputs)
                row["nodes"] = len(found.nodes)
        else:
            row.update(_declared(file))
        rows.append(row)
    return rows


def _where(file: Path) -> str:
    """What a person gives to a command: a DAG's or flex flow's folder, a prompty's file."""
    return str(file) if file.suffix == ".prompty" else str(file.parent)


def _declared(file: Path) -> dict[str, str]:
    """The inputs and outputs that a flex flow or a prompty declares; both may be inferred, and then are not."""
    from farthing.flows import yaml
    from farthing.flows.prompty.format import load

    try:
        if file.suffix == ".prompty":
            prompty = load(file)
            names = {"inputs": [each.name for each in prompty.inputs], "outputs": prompty.outputs}
        else:
            head = yaml.plain(yaml.read(file))
            names = {key: head.get(key) for key in ("inputs", "outputs")}
    except FlowError:
        return {"nodes": "does not load; see `farthing flow check`"}
    return {key: ", ".join(told) for key, told in names.items() if told}


def show_flow(path: Path, *, as_json: bool) -> None:
    """A DAG's parts. Raises FlowError for another kind, FlowFormatError."""
    from farthing.flows.jobs import graph_at

    found = graph_at(path)
    if as_json:
        print_json(
            {
                "name": found.name,
                "inputs": [
                    {"name": i.name, "type": i.kind, "default": i.default} for i in found.inputs
                ],
                "nodes": [_node_row(each) for each in found.nodes],
                "outputs": [
                    {"name": o.name, "from": str(o.reference or o.value)} for o in found.outputs
                ],
                "variants": {name: list(each.nodes) for name, each in found.variants.items()},
                "warnings": found.warnings,
            }
        )
        return
    click.secho(found.name, bold=True)
    if found.description:
        click.echo(found.description)
    click.echo()
    defaults = [f"default {i.default!r}" if i.has_default else "required" for i in found.inputs]
    print_table(
        ["input", "type", ""],
        [[i.name, i.kind, text] for i, text in zip(found.inputs, defaults, strict=True)],
        empty="It has no inputs.",
    )
    click.echo()
    rows = [_node_row(each) for each in found.nodes]
    print_table(
        ["node", "type", "source", "waits for", ""],
        [[r["name"], r["type"], r["source"], ", ".join(r["after"]), r["mark"]] for r in rows],
        empty="It has no nodes.",
    )
    click.echo()
    print_table(
        ["output", "from", ""],
        [
            [o.name, o.reference or o.value, "for evaluation" if o.is_for_evaluation else ""]
            for o in found.outputs
        ],
        empty="It has no outputs.",
    )
    for name, choice in found.variants.items():
        rest = ", ".join(each for each in choice.nodes if each != choice.default)
        note(f"Variants of {name}: {choice.default} (default){', ' + rest if rest else ''}.")
    for warning in found.warnings:
        note(f"Note: {warning}")


def _node_row(node: Node) -> dict[str, Any]:
    marks = []
    if node.is_aggregation:
        marks.append("behind all lines")
    if node.activate is not None:
        marks.append(f"when {node.activate.when} is {node.activate.value!r}")
    return {
        "name": node.name,
        "type": node.kind,
        "source": node.source.path or node.source.tool or "",
        "after": list(node.sources()),
        "mark": ", ".join(marks),
    }


def list_variants(path: Path, node: str | None, *, as_json: bool) -> None:
    """The variants of a flow, and which is the default."""
    from farthing.flows.jobs import graph_at

    found = graph_at(path)
    chosen = {name: each for name, each in found.variants.items() if node in (None, name)}
    if as_json:
        print_json(
            {name: {"default": c.default, "variants": list(c.nodes)} for name, c in chosen.items()}
        )
        return
    print_table(
        ["variant", "model", "source", ""],
        [
            [f"${{{name}.{key}}}", _model(body), body.source.path, _default(key, choice.default)]
            for name, choice in chosen.items()
            for key, body in choice.nodes.items()
        ],
        empty="It has no variants. They stand under node_variants in its file.",
    )


def _default(key: str, default: str) -> str:
    return "default" if key == default else ""


def _model(node: Node) -> object:
    values = {port.name: port.value for port in node.inputs}
    return values.get("deployment_name") or values.get("model") or ""
