"""A flow with two nodes that have variants, and a simulator on a real socket that keeps the invoice."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from farthing.base.clock import SystemClock
from farthing.base.config.loader import load
from farthing.flows.batch.records import Definition
from farthing.flows.batch.runs import Runs
from farthing.flows.connections.connections import Connections
from farthing.flows.dag import format as dag
from farthing.flows.models import GatewayModels
from farthing.flows.variants.comparing import Comparer, Comparison, Evaluation, Watch
from farthing.flows.variants.matrix import one_by_one, product, selected
from farthing.flows.variants.results import Compared, Row, compared, rows
from farthing.gateway.client import open_gateway
from farthing.sim.http import Simulator
from farthing.sim.scenario import parse
from tests.flows.batches import open_runs
from tests.gateway.world import LOCAL

SCENARIO = """
name = "variants"
[models.m]
price = {{ input = 1.37, output = 5.9 }}
source = "made up, so that sums have odd digits"
date = "2026-11-24"
[regions.here]
flavour = "openai"
latency = {{ first_token_p50_s = {first_s}, first_token_p99_s = {first_s}, per_token_s = 0.0 }}
[regions.here.deployments.m]
model = "m"
quota = {{ tokens_per_minute = 90000000, requests_per_minute = 900000 }}
"""
SETTINGS = """
[server]
detect = false
[providers.here]
type = "openai"
base_url = "{url}/v1"
key = "simulated"
models = []
[deployments.m]
provider = "here"
model = "m"
price = {{ input = "1.37", output = "5.9", source = "test", date = "2026-11-24" }}
max_output_tokens = 4096
context_tokens = 32768
"""
#: Per line: outline once, draft once for each of its variants, tone once for each pair. `size` is free.
FLOW = """
inputs:
  topic: {type: string}
outputs:
  text: {type: string, reference: '${tone.output}'}
  size: {type: int, reference: '${size.output}'}
nodes:
- name: outline
  type: llm
  api: chat
  source: {type: code, path: outline.jinja2}
  inputs: {deployment_name: m, max_tokens: 12, topic: '${inputs.topic}'}
- {name: draft, use_variants: true}
- {name: tone, use_variants: true}
- name: size
  type: python
  source: {type: code, path: size.py}
  inputs: {text: '${draft.output}'}
- name: count
  type: python
  aggregation: true
  source: {type: code, path: count.py}
  inputs: {sizes: '${size.output}'}
node_variants:
  draft:
    default_variant_id: plain
    variants:
      short: {node: {type: llm, api: chat, source: {type: code, path: draft.jinja2},
        inputs: {deployment_name: m, max_tokens: 5, outline: '${outline.output}'}}}
      plain: {node: {type: llm, api: chat, source: {type: code, path: draft.jinja2},
        inputs: {deployment_name: m, max_tokens: 20, outline: '${outline.output}'}}}
      again: {node: {type: llm, api: chat, source: {type: code, path: draft.jinja2},
        inputs: {deployment_name: m, max_tokens: 20, outline: '${outline.output}'}}}
  tone:
    default_variant_id: warm
    variants:
      warm: {node: {type: llm, api: chat, source: {type: code, path: tone.jinja2},
        inputs: {deployment_name: m, max_tokens: 16, tone: warm, draft: '${draft.output}'}}}
      cool: {node: {type: llm, api: chat, source: {type: code, path: tone.jinja2},
        inputs: {deployment_name: m, max_tokens: 16, tone: cool, draft: '${draft.output}'}}}
"""
SIZE = """
from promptflow.core import tool

@tool
def size(text: str) -> int:
    return len(text.split())
"""
COUNT = """
from promptflow.core import tool, log_metric

@tool
def count(sizes: list) -> int:
    log_metric("words", sum(sizes))
    return sum(sizes)
"""
FILES = {
    "flow.dag.yaml": FLOW,
    "outline.jinja2": "user:\nOutline {{topic}} in a few words.\n",
    "draft.jinja2": "user:\nWrite: {{outline}}\n",
    "tone.jinja2": "user:\nSay it in a {{tone}} tone: {{draft}}\n",
    "size.py": SIZE,
    "count.py": COUNT,
}
JUDGE = {
    "flow.dag.yaml": """
inputs:
  answer: {type: string}
  topic: {type: string}
outputs:
  is_about: {type: bool, reference: '${look.output}'}
