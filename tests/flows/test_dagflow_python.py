"""A whole DAG flow: Python, prompt and LLM nodes, a connection by name; real gateway, in-process simulator."""

from __future__ import annotations

from pathlib import Path

from farthing.base.clock import SystemClock
from farthing.base.config.settings import Provider, Server, Settings, Storage
from farthing.core.calls import Caller
from farthing.flows.batch.metrics import collecting
from farthing.flows.connections.connections import AzureOpenAIConnection, Connections
from farthing.flows.dag import format as dag
from farthing.flows.dag.flow import DagFlow
from farthing.flows.models import GatewayModels
from farthing.gateway.client import open_gateway

FLOW = """
inputs:
  question: {type: string}
  times: {type: int, default: 2}
outputs:
  answer: {type: string, reference: '${finish.output.text}'}
nodes:
- name: prepare
  type: python
  source: {type: code, path: prepare.py}
  inputs: {question: '${inputs.question}', times: '${inputs.times}', mark: ''}
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  inputs: {deployment_name: sim/small, max_tokens: 50, question: '${prepare.output}'}
  connection: open_ai_connection
  api: chat
- name: finish
  type: python
  source: {type: code, path: finish.py}
  inputs: {connection: open_ai_connection, answer: '${ask.output}'}
- name: count
  type: python
  aggregation: true
  source: {type: code, path: count.py}
  inputs: {answers: '${finish.output}'}
"""
FILES = {
    "flow.dag.yaml": FLOW,
    "ask.jinja2": "system:\nBe brief.\nuser:\n{{question}}\n",
    "prepare.py": (
        "from promptflow.core import tool\n@tool\n"
        "def prepare(question: str, times: int, mark: str = '?'):\n    return (question + mark) * times\n"
    ),
    "finish.py": (
        "from typing import Union\nfrom promptflow.core import tool\n"
        "from promptflow.connections import AzureOpenAIConnection, OpenAIConnection\n@tool\n"
        "async def finish(connection: Union[AzureOpenAIConnection, OpenAIConnection], answer: str):\n"
        "    return {'text': answer, 'base': connection.api_base}\n"
    ),
    "count.py": (
        "from promptflow.core import log_metric, tool\n@tool\n"
        "def count(answers: list):\n    log_metric('answers', len(answers))\n"
    ),
}


async def test_a_flow_of_all_kinds_of_nodes_runs_as_it_is(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    settings = Settings(
        server=Server(detect=False),
        storage=Storage(url=f"sqlite:{tmp_path / 'farthing.db'}"),
        providers={"sim": Provider(type="sim", scenario="demo")},
    )
    given = {"open_ai_connection": AzureOpenAIConnection("https://a.example", "k")}
    connections = Connections(tmp_path, environ={}, given=given)
    async with open_gateway(settings, environ={}) as gateway:
        models = GatewayModels(gateway, Caller(key_id="local", name="test", is_local=True))
        flow = DagFlow(
            dag.load(tmp_path), models=models, connections=connections, clock=SystemClock()
        )
        line = await flow.run({"question": "Is it so"})
        with collecting() as metrics:
            after = await flow.aggregate([line, line])
        await flow.aclose()
    assert line.error is None
    assert after.error is None
    assert line.values["prepare"] == "Is it so?Is it so?"
    assert line.values["finish"]["base"] == "https://a.example"
    assert "Is it so?" in line.outputs["answer"]
    assert flow.spent.calls == 1
    assert metrics == {"answers": 2}
