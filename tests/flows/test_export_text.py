"""How exported modules are written: laid out, with comments, docstrings and what cannot be exported."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import FlowFormatError, FlowInputError
from farthing.flows.dag import format as dag
from farthing.flows.export.comments import Comments
from farthing.flows.export.export import export, exported
from farthing.flows.export.layout import WIDTH, block, call, keyword, lines, literal, text
from farthing.flows.graph import Span
from tests.flows.exports import TOOL, assert_laid_out, graph, llm, python, write

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(VALUES)
def test_a_literal_is_read_as_the_value_that_it_is(value: Any) -> None:
    source = "\n".join(lines("found = ", call("f", [keyword("value", literal(value))])))
    scope: dict[str, Any] = {"f": lambda value: value}
    exec(source, scope)
    assert scope["found"] == value


@given(st.text())
def test_a_text_is_read_as_it_is_on_one_line_or_on_many(value: str) -> None:
    value = value.encode("utf-8", "ignore").decode()
    assert ast.literal_eval(text(value)) == value
    assert "\n" not in text(value)
    assert ast.literal_eval(block(value)) == value


@pytest.mark.parametrize(
    "value", ['"', '\\"', '""', '"""', '\\"""', "\\", 'a\n"', "\r\n", "a\\\nb"]
)
def test_quotes_and_backslashes_at_the_end_of_a_text_end_nothing(value: str) -> None:
    assert ast.literal_eval(block(value)) == ast.literal_eval(text(value)) == value


def test_what_fits_a_line_stands_on_one_and_what_does_not_on_its_own() -> None:
    value = {"key": ["word " * 4] * 3, "other": {"a": 1}}
    assert lines("x = ", literal({"a": [1, 2]})) == ['x = {"a": [1, 2]}']
    made = lines("x = ", literal(value))
    assert made[0] == "x = {"
    assert made[-1] == "}"
    assert max(map(len, made)) <= WIDTH


YAML = """\
# Of the file.
inputs:
  a: {type: string}  # of an input
nodes:
# Asks.
# Twice.
- name: ask  # its name
  type: llm
  inputs:
    # Why so many?
    max_tokens: 5
    text: "# no comment"
    more: |
      # none either
  # The end of ask.

# Of tell.
- name: tell
  type: python
other: 1 # of other
"""


def test_comments_belong_to_the_entry_below_them_and_to_that_around_them() -> None:
    comments = Comments(YAML)
    assert comments.of(Span("", 7, 3)) == [
        "Asks.",
        "Twice.",
        "its name",
        "Why so many?",
        "The end of ask.",
    ]
    assert comments.of(Span("", 18, 3)) == ["Of tell."]
    assert comments.of(Span("", None)) == comments.of(Span("", 99)) == []


async def test_a_module_reads_like_one_that_was_written_by_hand(tmp_path: Path) -> None:
    head = """
description: Answers a question
inputs:
  question: {type: string, description: what is asked}
  facts: {type: list, default: []}
outputs: {answer: {reference: "${ask.output}"}}
"""
    flow = graph(
        head,
        "# Only what is known.\\n".replace("\\n", "\n"),
        python("pick_facts", "facts.py", 'facts: "${inputs.facts}", upto: 3'),
        llm(
            "ask",
            "ask.jinja2",
            'deployment_name: m, question: "${inputs.question}", facts: "${pick_facts.output}"',
        ),
    )
    facts = (
        "from promptflow.core import tool\n\n\n@tool\ndef facts(facts: list, upto: int) -> list:\n"
    )
    files = {
        "flow.dag.yaml": flow,
        "facts.py": facts + "    return facts[:upto]\n",
        "ask.jinja2": "user:\n{{question}}\n{{facts}}\n",
    }
    folder = write(tmp_path / "answering", files)
    made = export(folder, tmp_path / "made.py")
    assert_laid_out(made)
    assert (
        made.read_text()
        == '''"""Answers a question.

Written by `farthing flow export`. It is a flow as the one that it was written from.
"""

from typing import Any

import farthing
from farthing.flows import Prompt


# Only what is known.
@farthing.node
def pick_facts(facts: list, upto: int) -> list:
    return facts[:upto]


ASK_TEMPLATE = Prompt(
    """\\
