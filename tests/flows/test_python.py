"""Python nodes: which function is meant, what literals become, what is told of mistakes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import SystemClock
from farthing.core.errors import FlowError, FlowFormatError
from farthing.flows.batch.metrics import collecting
from farthing.flows.code import packages
from farthing.flows.code.nodes import python_body
from farthing.flows.code.source import on_path
from farthing.flows.connections.connections import (
    AzureOpenAIConnection,
    ConnectionMissingError,
    Connections,
    CustomConnection,
    SerpConnection,
)
from farthing.flows.dag import format as dag
from farthing.flows.engine.engine import Engine
from farthing.flows.engine.plan import Body, LineResult, Plan

CONNECTIONS = Connections(
    environ={},
    given={
        "azure": AzureOpenAIConnection("https://a.example", "k"),
        "search": SerpConnection("k"),
        "mine": CustomConnection(secrets={"token": "t"}, configs={"place": "p"}),
    },
)

TOP = "inputs:\n  text: {type: string, default: hello}\noutputs:\n  out: {type: string, reference: '${n.output}'}\n"


def flow_in(
    folder: Path, code: str, inputs: str, kind: str = "python", source: str = ""
) -> dag.Flow:
    """A flow of one node `n` with this code and these inputs, one a line."""
    (folder / "t.py").write_text(code)
    source = source or "{type: code, path: t.py}"
    lines = "".join(f"    {line}\n" for line in inputs.strip().splitlines())
    (folder / "flow.dag.yaml").write_text(
        f"{TOP}nodes:\n- name: n\n  type: {kind}\n  source: {source}\n  inputs:\n{lines or '    {}'}"
    )
    return dag.load(folder)


def body_of(folder: Path, code: str, inputs: str = "", **more: str) -> Body:
    flow = flow_in(folder, code, inputs, **more)
    return python_body(flow, flow.nodes[0], CONNECTIONS)


async def run(folder: Path, code: str, inputs: str = "", **more: str) -> Any:
    flow = flow_in(folder, code, inputs, **more)
    plan = Plan(flow, {each.name: python_body(flow, each, CONNECTIONS) for each in flow.nodes})
    async with Engine(SystemClock()) as engine:
        result = await engine.run(plan, {})
    if result.error is not None:
        raise result.error
    return result.outputs["out"]


SHOW = "from promptflow.core import tool\n@tool\ndef show({}):\n    return {}\n"


async def test_the_function_with_the_decorator_is_the_node(tmp_path: Path) -> None:
    code = (
        "from promptflow import tool\n"
        "def helper(text): return text.upper()\n"
        "@tool\ndef anything(text: str): return helper(text)\n"
    )
    assert await run(tmp_path, code, "text: ${inputs.text}") == "HELLO"


async def test_an_async_function_is_awaited(tmp_path: Path) -> None:
    code = (
        "from promptflow.core import tool\n@tool\nasync def f(text: str, n: int): return text * n\n"
    )
    body = body_of(tmp_path, code, "text: ${inputs.text}\nn: '2'")
    assert body.is_async
    assert await body.call(text="ab", n="2") == "abab"


@pytest.mark.parametrize(
    ("annotation", "literal", "expected"),
    [
        ("int", "'3'", 3),
        ("float", "2", 2.0),
        ("bool", "'True'", True),
        ("str", "5", "5"),
        ("list", "'[1, 2]'", [1, 2]),
        ("dict", "'{\"a\": 1}'", {"a": 1}),
        ("'int'", "'3'", 3),
        ("'int | None'", "'3'", 3),
        ("'Optional[float]'", "'3'", 3.0),
        ("object", "plain words", "plain words"),
    ],
)
async def test_a_literal_becomes_what_the_annotation_says(
    tmp_path: Path, annotation: str, literal: str, expected: object
) -> None:
    code = "from typing import Optional\n" + SHOW.format(f"x: {annotation}", "x")
    found = await run(tmp_path, code, f"x: {literal}")
    assert found == expected
    assert type(found) is type(expected)


async def test_a_parameter_without_annotation_takes_the_type_of_its_default(tmp_path: Path) -> None:
    assert await run(tmp_path, SHOW.format("x=1.5", "x"), "x: '2'") == 2.0


async def test_null_and_empty_literals_leave_the_default(tmp_path: Path) -> None:
    code = SHOW.format("a: str = 'A', b: int = 2, c: str = 'C'", "[a, b, c]")
    assert await run(tmp_path, code, "a: ''\nb: null\nc: given") == ["A", 2, "given"]


async def test_an_empty_text_is_a_text_where_there_is_no_default(tmp_path: Path) -> None:
    assert await run(tmp_path, SHOW.format("a: str", "[a]"), "a: ''") == [""]
    with pytest.raises(FlowFormatError, match="'a' of the node 'n' is empty"):
        body_of(tmp_path, SHOW.format("a: int", "a"), "a: ''")


async def test_a_literal_for_a_connection_is_its_name(tmp_path: Path) -> None:
    code = (
        "from typing import Union\n"
        "from promptflow.connections import AzureOpenAIConnection, OpenAIConnection\n"
        + SHOW.format("c: Union[AzureOpenAIConnection, OpenAIConnection]", "c.api_base")
    )
    assert await run(tmp_path, code, "c: azure") == "https://a.example"
    with pytest.raises(FlowFormatError, match="SerpConnection") as caught:
        body_of(tmp_path, code, "c: search")
    assert (caught.value.line, caught.value.field) == (10, "inputs.c")
    with pytest.raises(ConnectionMissingError, match="'n' names the connection 'nobody'"):
        body_of(tmp_path, code, "c: nobody")


async def test_a_custom_connection_becomes_the_users_own_type(tmp_path: Path) -> None:
    code = (
        "from promptflow.connections import CustomStrongTypeConnection\n"
        "from promptflow.contracts.types import Secret\n"
        "class Mine(CustomStrongTypeConnection):\n"
        "    token: Secret\n"
        "    place: str = 'default'\n"
        + SHOW.format("c: Mine", "[type(c).__name__, c.token, c.place]")
    )
    assert await run(tmp_path, code, "c: mine") == ["Mine", "t", "p"]


async def test_marked_texts_and_enums_are_texts(tmp_path: Path) -> None:
    code = (
        "from enum import Enum\nfrom pathlib import Path\n"
        "from promptflow.contracts.types import FilePath, Secret\n"
        "class Colour(str, Enum):\n    RED = 'red'\n"
        + SHOW.format(
            "f: FilePath, s: Secret, e: Colour",
            "[Path(f).read_text()[:9], s, type(s).__name__, e == Colour.RED, f'{e}']",
        )
    )
    found = await run(tmp_path, code, "f: t.py\ns: hidden\ne: red")
    assert found == ["from enum", "hidden", "Secret", True, "red"]


async def test_an_image_is_read_beside_the_flow(tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    code = "from promptflow.contracts.multimedia import Image\n" + SHOW.format(
        "i: Image", "[len(i), i.mime_type]"
    )
    assert await run(tmp_path, code, 'i: {"data:image/png;path": dot.png}') == [12, "image/png"]


def test_an_input_that_the_function_does_not_take_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(FlowFormatError, match="Did you mean 'question'") as caught:
        body_of(tmp_path, SHOW.format("question: str", "1"), "question: a\nquestoin: b")
    assert (caught.value.node, caught.value.line) == ("n", 11)


def test_what_the_function_needs_and_does_not_get_is_told(tmp_path: Path) -> None:
    with pytest.raises(FlowFormatError, match="lacks what its tool needs: 'b', 'c'"):
        body_of(tmp_path, SHOW.format("a, b, c, d=1", "1"), "a: 1")


def test_a_literal_of_the_wrong_type_is_told_with_its_line_and_without_its_text(
    tmp_path: Path,
) -> None:
    with pytest.raises(FlowFormatError, match="'x' of the node 'n' is not int") as caught:
        body_of(tmp_path, SHOW.format("x: int", "x"), "x: seven")
    assert caught.value.line == 10
    assert "seven" not in str(caught.value)


async def test_more_inputs_go_to_a_function_that_takes_more(tmp_path: Path) -> None:
    code = SHOW.format("**more", "sorted(more.items())")
    assert await run(tmp_path, code, "a: ${inputs.text}\nb: 1") == [("a", "hello"), ("b", 1)]


async def test_a_method_of_a_tool_provider_is_a_node(tmp_path: Path) -> None:
    code = (
        "from promptflow.core import ToolProvider, tool\n"
        "class T(ToolProvider):\n"
        "    def __init__(self, times: int):\n        super().__init__()\n        self.times = times\n"
        "    @tool\n    def go(self, text: str): return text * self.times\n"
    )
    assert await run(tmp_path, code, "times: '2'\ntext: ${inputs.text}") == "hellohello"


async def test_a_function_may_import_prompt_flow_when_it_is_called(tmp_path: Path) -> None:
    code = (
        "from promptflow.core import tool\n@tool\ndef f():\n"
        "    from promptflow.contracts.types import PromptTemplate\n"
        "    return PromptTemplate('x')\n"
    )
    assert await run(tmp_path, code) == "x"


def test_what_of_prompt_flow_is_not_here_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(FlowFormatError, match=r"no module 'promptflow\.azure'.*pf run") as caught:
        body_of(tmp_path, "\nfrom promptflow.azure import PFClient\n")
    assert caught.value.line == 2
    with pytest.raises(FlowFormatError, match=r"no 'tol' in 'promptflow\.core'.*'tool'"):
        body_of(tmp_path, "from promptflow.core import tol\n")


PACKAGE = """
from promptflow.core import tool, ToolProvider
from promptflow.connections import CustomConnection
from promptflow.contracts.types import PromptTemplate

