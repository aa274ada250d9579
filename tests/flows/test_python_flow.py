"""Flows that are Python: nodes that are awaited, traces, streams, data, what runs behind all lines."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import farthing
from farthing.base.clock import SystemClock
from farthing.core.errors import FlowError, FlowFormatError, FlowInputError, NodeFailedError
from farthing.flows.connections.connections import Connections
from farthing.flows.dag import format as dag
from farthing.flows.dag.flow import DagFlow
from farthing.flows.models import GatewayModels, Models
from farthing.flows.open import open_flow
from farthing.flows.python.flow import OpenPythonFlow, PythonFlow
from tests.flows.test_prompty import BODY, FRONT
from tests.gateway.world import LOCAL, whole, world


@farthing.node
def double(text: str) -> str:
    return text * 2


@farthing.node(name="shout")
async def upper(text: str) -> str:
    await asyncio.sleep(0)
    return text.upper()


@farthing.flow
async def answer(question: str, times: int = 1) -> dict[str, Any]:
    """Says the question twice, loudly."""
    first, second = await asyncio.gather(double(question), upper(question))
    return {"text": (first + await upper(second)) * times}


@pytest.fixture
async def models(tmp_path: Path) -> AsyncIterator[Models]:
    (tmp_path / "data").mkdir()
    async with world(tmp_path / "data", {"a": []}) as it:
        it.provider.scripts["a"] = [[whole("Four")]]
        yield GatewayModels(it.gateway, LOCAL)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the process's own client keeps its database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARTHING_STORAGE__URL", f"sqlite:{tmp_path / 'farthing.db'}")
    return tmp_path


def opened(flow: PythonFlow[..., Any], models: Models, **more: Any) -> OpenPythonFlow:
    return flow.open(models=models, clock=SystemClock(), **more)


async def test_a_line_has_the_values_and_traces_of_its_nodes(models: Models) -> None:
    flow = opened(answer, models)
    line = await flow.run({"question": "so", "times": "2"})
    await flow.aclose()
    assert line.error is None
    assert line.outputs == {"text": "sosoSO" * 2}
    assert {k: line.values[k] for k in ("double", "shout", "shout (2)")} == {
        "double": "soso",
        "shout": "SO",
        "shout (2)": "SO",
    }
    assert {t.node: t.status for t in line.traces} == dict.fromkeys(
        ["double", "shout", "shout (2)", "answer"], "ok"
    )
    assert [(each.name, each.kind) for each in flow.flow.inputs] == [
        ("question", "string"),
        ("times", "int"),
    ]


async def test_it_is_awaited_like_the_function_that_it_is(models: Models) -> None:
    assert await answer("so") == {"text": "sosoSO"}
    assert await double("a") == "aa"

    @farthing.flow
    async def outer(question: str) -> str:
        return (await answer(question))["text"]  # type: ignore[no-any-return]

    flow = opened(outer, models)
    line = await flow.run({"question": "so"})
    await flow.aclose()
    assert line.outputs == {"output": "sosoSO"}
    assert {"double", "shout", "answer"} <= set(line.values)
    found = open_flow(outer, models=models, connections=None, clock=SystemClock())  # type: ignore[arg-type]
    assert isinstance(found, OpenPythonFlow)
    await found.aclose()


async def test_more_lines_than_threads_wait_for_their_nodes_and_end(models: Models) -> None:
    flow = opened(answer, models, threads=1)
    lines = await asyncio.gather(*(flow.run({"question": str(n)}) for n in range(20)))
    await flow.aclose()
    assert [line.outputs["text"] for line in lines] == [str(n) * 3 for n in range(20)]


async def test_plain_nodes_run_at_once_with_the_line_s_variables(models: Models) -> None:
    both, who = threading.Barrier(2, timeout=20), contextvars.ContextVar("who", default="nobody")

    @farthing.node
    def meet() -> str:
        both.wait()
        return who.get()

    @farthing.flow
    async def pair() -> list[str]:
        who.set("me")
        return list(await asyncio.gather(meet(), meet()))

    flow = opened(pair, models)
    line = await flow.run({})
    await flow.aclose()
    assert line.outputs == {"output": ["me", "me"]}


async def test_a_node_that_raises_is_named_and_its_text_is_not(models: Models) -> None:
    @farthing.node
    def broken(text: str) -> str:
        raise ValueError(text)

    @farthing.flow
    async def careless(text: str) -> str:
        return await broken(text)

    @farthing.flow
    async def careful(text: str) -> str:
        try:
            return await broken(text)
        except ValueError as error:
            return f"instead of {error}"

    flow = opened(careless, models)
    line = await flow.run({"text": "secret"})
    missing = await flow.run({})
    await flow.aclose()
    assert isinstance(line.error, NodeFailedError)
    assert line.error.node == "broken"
    assert line.error.cause == "ValueError"
    assert "secret" not in str(line.error)
    assert isinstance(missing.error, FlowInputError)
    flow = opened(careful, models)
    line = await flow.run({"text": "a"})
    await flow.aclose()
    assert line.outputs == {"output": "instead of a"}
    assert [t.status for t in line.traces] == ["failed", "ok"]


@pytest.mark.parametrize("error", [StopIteration("x"), SystemExit(1)])
async def test_what_would_break_a_loop_fails_its_line_only(
    models: Models, error: BaseException
) -> None:
    @farthing.node
    def leave() -> None:
        raise error

    @farthing.flow
    async def leaving() -> None:
        await leave()

    flow = opened(leaving, models)
    line = await flow.run({})
    await flow.aclose()
    assert isinstance(line.error, FlowError)
    assert line.error.node == "leave"


async def test_a_prompty_in_a_node_uses_the_account_of_the_flow(
    models: Models, tmp_path: Path
) -> None:
    (tmp_path / "chat.prompty").write_text(FRONT + BODY)
    from farthing.flows.prompty.prompty import Prompty

    @farthing.node
    def ask(question: str) -> Any:
        return Prompty.load(tmp_path / "chat.prompty")(question=question)

    @farthing.flow
    async def asking(question: str) -> Any:
        return await ask(question)

    flow = opened(asking, models)
    line = await flow.run({"question": "2+2?"})
    await flow.aclose()
    assert line.outputs == {"output": "Four"}
    assert flow.spent.calls == 1


async def test_a_file_with_a_node_is_a_node_of_a_graph_too(models: Models, tmp_path: Path) -> None:
    (tmp_path / "double.py").write_text(
        "import farthing\n@farthing.node\ndef double(text: str) -> str:\n    return text * 2\n"
    )
    (tmp_path / "flow.dag.yaml").write_text(
        "inputs: {t: {type: string}}\noutputs: {o: {reference: '${d.output}'}}\n"
        "nodes:\n- name: d\n  type: python\n  source: {type: code, path: double.py}\n"
        "  inputs: {text: '${inputs.t}'}\n"
    )
    flow = DagFlow(dag.load(tmp_path), models=models, connections=None, clock=SystemClock())  # type: ignore[arg-type]
    assert (await flow.run({"t": "a"})).outputs == {"o": "aa"}
    await flow.aclose()


def test_it_is_run_streamed_and_batched_from_plain_code(alone: Path) -> None:
    assert answer.run("so", times=2).outputs == {"text": "sosoSO" * 2}
    with pytest.raises(FlowInputError, match="question"):
        answer.run()  # type: ignore[call-arg]  # what is missing is told by name

    @farthing.flow
    async def count(upto: int) -> AsyncIterator[str]:
        for number in range(upto):
            yield str(number)

    @farthing.flow
    async def plain(upto: int) -> Iterator[str]:
        return (str(number) for number in range(upto))

    assert list(count.stream(3)) == list(plain.stream(3)) == ["0", "1", "2"]
    assert next(count.stream(1000)) == "0"
    assert count.run(3).outputs == {"output": "012"}
    assert list(answer.stream("a")) == [{"text": "aaA"}]

    @answer.aggregate
    def behind(lines: list[dict[str, str]]) -> dict[str, float]:
        return {"lines": len(lines)}

    (alone / "data.jsonl").write_text("".join(json.dumps({"q": f"{n}"}) + "\n" for n in range(5)))
    done = answer.batch("data.jsonl", column_mapping={"question": "${data.q}"}, in_flight=2)
    assert done.outputs == [{"text": f"{n}{n}{n}"} for n in range(5)]
    assert done.metrics == {"lines": 5}
    done = answer.batch([{"question": "a"}, {"question": "b", "times": "many"}])
    assert done.outputs[1] is None
    assert done.metrics == {"lines": 1}
    assert behind([]) == {"lines": 0}


async def test_waiting_on_a_loop_is_refused_with_what_to_write() -> None:
    with pytest.raises(FlowError, match="await answer"):
        answer.run("a")


CODE = """
import farthing

