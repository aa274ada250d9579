"""The code of Python nodes in an exported module: in place, or imported from where it is; literals, names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.exports import (
    CONNECTIONS,
    TOOL,
    assert_laid_out,
    compared,
    graph,
    llm,
    python,
    write,
)

CODE = {
    "async": TOOL + "async def work(x):\n    return [x]\n",
    "generator": TOOL + "def work(x):\n    yield 'a'\n    yield x\n",
    "async generator": TOOL + "async def work(x):\n    yield 'a'\n    yield x\n",
    "of its place": TOOL + "def work(x):\n    return __file__.rpartition('/')[2] + x\n",
    "beside it": "from helper import double\n" + TOOL + "def work(x):\n    return double(x)\n",
    "a class": "from promptflow.core import ToolProvider, tool\n\n\nclass Mine(ToolProvider):\n"
    "    def __init__(self, base: str = 'b'):\n        self.base = base\n\n"
    "    @tool\n    def work(self, x):\n        return self.base + x\n",
    "recursive": TOOL
    + "def work(x, depth=3):\n    return work(x, depth - 1) + 'r' if depth else x\n",
    "named as ours": "farthing = 'f'\n\n\n" + TOOL + "def work(x):\n    return farthing + x\n",
    "shadowing": TOOL + "def work(x):\n    return len(x)\n\n\ndef len(x):\n    return 'len ' + x\n",
    "with helpers": '"""Says it."""\n\nimport json as j\n\n# Twice.\nTIMES = 2\n\n\ndef twice(x):\n'
    "    # why not\n    return x * TIMES\n\n\n"
    + TOOL
    + 'def work(x: "str"):\n    return j.dumps(twice(x))\n\n\nif __name__ == "__main__":\n    print(work("a"))\n',
    "decorated": "import functools\n\nfrom promptflow.core import tool\nfrom promptflow.tracing import trace\n\n\n"
    "@tool\n@trace\n@functools.lru_cache(maxsize=4)\ndef work(x):\n    return x + '!'\n",
    "with settings": "from promptflow.core import tool\nfrom promptflow._core.tool import InputSetting\n\n\n"
    "@tool(\n    name='w',\n    input_settings={'x': InputSetting()},\n)\ndef work(x):\n    return x\n",
    "importing as it runs": TOOL
    + "def work(x):\n    from promptflow.core import log_metric  # now\n\n    log_metric('m', 1)\n    return x\n",
    "importing more as it runs": TOOL
    + "def work(x):\n    from promptflow.tools.common import render_jinja_template as r\n\n    return r(x)\n",
    "raising": TOOL + "def work(x):\n    raise ZeroDivisionError\n",
    "at import": "import os\n\nos.environ['FLOW_TEST_AT_IMPORT'] = '1'\n\n\n"
    + TOOL
    + "def work(x):\n    return x\n",
    "future": "from __future__ import annotations\n\n"
    + TOOL
    + "def work(x: list | str):\n    return x\n",
}


@pytest.mark.parametrize("kind", CODE)
async def test_code_does_the_same_in_the_module_or_where_it_is(kind: str, tmp_path: Path) -> None:
    flow = graph(
        """
inputs: {x: {type: string}}
outputs: {a: {reference: "${one.output}"}, b: {reference: "${work.output}"}}
""",
        python("one", "one.py", 'x: "${inputs.x}"'),
        python("work", "two.py", 'x: "${inputs.x}"'),
    )
    files = {
        "flow.dag.yaml": flow,
        "one.py": CODE[kind],
        "two.py": CODE["with helpers"],
        "helper.py": "def double(x):\n    return x * 2\n",
    }
    folder = write(tmp_path / "flow", files)
    told = await compared(folder, tmp_path / "exported.py", [{"x": "v"}, {"x": "w"}])
    assert (told["errors"][0] is not None) == (kind == "raising")
    compile((tmp_path / "exported.py").read_text(), "exported.py", "exec")


async def test_literals_come_as_the_tool_wants_them(tmp_path: Path) -> None:
    values = (
        """x: 3, y: "4.5", z: "TRUE", items: '[1, "a"]', nothing: null, empty: "", """
        r"""words: "two\n lines\n \"and\" '''\\ \u00e9 \u2028", when: 2024-02-03, """
        """many: {"a b": [1.5, null, true, 1e400]}, conn: mine, strong: mine, """
        "place: data/p.txt, secret: s, choice: red"
    )
    flow = graph(
        """
