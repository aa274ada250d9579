"""Experiment files: what they may say, how their commands are put together, and what is wrong with one."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from farthing.base.clock import SystemClock
from farthing.core.errors import ConflictError, FlowFormatError, NotFoundError
from farthing.flows.experiment import command
from farthing.flows.experiment.command import CommandFailedError, words_of
from farthing.flows.experiment.file import Node, Reference, load, reference_of
from farthing.flows.experiment.record import Store

FILE = """data:
  - name: rows
    path: rows.jsonl
inputs:
  - name: count
    type: int
    default: 3
nodes:
  - name: judge
    type: flow
    path: flow
    inputs:
      answer: ${main.outputs.answer}
      truth: ${data.rows.truth}
  - name: main
    type: flow
    path: flow
    inputs:
      question: ${make.outputs.made.question}
      count: ${inputs.count}
  - name: make
    type: command
    command: python make.py --from ${inputs.source} --to ${outputs.made}
    inputs:
      source: ${data.rows}
    outputs:
      made:
"""


def written(folder: Path, text: str = FILE) -> Path:
    (folder / "flow").mkdir(exist_ok=True)
    (folder / "experiment.yaml").write_text(text)
    return folder / "experiment.yaml"


def test_nodes_stand_behind_those_they_refer_to(tmp_path: Path) -> None:
    found = load(written(tmp_path))
    assert [(each.name, each.sources()) for each in found.nodes] == [
        ("make", ()),
        ("main", ("make",)),
        ("judge", ("main",)),
    ]
    assert (found.data, found.inputs) == ({"rows": tmp_path / "rows.jsonl"}, {"count": 3})


CHAT = """data: [{name: rows, path: rows.jsonl}]
nodes:
  - name: talk
    type: chat_group
    max_turns: 4
    max_tokens: 100
    stop_signal: "[STOP]"
    roles:
      - role: user
        path: flow
        inputs: {topic: '${data.rows.topic}', said: '${parent.conversation_history}'}
      - role: assistant
        path: flow
        inputs: {said: '${parent.conversation_history}'}