@farthing.node
def double(text: str) -> str:
    return text * 2

@farthing.flow
async def answer(question: str, times: int = 1) -> dict[str, str]:
    return {"text": await double(question) * times}

@answer.aggregate
async def count(results):
    return {"lines": len(results)}
"""


async def test_a_flex_file_may_name_a_python_flow(tmp_path: Path, models: Models) -> None:
    (tmp_path / "entry.py").write_text(CODE)
    file = tmp_path / "flow.flex.yaml"
    file.write_text("entry: entry:answer\ninputs:\n  times: {type: int, default: 2}\n")
    flow = open_flow(file, models=models, connections=Connections(tmp_path), clock=SystemClock())
    assert [(each.name, each.kind) for each in flow.flow.inputs] == [
        ("question", "string"),
        ("times", "int"),
    ]
    lines = [await flow.run({"question": "a", "times": "3"}), await flow.run({"question": "b"})]
    assert [each.outputs for each in lines] == [{"text": "aaaaaa"}, {"text": "bbbb"}]
    assert [each.node for each in lines[0].traces] == ["double", flow.flow.name]
    assert (await flow.aggregate(lines)).metrics == {"lines": 2}
    await flow.aclose()
    with pytest.raises(FlowFormatError, match="entry is no class"):
        open_flow(
            file,
            models=models,
            connections=Connections(tmp_path),
            clock=SystemClock(),
            init={"a": 1},
        )