@tool
def ask(connection: CustomConnection, prompt: PromptTemplate, warmth: float, **values):
    return f"{connection.place}/{prompt}/{warmth}/{values}"

class Kind(ToolProvider):
    def __init__(self, connection: CustomConnection):
        super().__init__()
        self.connection = connection

    @tool
    def shout(self, text: str):
        return f"{self.connection.place} {text}!"

def tools():
    module = __name__
    custom = {"type": ["CustomConnection"]}
    return {
        f"{module}.ask": {
            "name": "Ask", "type": "custom_llm", "module": module, "function": "ask",
            "inputs": {"connection": custom, "warmth": {"type": ["double"]}},
        },
        f"{module}.Kind.shout": {
            "name": "Shout", "type": "python", "module": module, "class_name": "Kind",
            "function": "shout", "inputs": {"connection": custom, "text": {"type": ["string"]}},
        },
    }
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package that is installed, as far as Python can tell, and brings two tools."""
    site = tmp_path / "site"
    info = site / "flow_tools_for_test-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "flow_tools_for_test.py").write_text(PACKAGE)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: flow-tools-for-test\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text("[package_tools]\nmine = flow_tools_for_test:tools\n")
    monkeypatch.syspath_prepend(str(site))
    packages.listed_tools.cache_clear()
    yield "flow_tools_for_test"
    packages.listed_tools.cache_clear()


async def test_a_custom_llm_tool_gets_its_template_as_it_stands(
    tmp_path: Path, package: str
) -> None:
    (tmp_path / "p.jinja2").write_text("Say {{text}}")
    found = await run(
        tmp_path,
        "",
        "connection: mine\nwarmth: 1\ntext: ${inputs.text}",
        kind="custom_llm",
        source=f"{{type: package_with_prompt, tool: {package}.ask, path: p.jinja2}}",
    )
    # As in prompt flow, it is told which of its values come from the flow's inputs.
    assert found == "p/Say {{text}}/1.0/{'text': 'hello', '_inputs_to_escape': ['text']}"


async def test_a_package_tool_may_be_a_method(tmp_path: Path, package: str) -> None:
    source = f"{{type: package, tool: {package}.Kind.shout}}"
    inputs = "connection: mine\ntext: ${inputs.text}"
    assert await run(tmp_path, "", inputs, source=source) == "p hello!"


def test_a_package_tool_that_there_is_not_is_told(tmp_path: Path, package: str) -> None:
    source = f"{{type: package, tool: {package}.asc}}"
    with pytest.raises(FlowFormatError, match=rf"Did you mean '{package}\.ask'"):
        body_of(tmp_path, "", "", source=source)


async def test_metrics_that_an_aggregation_logs_are_collected(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(
        "from promptflow.core import log_metric, tool\n"
        "@tool\ndef f(grades: list):\n    log_metric('mean', sum(grades) / len(grades))\n    return grades\n"
    )
    (tmp_path / "flow.dag.yaml").write_text(
        "inputs:\n  grade: {type: int}\noutputs: {}\nnodes:\n- name: n\n  type: python\n"
        "  source: {type: code, path: t.py}\n  aggregation: true\n  inputs: {grades: '${inputs.grade}'}\n"
    )
    flow = dag.load(tmp_path)
    plan = Plan(flow, {"n": python_body(flow, flow.nodes[0], CONNECTIONS)})
    async with Engine(SystemClock()) as engine:
        lines: list[LineResult] = [await engine.run(plan, {"grade": each}) for each in (2, 4)]
        with collecting() as metrics:
            result = await engine.aggregate(plan, lines)
    assert result.error is None
    assert metrics == {"mean": 3.0}


def test_a_constructor_that_fails_is_told_without_its_words(tmp_path: Path) -> None:
    code = (
        "from promptflow.core import ToolProvider, tool\nclass T(ToolProvider):\n"
        "    def __init__(self): raise ValueError('private')\n"
        "    @tool\n    def go(self): return 1\n"
    )
    with pytest.raises(FlowError, match="ValueError") as caught:
        body_of(tmp_path, code)
    assert "private" not in str(caught.value)


async def test_two_flows_may_each_have_a_module_of_the_same_name(tmp_path: Path) -> None:
    code = (
        "from promptflow.core import tool\nfrom shared_words import WORD\n"
        "@tool\ndef f():\n    import later_words\n    return WORD + later_words.WORD\n"
    )
    for name in ("one", "two", "one"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "shared_words.py").write_text(f"WORD = {name!r}\n")
        (folder / "later_words.py").write_text("WORD = '!'\n")
        assert await run(folder, code) == f"{name}!"


def test_folders_come_first_on_the_path_for_blocks_that_may_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    one, two = str((tmp_path / "one").resolve()), str((tmp_path / "two").resolve())
    first, second = on_path(tmp_path / "one"), on_path(tmp_path / "two")
    first.__enter__()
    thread = threading.Thread(target=second.__enter__)  # a block may begin in one thread …
    thread.start()
    thread.join(5)
    assert sys.path[:2] == [two, one]
    first.__exit__(None, None, None)
    assert sys.path[0] == two
    second.__exit__(None, None, None)  # … and end in another
    assert sys.path[-2:] == [one, two]
    assert (sys.path.count(one), sys.path.count(two)) == (1, 1)


async def test_a_source_may_lie_in_what_the_flow_includes(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "flow"
    elsewhere.mkdir()
    folder.mkdir()
    (elsewhere / "greet.py").write_text(
        "from promptflow.core import tool\nfrom words_beside import WORD\n"
        "@tool\ndef greet(text: str): return WORD + text\n"
    )
    (elsewhere / "words_beside.py").write_text("WORD = 'oh '\n")
    (folder / "flow.dag.yaml").write_text(
        f"additional_includes: [../elsewhere/greet.py, ../elsewhere/words_beside.py]\n{TOP}"
        "nodes:\n- {name: n, type: python, source: {type: code, path: greet.py},"
        " inputs: {text: '${inputs.text}'}}\n"
    )
    flow = dag.load(folder)
    assert python_body(flow, flow.nodes[0], CONNECTIONS).call(text="x") == "oh x"