nodes:
- name: look
  type: python
  source: {type: code, path: look.py}
  inputs: {answer: '${inputs.answer}', topic: '${inputs.topic}'}
- name: share
  type: python
  aggregation: true
  source: {type: code, path: share.py}
  inputs: {found: '${look.output}'}
""",
    "look.py": "from promptflow.core import tool\n\n@tool\ndef look(answer: str, topic: str) -> bool:\n"
    "    return 'warm' in answer\n",
    "share.py": "from promptflow.core import tool, log_metric\n\n@tool\ndef share(found: list):\n"
    "    log_metric('warm', sum(found) / len(found))\n",
}
MAPPING = {"answer": "${run.outputs.text}", "topic": "${data.topic}"}
TOPICS = ("tides", "harbours", "lamps", "ropes", "knots")


def lay(folder: Path, files: dict[str, str]) -> Path:
    """Write a flow's files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def lay_project(folder: Path, simulator: Simulator, *, lines: int = len(TOPICS)) -> Path:
    """The flow in `flow/`, a judge in `judge/`, data.jsonl, and settings with the simulator's address."""
    lay(folder / "flow", FILES)
    lay(folder / "judge", JUDGE)
    topics = [f"{TOPICS[at % len(TOPICS)]} {at}" for at in range(lines)]
    (folder / "data.jsonl").write_text("".join(json.dumps({"topic": t}) + "\n" for t in topics))
    (folder / "farthing.toml").write_text(SETTINGS.format(url=simulator.url("here")))
    return folder


@contextmanager
def simulated(*, first_s: float = 0.0) -> Iterator[Simulator]:
    """A simulator on a loop of its own, so that whoever asks it may be killed. first_s: to the first token."""
    ready: Future[tuple[Simulator, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        async with Simulator(parse(SCENARIO.format(first_s=first_s))) as simulator:
            ready.set_result((simulator, asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    simulator, loop, over = ready.result(10)
    try:
        yield simulator
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


class Project:
    """The project in a folder, with a gateway in this process and a store of runs."""

    def __init__(
        self, folder: Path, simulator: Simulator, models: GatewayModels, runs: Runs
    ) -> None:
        self.folder = folder
        self.simulator = simulator
        self.runs = runs
        self._models = models

    @property
    def billed(self) -> tuple[int, int]:
        """Calls and nanodollars on the simulator's invoice."""
        invoice = self.simulator.invoice
        return len(invoice.rows), invoice.nanodollars

    def comparison(
        self,
        *words: str,
        name: str = "first",
        flow: str = "flow",
        is_matrix: bool = True,
        evaluation: Evaluation | None = None,
        **more: Any,
    ) -> Comparison:
        graph = dag.load(self.folder / flow)
        selection = selected(graph, words)
        return Comparison(
            name=name,
            graph=graph,
            matrix=(product if is_matrix else one_by_one)(graph, selection),
            definition=Definition(
                flow=str(self.folder / flow), data=str(self.folder / "data.jsonl"), **more
            ),
            evaluation=evaluation,
        )

    async def compare(self, *words: str, watch: Watch | None = None, **more: Any) -> Compared:
        """Run it to its end."""
        comparison = self.comparison(*words, **more)
        await self.comparer(watch).run(comparison)
        return await compared(self.runs, comparison.name)

    def comparer(self, watch: Watch | None = None) -> Comparer:
        connections = Connections(self.folder, environ={})
        return Comparer(self.runs, self._models, connections, SystemClock(), watch=watch)

    async def rows(self, found: Compared) -> list[Row]:
        return [row async for row in rows(self.runs, found)]


@asynccontextmanager
async def project(
    folder: Path, *, lines: int = 5, first_s: float = 0.0, url: str | None = None
) -> AsyncIterator[Project]:
    """The project above, laid into an empty folder. url: of the database for its runs; None: a file there."""
    with simulated(first_s=first_s) as simulator:
        lay_project(folder, simulator, lines=lines)
        settings = load(
            folder / "farthing.toml", {"FARTHING_STORAGE__URL": f"sqlite:{folder / 'gateway.db'}"}
        ).settings
        async with (
            open_gateway(settings, environ={}) as gateway,
            open_runs(url or f"sqlite:{folder / 'runs.db'}") as runs,
        ):
            yield Project(folder, simulator, GatewayModels(gateway, LOCAL), runs)
