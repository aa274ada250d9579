"""A flow run as the graph that it is and as the Python module that it is exported to, to be compared."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farthing.base.clock import SystemClock
from farthing.core.errors import FarthingError
from farthing.flows.connections.connections import Connections
from farthing.flows.connections.types import (
    AzureOpenAIConnection,
    Connection,
    CustomConnection,
    OpenAIConnection,
)
from farthing.flows.export.export import export
from farthing.flows.open import open_flow
from farthing.flows.prompts.images import without_images
from farthing.flows.remote import RemoteModels
from farthing.flows.runnable import Runnable
from tests.compat.flows.endpoint import Endpoint

TOOL = "from promptflow.core import tool\n\n\n@tool\n"
CONNECTIONS: dict[str, Connection] = {
    "azure": AzureOpenAIConnection(api_base="http://127.0.0.1:1", api_key="key", name="azure"),
    "openai": OpenAIConnection(api_key="key", name="openai"),
    "mine": CustomConnection(configs={"base": "b"}, secrets={"key": "k"}, name="mine"),
}
Rows = Sequence[Mapping[str, Any]]


def graph(head: str, *nodes: str) -> str:
    """A flow.dag.yaml: what stands above the nodes, and the nodes."""
    return f"{head}nodes:\n{''.join(nodes)}"


def python(name: str, file: str, inputs: str = "", **more: str) -> str:
    """A Python node. inputs: as YAML has them in braces. more: further keys of the node."""
    return _node("python", name, file, inputs, more)


def llm(name: str, file: str, inputs: str, **more: str) -> str:
    """An LLM node."""
    return _node("llm", name, file, inputs, more)


def write(folder: Path, files: Mapping[str, str], *, is_laid_out: bool = False) -> Path:
    """Write files by their names below a folder. is_laid_out: Python as the formatter has it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    if is_laid_out:
        ruff("format", "--quiet", str(folder))
    return folder


async def compared(
    folder: Path,
    file: Path,
    rows: Rows,
    *,
    variant: str | None = None,
    connections: Mapping[str, Connection] = {},
) -> dict[str, Any]:
    """What the flow does over the rows, the same as a graph and as the module `file`; asserts that it is."""
    with Endpoint() as endpoint:
        async with RemoteModels(endpoint.url, None) as models:
            given: dict[str, Any] = {
                "models": models,
                "connections": Connections(given=connections),
                "clock": SystemClock(),
            }
            graph = await told(open_flow(folder, variant=variant, **given), rows, endpoint.asked)
            made = export(folder, file, variant=variant)
            module = await told(open_flow(made, **given), rows, endpoint.asked)
    for part, value in graph.items():
        assert module[part] == value, f"{part}: {module[part]} in place of {value}"
    return module


async def told(flow: Runnable, rows: Rows, asked: list[Any]) -> dict[str, Any]:
    """Outputs and errors of each line, metrics behind them, and all requests. asked: where they come in."""
    asked.clear()
    try:
        lines = await asyncio.gather(*(flow.run(row) for row in rows))
        behind = await flow.aggregate(lines)
    finally:
        await flow.aclose()
    return {
        "outputs": [None if line.error else without_images(line.outputs) for line in lines],
        "errors": [_error(line.error) for line in lines],
        "metrics": dict(behind.metrics),
        "error_behind": _error(behind.error),
        "requests": sorted(json.dumps(each, sort_keys=True) for each in asked),
    }


def assert_laid_out(file: Path) -> None:
    """The formatter of the house would leave the file as it is, at the width that formatters begin with."""
    ruff("format", "--diff", str(file))


def ruff(*words: str) -> None:
    """Run the formatter, without the settings of this project."""
    command = [sys.executable, "-m", "ruff", words[0], "--isolated", *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _node(kind: str, name: str, file: str, inputs: str, more: Mapping[str, str]) -> str:
    keys = {"type": kind, "source": f"{{type: code, path: {file}}}", **more}
    if inputs:
        keys["inputs"] = f"{{{inputs}}}"
    return f"- name: {json.dumps(name)}\n" + "".join(f"  {k}: {v}\n" for k, v in keys.items())


def _error(error: FarthingError | None) -> tuple[str, str | None] | None:
    """Which node failed, and of what. What is not a node's own failure is the flow's, in a module."""
    if error is None:
        return None
    cause = getattr(error, "cause", None)
    is_of_node = cause is not None and cause != "PathError"
    return getattr(error, "node", None) or "" if is_of_node else "", cause or error.code
