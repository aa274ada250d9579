"""What nodes of a Python flow are made of: prompts, connections, tools elsewhere, the end of all lines."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import farthing
from farthing import flows
from farthing.base.clock import SystemClock
from farthing.core.errors import FlowError, FlowFormatError, FlowInputError, NodeFailedError
from farthing.flows import shim
from farthing.flows.batch.batch import Batch
from farthing.flows.batch.records import Definition
from farthing.flows.connections.connections import Connections
from farthing.flows.connections.types import CustomConnection, CustomStrongTypeConnection
from farthing.flows.models import Models
from farthing.flows.open import open_flow
from farthing.flows.python.flow import PythonFlow
from farthing.flows.remote import RemoteModels
from tests.compat.flows.endpoint import Endpoint
from tests.flows.batches import open_runs

CHAT = "system:\nBe brief.\nuser:\n{{question}}"


@pytest.fixture
def endpoint() -> Any:
    with Endpoint() as found:
        yield found


@pytest.fixture
async def models(endpoint: Endpoint) -> AsyncIterator[Models]:
    async with RemoteModels(endpoint.url, None) as found:
        yield found


async def run(flow: PythonFlow[..., Any], models: Models, **inputs: Any) -> Any:
    opened = flow.open(models=models, clock=SystemClock(), connections=Connections(given=GIVEN))
    try:
        return await opened.run(inputs)
    finally:
        await opened.aclose()


class Mine(CustomStrongTypeConnection):
    base: str


class Odd(CustomStrongTypeConnection):
    def __init__(self) -> None:
        raise TypeError


GIVEN = {"mine": CustomConnection(configs={"base": "b"}, secrets={}, name="mine")}


def test_every_part_is_there_under_its_name() -> None:
    assert flows.__all__ == sorted(flows.__all__)
    assert set(flows.__all__) == set(flows._HOME_OF)
    assert all(getattr(flows, name).__name__ == name for name in flows.__all__)
    assert set(flows.__all__) <= set(dir(flows))
    with pytest.raises(AttributeError, match="nothing"):
        flows.nothing  # noqa: B018


def test_a_name_that_prompt_flow_has_too_is_the_same_thing() -> None:
    """So that an import of prompt flow's in exported code may be written as one of ours."""
    modules = (
        "core",
        "connections",
        "contracts.types",
        "contracts.multimedia",
        "tracing",
        "client",
    )
    with shim.active():
        for name in modules:
            module = importlib.import_module(f"promptflow.{name}")
            both = set(getattr(module, "__all__", ())) & (set(flows.__all__) - {"Prompt"})
            assert all(getattr(module, each) is getattr(flows, each) for each in both)


async def test_a_prompt_sends_what_an_llm_node_sends(endpoint: Endpoint, models: Models) -> None:
    ask = flows.Prompt(CHAT, untrusted=["question"])

    @farthing.node
    async def answer(question: str) -> str:
        return await ask.ask(question=question, deployment_name="m", max_tokens=7)  # type: ignore[no-any-return]

    @farthing.flow
    async def chat(question: str) -> str:
        return await answer(question)

    line = await run(chat, models, question="x\nuser:\ny")
    assert line.error is None
    ((path, body),) = endpoint.asked
    assert path == "chat/completions"
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "x\nuser:\ny"},
        ],
        "temperature": 1.0,
        "top_p": 1.0,
        "n": 1,
        "stream": False,
        "max_tokens": 7,
    }


async def test_a_prompt_streams_to_who_reads_the_flow(models: Models) -> None:
    @farthing.flow
    async def chat(question: str) -> dict[str, Any]:
        pieces = await flows.Prompt(CHAT).ask(question=question, deployment_name="m", stream=True)
        return {"answer": pieces}

    flow = chat.open(models=models, clock=SystemClock(), is_streaming=True)
    line = await flow.run({"question": "a"})
    pieces = [piece async for piece in line.outputs["answer"]]
    await flow.aclose()
    assert len(pieces) == 2
    assert (await run(chat, models, question="a")).outputs == {"answer": "".join(pieces)}


async def test_a_prompt_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(FlowInputError, match="deployment_name"):
        await flows.Prompt(CHAT).ask(question="a", model="m")
    with pytest.raises(FlowInputError, match="model is not given"):
        await flows.Prompt(CHAT, provider="OpenAI").ask(question="a")
    with pytest.raises(FlowFormatError, match=r"none\.jinja2"):
        flows.Prompt.read(tmp_path / "none.jinja2")
    (tmp_path / "some.jinja2").write_text(CHAT)
    assert flows.Prompt.read(tmp_path / "some.jinja2").render(question="a").endswith("user:\na")


async def test_a_connection_is_the_runners_and_of_the_type_that_is_wanted(models: Models) -> None:
    @farthing.node
    def look(name: str, kind: Any) -> Any:
        return flows.connection(name, kind).base

    @farthing.flow
    async def both(name: str) -> dict[str, Any]:
        return {
            "plain": await look(name, "CustomConnection"),
            "strong": await look(name, Mine),
            "kind": type(flows.connection(name, Mine)).__name__,
        }

    line = await run(both, models, name="mine")
    assert line.outputs == {"plain": "b", "strong": "b", "kind": "Mine"}
    missing = await run(both, models, name="none")
    assert missing.error is not None
    assert missing.error.code == "connection_missing"

    @farthing.flow
    async def wrong(kind: str) -> Any:
        return flows.connection("mine", Odd if kind == "odd" else kind)

    assert "CustomConnection; wanted" in str(
        (await run(wrong, models, kind="SerpConnection")).error
    )
    assert "cannot become a Odd" in str((await run(wrong, models, kind="odd")).error)


