"""The flows that the benchmarks of flows run, written as files, and runs of `farthing flow run` measured."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import farthing
from benchmarks._harness import FARTHING
from farthing.flows.engine.plan import Body, Plan
from farthing.flows.graph import Flow, Input, Node, Output, Port
from farthing.flows.python.flow import PythonFlow
from farthing.flows.references import parse

#: Everything is booked: one deployment with a price, a budget, the ledger.
SETTINGS = """
[server]
detect = false
[storage]
url = "{storage}"
[providers.mock]
type = "openai"
base_url = "http://127.0.0.1:{mock}/v1"
key = "sk-mock"
[deployments.east]
provider = "mock"
model = "gpt-4o-mini"
price = {{ input = "0.15", output = "0.60", source = "benchmark", date = "2026-11-24" }}
[routes.bench]
deployments = ["east"]
[budgets.all]
dollars = 100000
"""
_PYTHON = """
- name: {name}
  type: python
  source: {{type: code, path: {name}.py}}
  inputs: {{text: '{text}'}}
"""
_LLM = """
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  inputs: {model: bench, temperature: 0, max_tokens: 64, text: "${clean.output}"}
  provider: OpenAI
  api: chat
"""
_TEMPLATE = """# system:
You are a helpful assistant that answers briefly and precisely.

# user:
{{text}}
"""
_TOOL = """
from promptflow.core import tool

@tool
def {name}(text: str) -> str:
    return text.{method}()
"""
_PROMPTFLOW = """
import sys
import keyring
from keyring.backend import KeyringBackend
from promptflow.client import PFClient
from promptflow.entities import OpenAIConnection

class Kept(KeyringBackend):  # a machine without a screen has no keyring, and it refuses to run without one
    priority = 1
    kept = {}
    def get_password(self, service, username):
        return self.kept.get((service, username))
    def set_password(self, service, username, password):
        self.kept[service, username] = password

def main():
    keyring.set_keyring(Kept())
    flow, data, url = sys.argv[1:]
    client = PFClient()
    connection = OpenAIConnection(name="mock", api_key="sk-mock", base_url=url)
    client.connections.create_or_update(connection)
    run = client.run(flow=flow, data=data)
    assert run.status == "Completed", run.status

if __name__ == "__main__":
    main()
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A command that has ended well. peak_mib: resident memory at its highest."""

    output: str
    cpu_s: float
    peak_mib: float
    seconds: float


def write_flow(folder: Path, *, with_model: bool) -> Path:
    """A flow of three nodes in a row: clean, ask, tidy; or with three plain functions."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"clean": "strip", "tidy": "title"} if with_model else {}
    names = names or {"clean": "strip", "ask": "lower", "tidy": "title"}
    for name, method in names.items():
        (folder / f"{name}.py").write_text(_TOOL.format(name=name, method=method))
    (folder / "ask.jinja2").write_text(_TEMPLATE)
    ask = _LLM if with_model else _PYTHON.format(name="ask", text="${clean.output}")
    (folder / "flow.dag.yaml").write_text(
        "inputs:\n  text: {type: string}\noutputs:\n  answer: {type: string, reference: '${tidy.output}'}\n"
        "nodes:"
        + _PYTHON.format(name="clean", text="${inputs.text}")
        + ask
        + _PYTHON.format(name="tidy", text="${ask.output}")
    )
    return folder


def write_data(file: Path, lines: int) -> Path:
    """So many lines of about a hundred characters."""
    with file.open("w") as out:
        for number in range(lines):
            text = f"Please say in two sentences what farthing number {number} was once worth, and to whom."
            out.write(json.dumps({"text": text}) + "\n")
    return file


def write_settings(folder: Path, *, mock: int, storage: str | None = None) -> None:
    """`farthing.toml` in this folder. storage: its url, a SQLite file here unless given."""
    url = storage or f"sqlite:{folder / 'farthing.db'}"
    path = folder / "farthing.toml"
    path.write_text(SETTINGS.format(storage=url, mock=mock))
    path.chmod(0o600)


