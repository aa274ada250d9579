"""`farthing flow variants`: what is said before, while and after; refusals; going on after a kill."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from farthing.cli.flow import flow
from farthing.cli.flow_variants import MOST_LINES
from farthing.core.errors import FarthingError, FlowFormatError, FlowInputError, NotFoundError
from farthing.core.money import format_dollars
from farthing.sim.http import Simulator
from tests.flows.variant_world import lay_project, simulated

SRC = Path(__file__).parents[2]


@pytest.fixture
def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "*")
    with simulated() as found:
        lay_project(tmp_path, found)
        yield found


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(flow, ["variants", *arguments])
    if isinstance(result.exception, FarthingError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


WHOLE = ("flow", "--data", "data.jsonl", "--matrix", "--name", "first")


def test_a_matrix_is_announced_told_of_and_shown_side_by_side(simulator: Simulator) -> None:
    result = run(*WHOLE)
    assert (
        "first: 6 combinations × 5 lines = 30; LLM nodes make at most 50 model calls, 90 if nothing were "
        "shared; those of Python functions are not known." in result.stderr
    )
    assert "[1/6] default: completed, 5 lines, $" in result.stderr
    assert "[6/6] draft.again,tone.cool: completed, 5 lines, $" in result.stderr
    paid = format_dollars(simulator.invoice.nanodollars)
    assert len(simulator.invoice.rows) == 50
    assert f"Paid: 50 model calls, {paid}." in result.stderr
    assert "40 model calls, $" in result.stderr
    table = [re.split(r"\s{2,}", line) for line in result.stdout.splitlines()]
    assert table[0] == [
        "draft", "tone", "lines", "failed", "differs", "words", "tokens", "cost", "p50 s",
    ]  # fmt: skip
    assert [row[:5] for row in table[1:]] == [
        ["plain", "warm", "5", "0", "baseline"],
        ["plain", "cool", "5", "0", "100 %"],
        ["short", "warm", "5", "0", "100 %"],
        ["short", "cool", "5", "0", "100 %"],
        ["again", "warm", "5", "0", "0 %"],
        ["again", "cool", "5", "0", "100 %"],
    ]


def test_the_same_again_pays_nothing_and_without_data_it_is_only_shown(
    simulator: Simulator,
) -> None:
    first = run(*WHOLE).stdout
    assert "30 lines are done" in run(*WHOLE).stderr
    assert run("--name", "first").stdout == first
    assert len(simulator.invoice.rows) == 50
    details = run("--name", "first", "--details").stdout
    assert "≠" in details
    assert details.startswith(first)
    with pytest.raises(NotFoundError, match=r"'frist'.*'first'"):
        run("--name", "frist")


def test_figures_are_for_programs(simulator: Simulator, tmp_path: Path) -> None:
    evaluate = ("--evaluate", "judge", "--evaluate-mapping", "answer=${run.outputs.text}")
    words = ("--matrix", "${tone.*}", "draft.short,plain", "--limit", "2", *evaluate)
    result = run("flow", "--data", "data.jsonl", *words, "topic=${data.topic}", "--details",
                 "--output", "out.jsonl", "--json")  # fmt: skip
    figures = json.loads(result.stdout)
    assert result.stderr == ""
    assert figures["nodes"] == ["draft", "tone"]
    assert figures["lines"] == 2
    assert figures["paid"]["calls"] == len(simulator.invoice.rows) == 2 * (1 + 2 + 4)
    assert figures["cells"][0]["label"] == "default"
    assert [cell["is_baseline"] for cell in figures["cells"]] == [True, False, False, False]
    assert [cell["metrics"]["warm"] for cell in figures["cells"]] == [1.0, 1.0, 0.0, 0.0]
    assert all(cell["calls"] == 6 for cell in figures["cells"])
    assert [row["line"] for row in figures["rows"]] == [0, 1]
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert written == figures["rows"]


def test_one_line_goes_the_same_way_and_is_not_kept(simulator: Simulator) -> None:
    result = run("flow", "--inputs", "topic=ropes")
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [
        ["plain", "warm"], ["short", "warm"], ["again", "warm"], ["plain", "cool"],
    ]  # fmt: skip
    assert len(simulator.invoice.rows) == 1 + 3 + 4
    told = json.loads(run("flow", "--inputs", "topic=ropes", "--matrix", "--json").stdout)
    assert len(told["cells"]) == 6
    assert told["paid"]["calls"] == 10
    assert "flow" not in CliRunner().invoke(flow, ["list", "--runs"]).stdout.replace("flow run", "")


def test_a_cell_that_fails_is_a_row_like_the_others(simulator: Simulator, tmp_path: Path) -> None:
    path = tmp_path / "flow" / "size.py"
    path.write_text(path.read_text().replace("return", "1 / (len(text.split()) > 6)\n    return"))
    result = run("flow", "--data", "data.jsonl", "--node", "draft", "--name", "first")
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert [(row[0], row[2]) for row in rows] == [("plain", "0"), ("short", "5"), ("again", "0")]
    assert "say the same with --name first" in result.stderr
    assert (
        "first:draft.short: line 0: The node 'size' failed with ZeroDivisionError." in result.stderr
    )
    assert "; 4 more failed" in result.stderr
    one = run("flow", "--inputs", "topic=a", "--node", "draft").stdout
    assert "'size' failed with ZeroDivisionError" in one


def test_what_is_too_much_is_refused_before_it_begins(simulator: Simulator, tmp_path: Path) -> None:
    rows = MOST_LINES // 6 + 1
    (tmp_path / "data.jsonl").write_text('{"topic": "a"}\n' * rows)
    with pytest.raises(
        FlowInputError, match="6 combinations × 1,667 lines = 10,002 lines"
    ) as error:
        run("flow", "--data", "data.jsonl", "--matrix")
    assert "--yes" in str(error.value)
    assert "--limit 1,666" in str(error.value)
    run("flow", "--data", "data.jsonl", "--matrix", "--limit", "2")
    assert len(simulator.invoice.rows) == 20
    (tmp_path / "flow" / "outline.jinja2").unlink()
    with pytest.raises(FlowFormatError):  # past the refusal; nothing is run here
        run("flow", "--data", "data.jsonl", "--matrix", "--yes")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("flow", "--data", "data.jsonl", "--inputs", "topic=a"), "one line (--inputs) or"),
        (("flow", "--inputs", "topic=a", "--name", "x"), "leave --name away"),
        (("flow", "--data", "data.jsonl", "--matrix", "--node", "draft"), "${draft.*}"),
        (("flow", "--matrix"), "needs lines"),
        (("flow", "--evaluate", "judge"), "needs lines"),
        (("flow", "--name", "x", "--limit", "3"), "needs lines"),
        (("flow", "--details"), "needs lines"),
    ],
)
def test_what_does_not_go_together_is_told(
    simulator: Simulator, words: tuple[str, ...], told: str
) -> None:
    assert told in run(*words, code=2).stderr


def test_names_that_there_are_not_are_told_with_the_nearest(simulator: Simulator) -> None:
    with pytest.raises(FlowFormatError, match=r"'tome'.*'tone'"):
        run("flow", "--data", "data.jsonl", "--matrix", "${tome.*}")
    with pytest.raises(FlowFormatError, match=r"'drft'.*'draft'"):
        run("flow", "--data", "data.jsonl", "--node", "drft")
    with pytest.raises(FlowInputError, match="neither"):
        run("flow", "--data", "data.jsonl", "--output", "out.txt")
    with pytest.raises(FlowInputError, match="no data"):
        run("flow", "--data", "gone.jsonl")
    assert simulator.invoice.rows == []


# --- ends of every kind ---

LINES = 60
#: Lines at once, and the calls of one of them.
IN_FLIGHT = 16 * 3


def begun(folder: Path) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", "from farthing.cli.main import main; main()"]
    return subprocess.Popen(
        [*program, "flow", "variants", *WHOLE],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SRC / "src"), "NO_PROXY": "*"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(simulator: Simulator, calls: int) -> None:
    deadline = time.monotonic() + 60
    while len(simulator.invoice.rows) < calls and time.monotonic() < deadline:
        time.sleep(0.002)
    assert len(simulator.invoice.rows) >= calls


@pytest.mark.slow
def test_a_killed_comparison_goes_on_and_pays_no_more_than_what_was_under_way(
    tmp_path: Path,
) -> None:
    """Killed twice, in the first cell and in a later one, which takes from the first."""
    with simulated(first_s=0.005) as simulator:
        lay_project(tmp_path, simulator, lines=LINES)
        for calls in (LINES, LINES * 6):
            child = begun(tmp_path)
            until(simulator, calls)
            os.kill(child.pid, signal.SIGKILL)
            child.communicate()
        child = begun(tmp_path)
        told, said = child.communicate(timeout=120)
        assert child.returncode == 0, said
        assert "lines are done" in said
        assert len(told.splitlines()) == 7
        assert all(line.split()[2] == str(LINES) for line in told.splitlines()[1:])
        assert LINES * 10 <= len(simulator.invoice.rows) <= LINES * 10 + 2 * IN_FLIGHT


@pytest.mark.slow
def test_an_interrupted_comparison_says_how_it_goes_on(tmp_path: Path) -> None:
    with simulated(first_s=0.005) as simulator:
        lay_project(tmp_path, simulator, lines=LINES)
        child = begun(tmp_path)
        until(simulator, LINES * 4)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
        assert child.returncode != 0
        assert "Stopped. Go on: say the same with --name first" in said
        child = begun(tmp_path)
        child.communicate(timeout=120)
        assert child.returncode == 0
        assert LINES * 10 <= len(simulator.invoice.rows) <= LINES * 10 + IN_FLIGHT