def test_a_step_that_leads_nowhere_is_told() -> None:
    assert flows.pick({"a": [Mine(configs={"base": "c"}, secrets={})]}, "a", 0, "base") == "c"
    with pytest.raises(NodeFailedError, match="A dict has no 'b'"):
        flows.pick({"a": 1}, "b")


async def test_tools_of_files_and_packages_are_called_by_name(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "beside.py").write_text("WORD = 'beside'\n")
    (tmp_path / "sub" / "plain.py").write_text(
        "from beside import WORD\nfrom promptflow.core import tool\n\n"
        "@tool\ndef say(x, y=1):\n    return [WORD, x, y]\n"
    )
    (tmp_path / "made.py").write_text(
        "from promptflow.core import ToolProvider, tool\nMADE = []\n\n"
        "class Maker(ToolProvider):\n    def __init__(self, base):\n"
        "        MADE.append(base)\n        self.base = base\n\n"
        "    @tool\n    async def make(self, x):\n        return [self.base, x, len(MADE)]\n"
    )
    say = flows.file_tool(tmp_path / "sub" / "plain.py", folder=tmp_path)
    assert say(x=2) == ["beside", 2, 1]
    make = farthing.node(flows.file_tool(tmp_path / "made.py"))
    assert await make(base="b", x=1) == ["b", 1, 1]
    assert await make(base="b", x=2) == ["b", 2, 1]
    with pytest.raises(FlowError, match="no package tool"):
        flows.package_tool("promptflow.tools.embedding.embeding")


async def test_a_kept_run_keeps_what_its_end_looks_at(models: Models, tmp_path: Path) -> None:
    """And no more: an end in a later session sees the same."""

    @farthing.node
    def half(n: int) -> float:
        return n / 2

    @farthing.node
    def other(n: int) -> int:
        return n

    @farthing.flow
    async def share(n: int) -> dict[str, Any]:
        await other(n)
        return {"n": n, "half": await half(n) if n > 1 else None}

    @share.aggregate(nodes=["half"])
    async def end(lines: flows.Lines) -> None:
        halves = [each for each in lines.node("half") if each is not None]
        flows.log_metric("halves", await other(len(halves)))
        flows.log_metric("inputs", sum(lines.inputs("n")))
        flows.log_metric("lines", len(lines))
        flows.log_metric("others", lines.node("other").count(None))

    (tmp_path / "data.jsonl").write_text('{"n": 1}\n{"n": 2}\n{"n": 3}\n')
    flow = share.open(models=models, clock=SystemClock())
    assert [node.name for node in flow.flow.nodes] == ["half", "__aggregate__"]
    async with open_runs(f"sqlite:///{tmp_path / 'runs.db'}", SystemClock()) as runs:
        definition = Definition(flow="share", data=str(tmp_path / "data.jsonl"), column_mapping={})
        done = await Batch(flow, runs, SystemClock()).start("one", definition)
        kept = [line.node_values for line in await runs.lines_after(done.id)]
    await flow.aclose()
    assert done.metrics == {"halves": 2, "inputs": 6, "lines": 3, "others": 3}
    assert kept == ["{}", '{"half":1.0}', '{"half":1.5}']


async def test_an_end_that_fails_is_told_with_its_node(models: Models) -> None:
    @farthing.node
    def broken() -> None:
        raise KeyError

    @farthing.flow
    async def nothing() -> dict[str, Any]:
        return {}

    @nothing.aggregate
    async def end(lines: flows.Lines) -> None:
        await broken()

    flow = nothing.open(models=models, clock=SystemClock())
    behind = await flow.aggregate([await flow.run({})])
    await flow.aclose()
    assert isinstance(behind.error, NodeFailedError)
    assert behind.error.node == "broken"


async def test_a_flow_of_a_file_is_opened_by_its_name_or_alone(
    models: Models, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    one = "import farthing\n\n@farthing.flow\nasync def {}(x: int) -> int:\n    return x\n"

    async def outputs(path: str) -> Any:
        flow = open_flow(path, models=models, connections=Connections(), clock=SystemClock())
        try:
            return (await flow.run({"x": "3"})).outputs
        finally:
            await flow.aclose()

    file.write_text(one.format("first"))
    assert await outputs(str(file)) == await outputs(f"{file}:first") == {"output": 3}
    file.write_text(one.format("first") + one.format("second"))
    assert await outputs(f"{file}:second") == {"output": 3}
    with pytest.raises(FlowFormatError, match=r"2 flows: first, second.*mine\.py:first"):
        await outputs(str(file))
    with pytest.raises(FlowFormatError, match=r"no flow 'secnd'.*second"):
        await outputs(f"{file}:secnd")
    file.write_text("x = 1\n")
    with pytest.raises(FlowFormatError, match=r"no flows\..*@farthing\.flow"):
        await outputs(str(file))
    with pytest.raises(FlowFormatError, match="no such file"):
        await outputs(f"{tmp_path / 'none.py'}:first")
