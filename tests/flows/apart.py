"""Small flows whose lines run in processes of their own, on simulated models, and what comes of them."""

from __future__ import annotations

import os
import textwrap
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from farthing.base.clock import SystemClock
from farthing.base.config.settings import Provider, Server, Settings, Storage
from farthing.core.calls import Caller
from farthing.flows.batch.batch import IN_FLIGHT, Batch
from farthing.flows.batch.records import Definition, Line, Run
from farthing.flows.batch.runs import Runs
from farthing.flows.connections.connections import Connections
from farthing.flows.isolation.settings import isolation_of
from farthing.flows.jobs import opened
from farthing.flows.models import GatewayModels
from farthing.gateway.client import Gateway, open_gateway
from farthing.sim.provider import SimProvider
from tests.flows.batches import open_runs

ONE_NODE = """
inputs:
  x: {type: object}
outputs:
  y: {type: object, reference: "${work.output}"}
nodes:
- name: work
  type: python
  source: {type: code, path: work.py}
  inputs: {x: "${inputs.x}"}
"""

ASKING = """
inputs:
  x: {type: string}
outputs:
  y: {type: object, reference: "${work.output}"}
  said: {type: string, reference: "${ask.output}"}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  inputs: {model: sim/small, x: "${inputs.x}", max_tokens: 20}
  provider: OpenAI
  api: chat
- name: work
  type: python
  source: {type: code, path: work.py}
  inputs: {x: "${ask.output}"}
"""
PROMPTY = """---
name: tell
model:
  api: chat
  configuration: {type: openai, model: sim/large}
  parameters: {max_tokens: 20, stream: %s}
inputs:
  x: {type: string}
---
user:
Tell me of {{x}}
"""
READING = """
import os
from pathlib import Path
from promptflow.core import Prompty
HERE = Path(__file__).parent

@tool
def work(x: str) -> list:
    whole = Prompty.load(HERE / "whole.prompty")(x=x)
    streamed = Prompty.load(HERE / "streamed.prompty")(x=x)
    {stream}
"""
ALL = 'return [whole, "".join(streamed)]'


def written(folder: Path, code: str, flow: str = ONE_NODE, **files: str) -> Path:
    """A flow's folder. code: of `work.py`, below the import of `tool`. files: by stem, more modules."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flow.dag.yaml").write_text(flow)
    (folder / "work.py").write_text(
        f"from promptflow.core import tool, log_metric\n{textwrap.dedent(code)}"
    )
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder


def asking(folder: Path, stream: str = ALL) -> Path:
    """An LLM node, and a function that asks two prompties, one of which streams."""
    written(folder, READING.format(stream=stream), ASKING)
    (folder / "ask.jinja2").write_text("user:\nWhat is {{x}}?")
    (folder / "whole.prompty").write_text(PROMPTY % "false")
    (folder / "streamed.prompty").write_text(PROMPTY % "true")
    return folder


@dataclass(frozen=True)
class Place:
    """A gateway with the simulator, and the store of runs beside it."""

    gateway: Gateway
    runs: Runs

    @property
    def sim(self) -> SimProvider:
        provider = self.gateway.directory.providers["sim"]
        assert isinstance(provider, SimProvider)
        return provider

    @property
    def models(self) -> GatewayModels:
        return GatewayModels(self.gateway, Caller(key_id="local", name="test", is_local=True))

    @asynccontextmanager
    async def batch(
        self, folder: Path, isolate: str | None, **opening: Any
    ) -> AsyncIterator[tuple[Batch, Any]]:
        """A batch of the flow, and the open flow."""
        isolation = isolation_of(isolate)
        async with opened(
            folder,
            models=self.models,
            connections=Connections(folder, environ=os.environ),
            clock=SystemClock(),
            isolation=isolation,
            **opening,
        ) as flow:
            in_flight = IN_FLIGHT if isolation is None else isolation.processes
            yield Batch(flow, self.runs, SystemClock(), in_flight=in_flight), flow

    async def ran(
        self,
        folder: Path,
        rows: Sequence[dict[str, Any]],
        isolate: str | None = "2",
        name: str = "r",
        **opening: Any,
    ) -> Ran:
        """The rows, run to the end."""
        async with self.batch(folder, isolate, **opening) as (batch, _):
            run = await batch.start(name, Definition(flow=str(folder)), rows=rows)
        return Ran(run, await self.runs.lines_after(run.id, limit=100_000))


@dataclass(frozen=True)
class Ran:
    """A run and its lines."""

    run: Run
    lines: Sequence[Line]

    @property
    def outputs(self) -> dict[int, Any]:
        """Of the lines that were completed."""
        good = (line for line in self.lines if line.status == "completed")
        return {line.number: msgspec.json.decode(line.outputs or "") for line in good}

    @property
    def errors(self) -> dict[int, str]:
        """What the others failed with."""
        return {line.number: line.error_message or "" for line in self.lines if line.error_message}


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    """A new one; `folder` gets the database."""
    settings = Settings(
        server=Server(detect=False),
        storage=Storage(url=f"sqlite:{folder / 'farthing.db'}"),
        providers={"sim": Provider(type="sim", scenario="demo")},
    )
    async with (
        open_gateway(settings, environ={}) as gateway,
        open_runs(settings.storage.url) as runs,
    ):
        yield Place(gateway, runs)


def rows(*values: Any) -> list[dict[str, Any]]:
    """A row for each value of x."""
    return [{"x": value} for value in values]


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that is over and not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