def measured(command: Sequence[str], folder: Path, *, core: int | None = None) -> Measured:
    """Run a command to its end on one core. Raises CalledProcessError."""
    pinned = ["taskset", "-c", str(core), *command] if core is not None else list(command)
    log = folder / "output.log"
    before_s = time.monotonic()
    with log.open("w") as out:
        child = subprocess.Popen(
            pinned, cwd=folder, env=environment(folder), stdout=out, stderr=out
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    output = log.read_text()
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, pinned, output[-2000:])
    return Measured(
        output=output,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / 1024,
        seconds=time.monotonic() - before_s,
    )


def flow_run(flow: Path, data: Path, name: str) -> list[str]:
    """The command that runs it."""
    return [FARTHING, "flow", "run", str(flow), "--data", str(data), "--name", name, "--json"]


def environment(folder: Path) -> dict[str, str]:
    """The variables of a command: a home of its own; compiled modules are kept, as in an installation."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "HOME": str(folder)}


def promptflow_run(python: str, folder: Path, data: Path, mock: int, *, core: int) -> Measured:
    """prompt flow's run of a batch, from its start to its end. Raises CalledProcessError."""
    script = folder / "promptflow_run.py"
    script.write_text(_PROMPTFLOW)
    home = folder / "promptflow-home"
    (home / ".promptflow").mkdir(parents=True, exist_ok=True)
    (home / ".promptflow" / "pf.yaml").write_text("telemetry: {enabled: false}\n")
    theirs = write_flow(folder / "promptflow-flow", with_model=True)
    graph = theirs / "flow.dag.yaml"
    graph.write_text(graph.read_text().replace("provider: OpenAI", "connection: mock"))
    command = [python, str(script), str(theirs), str(data), f"http://127.0.0.1:{mock}/v1"]
    # Without its service, which would stay behind.
    alone = "PF_TRACING_SKIP_LOCAL_SETUP=true"
    return measured(["env", f"HOME={home}", alone, *command], folder, core=core)


def seconds_of(folder: Path, name: str) -> float:
    """How long a run in this folder's database took. Raises RuntimeError when a line of it has failed."""
    with sqlite3.connect(folder / "farthing.db") as database:
        (row,) = database.execute(
            "SELECT status, failed, ended_at_ms - started_at_ms FROM flow_runs WHERE name = ?",
            (name,),
        )
    status, failed, took_ms = row
    if status != "completed" or failed:
        raise RuntimeError(f"The run '{name}' is {status} with {failed} failed lines.")
    return float(took_ms) / 1000


def shapes() -> dict[str, tuple[Plan, int]]:
    """Flows of nodes that do nothing, each with how many lines of it are worth measuring at once."""
    return {
        "three": (_chain(3), 1000),
        "chain_1000": (_chain(1000), 5),
        "fan_10000": (_fan(10_000), 1),
    }


def nested_maps(depth: int) -> PythonFlow[..., Any]:
    """A flow written in Python that maps a flow over a list of two, which maps a flow, and so on."""

    @farthing.node
    async def leaf(x: int) -> int:
        return x

    def over(inner: Callable[[int], Coroutine[Any, Any, int]], level: int) -> PythonFlow[..., Any]:
        async def mapped(x: int) -> int:
            first, _ = await asyncio.gather(inner(x), leaf(x))
            return first

        return PythonFlow(mapped, name=f"map{level}")

    inner: Any = leaf
    for level in range(depth):
        inner = over(inner, level)
    return inner  # type: ignore[no-any-return]  # the outermost, depth being 1 or more


def _chain(length: int) -> Plan:
    nodes = [_node(n, f"${{n{n - 1}.output}}" if n else "${inputs.x}") for n in range(length)]
    return _plan(nodes, f"${{n{length - 1}.output}}")


def _fan(width: int) -> Plan:
    return _plan([_node(n, "${inputs.x}") for n in range(width)], "${n0.output}")


def _node(number: int, source: str) -> Node:
    port = Port(name="v", reference=parse(source))
    return Node(name=f"n{number}", kind="python", inputs=(port,))


def _plan(nodes: list[Node], output: str) -> Plan:
    flow = Flow(
        name="bench",
        folder=Path(),
        inputs=(Input(name="x"),),
        outputs=(Output(name="y", reference=parse(output)),),
        nodes=tuple(nodes),
    )
    body = Body(call=lambda v: v, is_async=False)
    return Plan(flow, {node.name: body for node in nodes})
