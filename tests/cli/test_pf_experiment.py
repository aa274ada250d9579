"""`farthing pf experiment`: whole experiments through the command line, stopped, gone on with, and looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from farthing.cli.pf import pf
from farthing.core.errors import ConflictError, FarthingError, FlowError
from farthing.flows.experiment.command import CommandFailedError

pytestmark = pytest.mark.slow


FLOW = """inputs:
  text: {type: string}
outputs:
  loud: {type: string, reference: '${shout.output}'}
nodes:
- name: shout
  type: python
  source: {type: code, path: shout.py}
  inputs: {text: '${inputs.text}'}
"""
SHOUT = (
    "from promptflow.core import tool\n\n\n@tool\ndef shout(text: str):\n    return text.upper()\n"
)
JUDGE = """
class Judge:
    def __init__(self, strict: bool = False):
        self.strict = strict

    def __call__(self, answer: str, truth: str) -> str:
        return "good" if answer == truth else "bad"

    def __aggregate__(self, results: list) -> dict:
        return {"good": results.count("good"), "strict": int(self.strict)}
"""
MAKE = """
import json, os, sys
source, count, target = sys.argv[1:]
with open("made", "a") as log:
    log.write("x")
if os.path.exists("fail"):
    sys.exit(4)
rows = [json.loads(line) for line in open(source)][: int(count)]
with open(os.path.join(target, "rows.jsonl"), "w") as file:
    for row in rows:
        file.write(json.dumps({"text": row["word"], "key": os.environ["WORD"]}) + "\\n")
"""
EXPERIMENT = """
data:
  - {name: words, path: words.jsonl}
inputs:
  - {name: count, type: int, default: 2}
nodes:
  - name: make
    type: command
    code: make
    command: python make.py ${inputs.source} ${inputs.count} ${outputs.made}
    inputs: {source: '${data.words}', count: '${inputs.count}'}
    outputs: {made: }
    environment_variables: {WORD: given}
  - name: main
    type: flow
    path: flow
    inputs: {text: '${make.outputs.made.text}'}
  - name: judge
    type: flow
    path: judge/flow.flex.yaml
    inputs: {answer: '${main.outputs.loud}', truth: '${data.words.truth}'}
    init: {strict: true}
  - name: tell
    type: command
    command: cat ${inputs.found}/outputs.jsonl > told.txt
    inputs: {found: '${main.outputs}'}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose folder has a blank in its name: paths are words whatever is in them."""
    root = tmp_path / "my project"
    for name in ("flow", "judge", "make"):
        (root / name).mkdir(parents=True)
    for name, text in {
        "farthing.toml": '[server]\ndetect = false\n[providers.sim]\ntype = "sim"\nscenario = "demo"\n',
        "flow/flow.dag.yaml": FLOW,
        "flow/shout.py": SHOUT,
        "judge/flow.flex.yaml": "entry: judge:Judge\n",
        "judge/judge.py": JUDGE,
        "make/make.py": MAKE,
        "experiment.yaml": EXPERIMENT,
        "words.jsonl": "".join(
            json.dumps({"word": w, "truth": t}) + "\n"
            for w, t in (("a", "A"), ("b", "x"), ("c", "C"))
        ),
    }.items():
        (root / name).write_text(text)
    monkeypatch.chdir(root)
    return root


def run(*words: str) -> Any:
    result = CliRunner().invoke(pf, ["experiment", *words])
    if isinstance(result.exception, FarthingError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def metrics(shown: dict[str, Any], node: str) -> dict[str, float]:
    (named,) = shown["node_runs"][node]
    result = CliRunner().invoke(pf, ["run", "show-metrics", "--name", named["name"]])
    found: dict[str, float] = json.loads(result.stdout)
    return found


def statuses(shown: dict[str, Any]) -> dict[str, str]:
    return {name: each["status"] for name, (each,) in shown["node_runs"].items()}


def test_nodes_are_fed_by_data_by_runs_and_by_folders(folder: Path) -> None:
    run("create", "--template", "experiment.yaml", "--name", "first")
    done = run("start", "--name", "first")
    assert done["status"] == "Completed"
    assert set(statuses(done).values()) == {"Completed"}
    assert metrics(done, "judge") == {"good": 1, "strict": 1}
    told = [json.loads(line) for line in (folder / "told.txt").read_text().splitlines()]
    assert [each["loud"] for each in told] == ["A", "B"]
    assert [each["name"] for each in run("list")] == ["first"]
    assert run("show", "-n", "first") == done


def test_what_is_as_it_was_is_not_run_again(folder: Path) -> None:
    run("create", "--template", "experiment.yaml", "--name", "first")
    before = run("start", "--name", "first")["node_runs"]
    assert run("start", "--name", "first")["node_runs"] == before
    assert (folder / "make" / "made").read_text() == "x"
    (folder / "judge" / "judge.py").write_text(JUDGE.replace('"bad"', '"worse"'))
    after = run("start", "--name", "first")["node_runs"]
    assert [name for name in after if after[name] != before[name]] == ["judge"]
    again = run("start", "--name", "first", "--inputs", "count=3")
    assert metrics(again, "judge") == {"good": 2, "strict": 1}


def test_an_experiment_that_failed_goes_on_where_it_stopped(folder: Path) -> None:
    run("create", "--template", "experiment.yaml", "--name", "first")
    (folder / "make" / "fail").touch()
    with pytest.raises(CommandFailedError, match="exit code 4"):
        run("start", "--name", "first")
    failed = run("show", "--name", "first")
    assert (failed["status"], statuses(failed)) == ("Failed", {"make": "Failed"})
    (folder / "make" / "fail").unlink()
    assert run("start", "--name", "first")["status"] == "Completed"


@pytest.mark.parametrize("is_killed", [False, True])
def test_an_experiment_that_was_stopped_pays_for_no_line_twice(
    folder: Path, is_killed: bool
) -> None:
    (folder / "flow" / "shout.py").write_text(
        SHOUT.replace(
            "    return",
            "    import os, pathlib, time\n    with open('seen', 'a') as file:\n        file.write(text)\n"
            "    while text == 'b' and not os.path.exists('go'):\n        time.sleep(0.02)\n    return",
        )
    )
    run("create", "--template", "experiment.yaml", "--name", "first")
    words = [sys.executable, "-m", "farthing", "pf", "experiment", "start", "--name", "first"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        seen = folder / "flow" / "seen"
        while not seen.exists() or "b" not in seen.read_text():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        with pytest.raises(ConflictError, match="is running"):
            run("start", "--name", "first")
        assert run("show", "--name", "first")["status"] == "InProgress"
        time.sleep(1.0)  # the first line is kept within this time
        if is_killed:
            os.kill(process.pid, signal.SIGKILL)
        else:
            assert run("stop", "--name", "first")["name"] == "first"
        (folder / "flow" / "go").touch()  # a plain function runs to its end
        process.wait(timeout=60)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    stopped = run("show", "--name", "first")
    assert (stopped["status"], statuses(stopped)["main"]) == ("Terminated", "Terminated")
    assert run("stop", "--name", "first") == stopped  # nothing is left to end
    assert run("start", "--name", "first")["status"] == "Completed"
    assert seen.read_text().count("a") == 1
    assert (folder / "make" / "made").read_text() == "x"


def test_a_chat_group_takes_turns_until_one_of_its_roles_ends_it(folder: Path) -> None:
    code = (
        "def user(word: str, said: list = None):\n"
        "    return '[STOP]' if len(said or []) >= 4 and word == 'a' else f'{word}{len(said or [])}'\n\n\n"
        "def assistant(said: list = None):\n    return said[-1][1]['output'].upper()\n\n\n"
        "def length(said: list):\n    return {'turns': len(said), 'last': said[-1]}\n"
    )
    (folder / "talk").mkdir()
    (folder / "talk" / "talk.py").write_text(code)
    for name in ("user", "assistant", "length"):
        (folder / "talk" / f"{name}.yaml").write_text(f"entry: talk:{name}\n")
    (folder / "talk.yaml").write_text(
        """
