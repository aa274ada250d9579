"""Changing a graph's file: what was not meant stays as it was, byte for byte."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core.errors import FlowFormatError
from farthing.flows.dag import format as dag
from farthing.flows.dag.edit import Editor
from tests.flows.broken_flows import GRAPH, PROJECT, Slip, broken

COMMENTED = PROJECT[GRAPH].replace("  times:\n", "  # how often\n  times:   # at least 1\n").replace(
    "connection: main\n  api", "connection: 'main'\n  api"
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = broken(tmp_path, Slip("did nothing"))
    (found / "flow.dag.yaml").write_text(COMMENTED)
    return found


def changed_lines(folder: Path) -> list[str]:
    """What is different from COMMENTED: lines with - and +."""
    now = (folder / "flow.dag.yaml").read_text().splitlines()
    found = difflib.unified_diff(COMMENTED.splitlines(), now, n=0, lineterm="")
    return [line for line in found if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def test_a_file_that_is_not_changed_is_written_as_it_was(folder: Path) -> None:
    Editor(folder).save()
    assert not changed_lines(folder)


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (lambda e: e.set_input("times", default=3), ["-    default: 2", "+    default: 3"]),
        (
            lambda e: e.set_node("ask", connection="other"),
            ["-  connection: 'main'", "+  connection: 'other'"],
        ),
        (
            lambda e: e.set_node_input("prepare", "mark", "!"),
            ['-    mark: "?"', '+    mark: "!"'],
        ),
        (
            lambda e: e.set_source("shorten", "long.jinja2"),
            ["-            path: short.jinja2", "+            path: long.jinja2"],
        ),
        (
            lambda e: e.set_source("shorten", "short.jinja2", variant="second"),
            ["-            path: long.jinja2", "+            path: short.jinja2"],
        ),
        (
            lambda e: e.set_default_variant("shorten", "second"),
            ["-    default_variant_id: first", "+    default_variant_id: second"],
        ),
        (lambda e: e.remove_node_input("finish", "limit"), ["-    limit: 80"]),
        (
            lambda e: e.set_output("text", "${ask.output}"),
            ["+  text:", "+    type: string", "+    reference: ${ask.output}"],
        ),
        (
            lambda e: e.rename_node("prepare", "ready"),
            [
                "-- name: prepare", "+- name: ready",
                "-    question: ${prepare.output}", "+    question: ${ready.output}",
            ],
        ),
    ],
)  # fmt: skip
def test_a_change_touches_its_own_lines_only(
    folder: Path, change: Callable[[Editor], None], lines: list[str]
) -> None:
    editor = Editor(folder)
    change(editor)
    editor.save()
    assert changed_lines(folder) == lines


@pytest.mark.parametrize(
    "layout",
    [
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("type: string\n", "type:   string\n"),
        lambda text: re.sub(
            r"(?m)^(?=- |  )(?=.*)", "  ", text[text.index("nodes:") : text.index("node_variants")]
        ) + "inputs: { question: {type: string} ,\n  times: {type: int,  default: 2}}\n",
        lambda text: text + "description: a text\n  on two lines\n",
    ],
    ids=["no end", "windows", "mark", "wide", "indented", "wrapped"],
)  # fmt: skip
def test_the_layout_of_the_file_stays(folder: Path, layout: Callable[[str], str]) -> None:
    file = folder / "flow.dag.yaml"
    text = layout(COMMENTED).replace("${shorten.output}", "${ask.output}")
    if "node_variants" not in text:
        text = text.replace("  - name: shorten\n    use_variants: true\n", "")
    file.write_bytes(text.encode())
    editor = Editor(folder)
    editor.save()
    assert file.read_bytes() == text.encode()
    editor.set_node_input("prepare", "mark", "changed")
    editor.set_node_input("finish", "limit", 81)
    editor.save()
    changed = text.replace('"?"', '"changed"').replace("limit: 80", "limit: 81")
    assert file.read_bytes() == changed.encode()
    assert changed != text


def test_a_node_with_variants_is_renamed_with_them(folder: Path) -> None:
    editor = Editor(folder)
    editor.rename_node("shorten", "brief")
    editor.save()
    flow = dag.load(folder)
    assert set(flow.variants) == {"brief"}
    assert flow.node("finish").sources() == ("brief",)


def test_nodes_and_variants_are_added_and_taken_away(folder: Path) -> None:
    editor = Editor(folder)
    editor.add_variant("ask", "warm", connection="other")
    editor.add_node(
        {
            "name": "again",
            "type": "prompt",
            "source": {"type": "code", "path": "short.jinja2"},
            "inputs": {"answer": "${ask.output}"},
        }
    )
    editor.set_output("again", "${again.output}")
    editor.remove_node("count")
    editor.save()
    flow = dag.load(folder)
    assert flow.variants["ask"].default == "variant_0"
    assert flow.variants["ask"].nodes["warm"].connection == "other"
    assert flow.node("ask").connection == "main"
    assert flow.node("again").sources() == ("ask",)
    assert "count" not in {node.name for node in flow.nodes}


def test_what_would_break_the_flow_is_refused_and_nothing_written(folder: Path) -> None:
    editor = Editor(folder)
    editor.remove_node("ask")
    with pytest.raises(FlowFormatError, match="refers to the node 'ask'"):
        editor.save()
    assert not changed_lines(folder)
    wrongs: list[tuple[Callable[[], object], str]] = [
        (lambda: Editor(folder).set_node("aks", api="chat"), "'ask'"),
        (lambda: Editor(folder).set_default_variant("shorten", "secnd"), "'second'"),
        (lambda: Editor(folder).remove_input("tims"), "'times'"),
        (lambda: Editor(folder).remove_node_input("finish", "limt"), "'limit'"),
        (lambda: Editor(folder).add_node({"name": "ask"}), "already"),
        (lambda: Editor(folder).rename_node("ask", "finish"), "already"),
        (lambda: Editor(folder).add_variant("shorten", "first"), "already"),
    ]
    for wrong, near in wrongs:
        with pytest.raises(FlowFormatError, match=near):
            wrong()


_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=30)
_VALUES = st.one_of(
    _TEXTS, st.integers(), st.booleans(), st.lists(_TEXTS, max_size=3),
    st.dictionaries(_TEXTS, st.integers(), max_size=3),
)  # fmt: skip


@settings(max_examples=20, deadline=None)  # each writes a file three times
@given(values=st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), _VALUES, max_size=4),
       comment=_TEXTS)  # fmt: skip
def test_values_come_back_as_they_were_set_and_the_rest_stays(
    values: dict[str, object], comment: str
) -> None:
    with TemporaryDirectory() as name:
        folder = broken(Path(name), Slip("did nothing"))
        head = "".join(f"# {line}\n" for line in comment.splitlines())
        (folder / "flow.dag.yaml").write_text(head + COMMENTED, encoding="utf-8")
        editor = Editor(folder)
        for key, value in values.items():
            editor.set_node_input("count", key, value)
        editor.save()
        text = (folder / "flow.dag.yaml").read_text(encoding="utf-8")
        ports = {port.name: port.value for port in dag.load(folder).node("count").inputs}
        assert {key: ports[key] for key in values} == values
        again = Editor(folder)
        again.save()
        assert (folder / "flow.dag.yaml").read_text(encoding="utf-8") == text
        for key in values:
            again.remove_node_input("count", key)
        if "answers" in values:
            again.set_node_input("count", "answers", "${finish.output}")
        again.save()
        assert (folder / "flow.dag.yaml").read_text(encoding="utf-8") == head + COMMENTED
