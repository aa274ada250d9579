"""Small flows in real folders, served on real sockets, with simulated models behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from farthing.base.clock import Clock, SystemClock
from farthing.base.config.settings import FlowSetting, Provider, Server, Settings, Storage
from farthing.flows.code.source import load_function
from farthing.flows.code.tool import is_async, parameters_of
from farthing.flows.dag import format as dag
from farthing.flows.engine.engine import Engine
from farthing.flows.engine.plan import Body, LineResult, Plan
from farthing.flows.graph import Flow, Node
from farthing.flows.models import Models, Spent
from farthing.flows.prompts.llm import Llm
from farthing.gateway.client import Gateway, open_gateway
from farthing.server.app import App
from farthing.server.flowserver import flow_app
from farthing.server.flowshelf import Shelf
from farthing.server.listener import listen
from farthing.server.serve import serving

SCENARIO = """
name = "flow tests"

[models.quick]
price = { input = 1.00, output = 2.00 }
source = "made up"
date = "2026-11-24"

[regions.near]
latency = { first_token_p50_s = 0.0001, first_token_p99_s = 0.0002, per_token_s = 0.0 }
[regions.near.deployments.quick]
model = "quick"
quota = { tokens_per_minute = 9000000, requests_per_minute = 100000 }
"""

#: Gives a text and its length; both are shown.
ECHO = {
    "flow.dag.yaml": """
inputs:
  text: {type: string, is_chat_input: true}
outputs:
  answer: {type: string, reference: "${echo.output.text}", is_chat_output: true}
  size: {type: int, reference: "${echo.output.size}"}
  secret: {type: string, reference: "${echo.output.text}", evaluation_only: true}
nodes:
- {name: echo, type: python, source: {type: code, path: echo.py}, inputs: {text: "${inputs.text}"}}
""",
    "echo.py": """
from farthing.flows.code.tool import node

@node
def echo(text: str) -> dict:
    if text == "fail":
        raise ValueError("a private text")
    return {"text": text, "size": len(text)}
""",
}

#: Streams the words of a text; `{words}` is the body of its generator.
WORDS = """
inputs:
  text: {type: string}
outputs:
  answer: {type: string, reference: "${words.output}"}
  first: {type: string, reference: "${inputs.text}"}
nodes:
- {name: words, type: python, source: {type: code, path: words.py}, inputs: {text: "${inputs.text}"}}
"""
PLAIN_WORDS = {
    "flow.dag.yaml": WORDS,
    "words.py": """
from farthing.flows.code.tool import node

@node
def words(text: str):
    for word in text.split():
        if word == "fail":
            raise ValueError("a private text")
        yield word + " "
""",
}
ASYNC_WORDS = {
    "flow.dag.yaml": WORDS,
    "words.py": """
from farthing.flows.code.tool import node

@node
def words(text: str):
    async def give():
        for word in text.split():
            yield word + " "
    return give()
""",
}

#: A Python node before a model, which streams.
CHAT = {
    "flow.dag.yaml": """
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${chat.output}"}
nodes:
- name: wash
  type: python
  source: {type: code, path: wash.py}
  inputs: {text: "${inputs.question}"}
- name: chat
  type: llm
  api: chat
  source: {type: code, path: chat.jinja2}
  inputs: {deployment_name: sim/quick, max_tokens: 8, stream: STREAM, question: "${wash.output}"}
""",
    "wash.py": """
from farthing.flows.code.tool import node

@node
def wash(text: str) -> str:
    return text.strip()
""",
    "chat.jinja2": "user:\n{{question}}\n",
}


def lay(folder: Path, files: Mapping[str, str], **put: str) -> Path:
    """Write a flow's files. put: words to put for others."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, given in files.items():
        text = given
        for old, new in put.items():
            text = text.replace(old, new)
        (folder / name).write_text(text)
    return folder


class SmallFlow:
    """A `Runnable` over the engine, for flows of Python and LLM nodes."""

    def __init__(self, path: Path, models: Models, clock: Clock) -> None:
        self.flow: Flow = dag.load(path)
        self.is_closed = False
        self._models = models
        self._engine = Engine(clock, line_timeout_s=5)
        self._plan = Plan(self.flow, {node.name: self._body(node) for node in self.flow.nodes})

    @property
    def spent(self) -> Spent:
        return Spent()

    def _body(self, node: Node) -> Body:
        path = node.source.path or ""
        if node.kind == "llm":
            template = (self.flow.folder / path).read_text()
            return Llm(
                node,
                template,
                self._models,
                vendor="AzureOpenAI",
                new_token=lambda: "t0",
                is_last=self.flow.is_last(node),
            ).body
        function = load_function(self.flow.folder, path)
        names = {each.name for each in parameters_of(function) if each.default is not each.empty}
        return Body(call=function, is_async=is_async(function), defaults=frozenset(names))

    async def run(self, inputs: Mapping[str, Any], *, number: int | None = None) -> LineResult:
        return await self._engine.run(self._plan, inputs, number=number)

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        return await self._engine.aggregate(self._plan, lines)

    async def aclose(self) -> None:
        self.is_closed = True
        await self._engine.__aexit__()


async def open_small(path: Path, models: Models, clock: Clock) -> SmallFlow:
    """The opener of these tests."""
    return SmallFlow(path, models, clock)


def settings_of(tmp_path: Path, **flows: Path) -> Settings:
    """A gateway with one simulated model, and these flows."""
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(SCENARIO)
    return Settings(
        server=Server(port=0, detect=False),
        storage=Storage(url=f"sqlite:{tmp_path}/farthing.db"),
        providers={
            "sim": Provider(type="sim", scenario=str(scenario)),
            "down": Provider(  # nobody listens there
                type="openai", base_url="http://127.0.0.1:9", key="none", models=("gpt-4o",)
            ),
        },
        flows={name: FlowSetting(path=str(path)) for name, path in flows.items()},
    )


@asynccontextmanager
async def alone(
    tmp_path: Path, path: Path, *, is_open: bool = False
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a flow that is served alone."""
    settings = settings_of(tmp_path)
    with listen(settings.server) as listener:
        async with (
            open_gateway(settings, environ={}) as gateway,
            flow_app(path, listener, gateway=gateway, opener=open_small, is_open=is_open) as app,
            serving(gateway, listener, app=app) as running,
            aiohttp.ClientSession(running.url) as client,
        ):
            yield client


@asynccontextmanager
async def among_others(
    settings: Settings,
) -> AsyncIterator[tuple[Gateway, aiohttp.ClientSession]]:
    """A client of a gateway that serves the flows of its settings."""
    with listen(settings.server) as listener:
        async with open_gateway(settings, environ={}, clock=SystemClock()) as gateway:
            app = App(gateway, shelf=Shelf(gateway, opener=open_small))
            async with (
                serving(gateway, listener, app=app) as running,
                aiohttp.ClientSession(running.url) as client,
            ):
                yield gateway, client