"""


def test_a_chat_group_takes_the_inputs_of_its_roles(tmp_path: Path) -> None:
    found = load(written(tmp_path, CHAT))
    (talk,) = found.nodes
    assert talk.inputs == {"user.topic": "${data.rows.topic}"}
    assert [(each.name, each.history) for each in talk.roles] == [
        ("user", "said"),
        ("assistant", "said"),
    ]
    assert found.notes == ("'max_tokens' of the node 'talk' has no effect here.",)
    assert reference_of("${talk.conversation_history}") == Reference(
        "talk", "outputs", "conversation_history"
    )
    for old, new, message in (
        ("max_turns: 4", "max_turns: 0", "whole number from 1"),
        ("role: assistant", "role: user", "comes twice"),
    ):
        with pytest.raises(FlowFormatError, match=message):
            load(written(tmp_path, CHAT.replace(old, new)))


def test_only_a_whole_value_is_a_reference() -> None:
    assert reference_of("${main.outputs.a.b}") == Reference("main", "outputs", "a", "b")
    assert reference_of("${data.rows}") == Reference("data", "", "rows")
    assert reference_of("${inputs.count}") == Reference("inputs", "", "count")
    assert reference_of("see ${data.rows}") is None
    assert reference_of(3) is None


def test_values_of_inputs_and_files_of_data_can_be_given(tmp_path: Path) -> None:
    found = load(written(tmp_path)).given({"count": "5", "rows": str(tmp_path / "other.jsonl")})
    assert (found.inputs["count"], found.data["rows"]) == ("5", tmp_path / "other.jsonl")
    with pytest.raises(FlowFormatError, match="Did you mean 'count'"):
        found.given({"cuont": "5"})


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("${main.outputs.answer}", "${mian.outputs.answer}", "Did you mean 'main'", 9),
        ("${main.outputs.answer}", "${main.output.answer}", "Did you mean 'outputs'", 9),
        ("${main.outputs.answer}", "${main}", "refers to 'main.'", 9),
        ("${main.outputs.answer}", "${mian}", "Did you mean 'main'", 9),
        ("${data.rows.truth}", "${data.row.truth}", "Did you mean 'rows'", 9),
        ("${inputs.count}", "${inputs.cuont}", "Did you mean 'count'", 15),
        (
            "${make.outputs.made.question}",
            "${make.outputs.mad.question}",
            "Did you mean 'made'",
            15,
        ),
        ("${data.rows}", "${judge.outputs}", "wait for each other", 9),
        ("type: command", "type: comand", "Did you mean 'command'", 22),
        ("type: command", "type: chat_group", "fewer than two roles", 22),
        (
            "path: flow\n    inputs:\n      answer",
            "path: flwo\n    inputs:\n      answer",
            "Did you mean 'flow'",
            11,
        ),
        ("- name: main", "- name: judge", "comes twice", 15),
        ("    command: python", "    comand: python", "has no command", 23),
        ("    path: rows.jsonl\n", "", "has no path", 2),
        ("nodes:", "node:", "has no nodes", None),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, message: str, line: int | None
) -> None:
    assert FILE.count(old) == 1
    with pytest.raises(FlowFormatError) as raised:
        load(written(tmp_path, FILE.replace(old, new)))
    assert message in str(raised.value)
    assert raised.value.line in (line, None if line is None else line - 1)


def node(text: str, folder: Path = Path()) -> Node:
    return Node(name="n", kind="command", path=folder, command=text)


def test_a_value_is_never_more_than_one_word() -> None:
    evil = "a b; touch pwned $(id) '"
    assert words_of(node("echo ${inputs.x} --x=${inputs.x}"), {"x": evil}, {}) == [
        "echo",
        evil,
        f"--x={evil}",
    ]
    program, flag, line = words_of(
        node("echo ${inputs.x} > ${outputs.o}/a"), {"x": evil}, {"o": Path("o")}
    )
    assert (program, flag) == ("/bin/sh", "-c")
    assert line == "echo 'a b; touch pwned $(id) '\"'\"'' > o/a"
    with pytest.raises(FlowFormatError, match="Did you mean 'x'"):
        words_of(node("echo ${inputs.xx}"), {"x": 1}, {})


async def test_a_command_gets_its_environment_and_what_it_prints_is_kept(tmp_path: Path) -> None:
    words = ["python", "-c", "import os; print(os.environ['TEST_EXPERIMENT'], os.getcwd())"]
    await command.run(node("", tmp_path), words, tmp_path / "log", {"TEST_EXPERIMENT": "given"})
    assert (tmp_path / "log").read_text() == f"given {tmp_path}\n"


@pytest.mark.parametrize(
    ("words", "code"), [(["python", "-c", "raise SystemExit(3)"], 3), (["no-such-program-9"], 127)]
)
async def test_a_command_that_fails_says_with_what(
    tmp_path: Path, words: list[str], code: int
) -> None:
    with pytest.raises(CommandFailedError) as raised:
        await command.run(node("", tmp_path), words, tmp_path / "log", {})
    assert raised.value.exit_code == code


async def test_a_command_that_is_cancelled_ends_with_its_children(tmp_path: Path) -> None:
    child = f"echo $$ > {tmp_path}/pid; sleep 60"
    task = asyncio.create_task(
        command.run(
            node("", tmp_path), ["/bin/sh", "-c", f"sh -c '{child}'; true"], tmp_path / "log", {}
        )
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    process = int((tmp_path / "pid").read_text())
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        if (
            Path(f"/proc/{process}/stat").exists()
            and ") Z " in Path(f"/proc/{process}/stat").read_text()
        ):
            return  # it has ended; nobody has asked for its exit code
        await asyncio.sleep(0.02)
    pytest.fail("the child of the command still runs")


def test_a_record_is_kept_under_a_name_that_stays_in_its_folder(tmp_path: Path) -> None:
    store = Store(tmp_path, SystemClock())
    store.create(written(tmp_path), "first")
    assert [each.name for each in store.all()] == ["first"]
    with pytest.raises(ConflictError, match="There is an experiment 'first'"):
        store.create(written(tmp_path), "first")
    with pytest.raises(NotFoundError, match="Did you mean 'first'"):
        store.read("frist")
    for name in ("../out", "a/b", "", "."):
        with pytest.raises(FlowFormatError):
            store.create(written(tmp_path), name)