user:
{{question}}
{{facts}}
""",
    untrusted=["question"],
)


@farthing.node
async def ask(question: str, facts: Any) -> str:
    return await ASK_TEMPLATE.ask(deployment_name="m", question=question, facts=facts)


@farthing.flow
async def answering(question: str, facts: list[Any] = []) -> dict[str, Any]:
    """Answers a question.

    question: what is asked.
    """
    pick_facts_output = await pick_facts(facts=facts, upto=3)
    ask_output = await ask(question=question, facts=pick_facts_output)
    return {"answer": ask_output}
'''
    )


REFUSED = {
    "an input that is no name": (
        'inputs: {"my input": {type: string}}\nnodes: []\n',
        r"flow\.dag\.yaml:1.*'my input' cannot be a parameter.*my_input",
    ),
    "a tool that is not there": (
        "nodes:\n- name: a\n  type: python\n  source: {type: package, tool: no.such.tool}\n",
        r"flow\.dag\.yaml:2.*'a' cannot be made.*no package tool 'no\.such\.tool'",
    ),
    "code that cannot be imported": (
        graph("", python("a", "broken.py")),
        r"broken\.py:1: It imports 'no_such_package'",
    ),
    "an input that its tool does not take": (
        graph("", python("a", "fine.py", "x: 1, z: 2")),
        r"flow\.dag\.yaml.*'z' of the node 'a' is no parameter",
    ),
    "a value that Python has no word for": (
        graph("", python("a", "fine.py", "x: !!set {1}")),
        r"flow\.dag\.yaml.*'x' of the node 'a' is a .*which cannot be written",
    ),
    "no flow": ("a: [1\n", r"flow\.dag\.yaml:\d+"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(
    what: str, tmp_path: Path
) -> None:
    flow, message = REFUSED[what]
    files = {
        "flow.dag.yaml": flow,
        "broken.py": "import no_such_package\n" + TOOL + "def broken(): pass\n",
        "fine.py": TOOL + "def fine(x): return x\n",
    }
    folder = write(tmp_path / "flow", files)
    with pytest.raises(FlowFormatError, match=message):
        export(folder, tmp_path / "exported.py")
    assert sorted(tmp_path.iterdir()) == [folder]


def test_a_file_that_is_there_is_replaced_only_when_that_is_said(tmp_path: Path) -> None:
    files = {"flow.dag.yaml": graph("", python("a", "a.py")), "a.py": TOOL + "def a(): pass\n"}
    folder = write(tmp_path / "flow", files)
    target = tmp_path / "exported.py"
    target.write_text("mine")
    with pytest.raises(FlowInputError, match=r"exported\.py is there already.*--force"):
        export(folder, target)
    assert target.read_text() == "mine"
    assert export(folder, target, replaces=True) == target
    assert "@farthing.flow" in target.read_text()
    with pytest.raises(FlowInputError, match=r"none.*cannot be written"):
        export(folder, tmp_path / "none" / "exported.py")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["exported.py", "flow"]


def test_a_flex_flow_is_python_already(tmp_path: Path) -> None:
    files = {"flow.flex.yaml": "entry: mine:answer\n", "mine.py": "def answer(): pass\n"}
    folder = write(tmp_path / "flow", files)
    with pytest.raises(FlowFormatError, match=r"'answer' in .*mine\.py.*@farthing\.flow"):
        export(folder, tmp_path / "exported.py")
    write(tmp_path, {"own.py": "import farthing\n"})
    with pytest.raises(FlowFormatError, match="Python already"):
        export(tmp_path / "own.py", tmp_path / "exported.py")


def test_a_long_template_stays_in_its_file(tmp_path: Path) -> None:
    files = {
        "flow.dag.yaml": graph("", llm("ask", "sub/ask.jinja2", "deployment_name: m")),
        "sub/ask.jinja2": "user:\n" + "a line\n" * 200,
    }
    folder = write(tmp_path / "flow", files)
    text = exported(dag.load(folder), tmp_path / "exported.py")
    assert 'Prompt.read(FOLDER / "sub/ask.jinja2")' in text
    assert 'FOLDER = Path(__file__).resolve().parent / "flow"' in text
    assert "a line" not in text