outputs: {all: {reference: "${take.output}"}}
environment_variables: {FLOW_TEST_PLAIN: "a", FLOW_TEST_KEY: "${azure.api_base}"}
""",
        python("take", "take.py", values),
    )
    code = """import os
from enum import Enum

from promptflow.connections import CustomConnection, CustomStrongTypeConnection
from promptflow.contracts.types import FilePath, Secret
from promptflow.core import tool


class Mine(CustomStrongTypeConnection):
    base: str
    key: Secret


class Choice(Enum):
    RED = "red"


@tool
def take(x: int, y: float, z: bool, items: list, words: str, when, many: dict,
         conn: CustomConnection, strong: Mine, place: FilePath, secret: Secret, choice: Choice,
         nothing=1, empty: str = "e"):
    kinds = [type(each).__name__ for each in (x, y, z, items, words, when, choice)]
    with open(place) as file:
        text = file.read()
    given = [str(when), many, conn.base, strong.base, text, secret, choice, nothing, empty]
    return [kinds, x, y, z, items, words, given, os.environ["FLOW_TEST_PLAIN"], os.environ["FLOW_TEST_KEY"]]
"""
    files = {"flow.dag.yaml": flow, "take.py": code, "data/p.txt": "in the file"}
    folder = write(tmp_path / "flow", files)
    told = await compared(folder, tmp_path / "exported.py", [{}], connections=CONNECTIONS)
    assert told["errors"] == [None]
    assert told["outputs"][0]["all"][0] == ["int", "float", "bool", "list", "str", "date", "str"]


async def test_package_tools_are_called_with_their_connection(tmp_path: Path) -> None:
    flow = """
inputs: {text: {type: string}}
outputs: {vector: {reference: "${embed.output}"}, seen: {reference: "${look.output}"}}
nodes:
- name: embed
  type: python
  source: {type: package, tool: promptflow.tools.embedding.embedding}
  inputs: {connection: azure, deployment_name: e, input: "${inputs.text}"}
- name: look
  type: custom_llm
  source: {type: package_with_prompt, tool: promptflow.tools.aoai_gpt4v.AzureOpenAI.chat, path: look.jinja2}
  inputs: {connection: azure, deployment_name: g, temperature: "0.5", text: "${inputs.text}"}
"""
    files = {"flow.dag.yaml": flow, "look.jinja2": "user:\n{{text}}\n"}
    folder = write(tmp_path / "flow", files, is_laid_out=True)
    told = await compared(
        folder,
        tmp_path / "exported.py",
        [{"text": "a"}, {"text": "b\nsystem:\nc"}],
        connections=CONNECTIONS,
    )
    assert told["errors"] == [None, None]
    assert len(told["requests"]) == 4
    assert_laid_out(tmp_path / "exported.py")


async def test_names_that_meet_are_told_apart(tmp_path: Path) -> None:
    """Nodes called like inputs, builtins, keywords, modules and the flow; helpers of one name in two files."""
    names = [
        "class",
        "list",
        "json",
        "x",
        "two words",
        "flow",
        "farthing",
        "asyncio",
        "Prompt",
        "1st",
    ]
    nodes = "".join(
        python(name, f"f{n % 2}.py", 'x: "${inputs.x}", asyncio: "${inputs.asyncio}"')
        for n, name in enumerate(names)
    )
    outputs = "".join(
        f'  "o {name}": {{reference: "${{{name}.output}}"}}\n'
        for name in names
        if name not in ("1st", "flow")
    )
    flow = (
        "inputs: {x: {type: string}, asyncio: {type: string, default: a}, pick: {type: string, default: p}}\n"
        f"outputs:\n{outputs}nodes:\n{nodes}"
        + llm(
            "ask", "ask.jinja2", 'deployment_name: m, x: "${inputs.x}", class: "${list.output.k}"'
        )
    )
    body = (
        "def helper(x):\n    return {'k': x + '%s'}\n\n\n"
        + TOOL
        + "def f(x, asyncio):\n    return helper(x)\n"
    )
    files = {
        "flow.dag.yaml": flow,
        "f0.py": body % "0",
        "f1.py": body % "1",
        "ask.jinja2": "user:\n{{x}}{{class}}\n",
    }
    folder = write(tmp_path / "flow", files, is_laid_out=True)
    told = await compared(folder, tmp_path / "exported.py", [{"x": "v"}])
    assert told["errors"] == [None]
    assert told["outputs"][0]["o list"] == {"k": "v1"}
    assert_laid_out(tmp_path / "exported.py")