data: [{name: words, path: words.jsonl}]
nodes:
  - name: talk
    type: chat_group
    max_turns: 6
    stop_signal: "[STOP]"
    roles:
      - role: user
        path: talk/user.yaml
        inputs: {word: '${data.words.word}', said: '${parent.conversation_history}'}
      - role: assistant
        path: talk/assistant.yaml
        inputs: {said: '${parent.conversation_history}'}
  - name: length
    type: flow
    path: talk/length.yaml
    inputs: {said: '${talk.conversation_history}'}
  - name: tell
    type: command
    command: cat ${inputs.found}/outputs.jsonl > told.txt
    inputs: {found: '${length.outputs}'}
"""
    )
    assert run("start", "--template", "talk.yaml")["status"] == "Completed"
    told = [json.loads(line) for line in (folder / "told.txt").read_text().splitlines()]
    assert [(each["turns"], each["last"]) for each in told] == [
        (5, ["user", {"output": "[STOP]"}]),
        (6, ["assistant", {"output": "B4"}]),
        (6, ["assistant", {"output": "C4"}]),
    ]


def test_what_cannot_be_run_is_told_before_anything_runs(folder: Path) -> None:
    with pytest.raises(FlowError, match="one line alone"):
        run("test", "--template", "experiment.yaml")
    with pytest.raises(FlowError, match="Name one experiment"):
        run("start")
    text = EXPERIMENT.replace("${data.words.truth}", "${make.outputs.made.key}").replace(
        "text: '${make.outputs.made.text}'",
        "text: '${data.words.word}', key: '${make.outputs.made.key}'",
    )
    (folder / "two.yaml").write_text(text)
    with pytest.raises(FlowError, match="one file of data and one run is the most"):
        run("start", "--template", "two.yaml")
