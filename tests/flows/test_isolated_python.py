"""`answer.batch(isolate=…)`: flows of a program's own in processes, their results the objects that they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import farthing
from farthing.core.errors import FlowError, FlowInputError

pytestmark = pytest.mark.slow


SRC = Path(__file__).parents[2]
PROGRAM = """
import dataclasses, os
import farthing

COUNT = [0]

@dataclasses.dataclass
class Said:
    text: str
    process: int
    count: int

@farthing.node
def count(word: str) -> int:
    COUNT[0] += 1
    return COUNT[0]

@farthing.flow
async def answer(word: str) -> Said:
    if word == "end":
        os._exit(4)
    number = await count(word)
    reply = {ask}
    return Said(reply, os.getpid(), number)

@answer.aggregate
def total(said):
    assert all(type(each) is Said for each in said), said
    return {{"said": len(said)}}
{main}
"""
ASK = 'farthing.chat(f"Say {word}", model="sim/small", max_output_tokens=5).text'
GUARDED = """
if __name__ == "__main__":
    rows = [{"word": w} for w in ("a", "b", "end", "c", "d")]
    done = answer.batch(rows, isolate=2)
    assert done.metrics == {"said": 4}, done
    good = [line.outputs for line in done.lines if line.error is None]
    values = [line.values["answer"] for line in done.lines if line.error is None]
    assert [type(each) for each in values] == [Said] * 4
    assert os.getpid() not in {each.process for each in values}
    assert [line.values["count"] for line in done.lines if not line.error] == [v.count for v in values]
    assert done.outputs[2] is None
    print(done.lines[2].error)
    print(sorted(set(good[0])), done.spent.calls)
    here = answer.batch(rows[:2])
    assert {each["process"] for each in here.outputs} == {os.getpid()}
"""
UNGUARDED = """
answer.batch([{"word": "a"}], isolate=1)
"""


def ran(
    tmp_path: Path, main: str, *how: str, ask: str = "word"
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "farthing.toml").write_text(
        '[server]\ndetect = false\n[providers.sim]\ntype = "sim"\nscenario = "demo"\n'
    )
    (tmp_path / "program.py").write_text(PROGRAM.format(ask=ask, main=main))
    return subprocess.run(
        [sys.executable, *(how or ("program.py",))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SRC / "src"), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("how", [("program.py",), ("-m", "program")])
def test_a_program_isolates_a_flow_of_its_own(tmp_path: Path, how: tuple[str, ...]) -> None:
    done = ran(tmp_path, GUARDED, *how)
    assert done.returncode == 0, done.stderr
    assert "The process of line 2 ended with exit code 4." in done.stdout
    assert "['count', 'process', 'text'] 0" in done.stdout


def test_a_program_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    done = ran(tmp_path, UNGUARDED)
    assert done.returncode == 1
    assert 'below `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


def test_a_prompt_has_no_file_to_find_a_flow_in(tmp_path: Path) -> None:
    (tmp_path / "farthing.toml").write_text("[server]\ndetect = false\n")
    text = PROGRAM.format(ask="word", main=UNGUARDED)
    done = ran(tmp_path, "", "-c", text)
    assert done.returncode == 1
    assert "in a notebook or at a prompt" in done.stderr.splitlines()[-1]


def test_a_flow_inside_of_a_function_has_no_name_that_is_known_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "farthing.toml").write_text("[server]\ndetect = false\n")

    @farthing.flow
    async def inner(x: int) -> int:
        return x

    with pytest.raises(FlowError, match="'inner' has none that is known everywhere"):
        inner.batch([{"x": 1}], isolate=2)
    with pytest.raises(FlowInputError, match="'many' is no number of processes"):
        inner.batch([{"x": 1}], isolate="many")
