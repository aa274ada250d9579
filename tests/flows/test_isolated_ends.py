"""Runs in processes that end in the middle, all at once or one after another: nothing stays behind, nothing is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks._laws import balance
from farthing.cli.flow import flow as flow_commands
from farthing.cli.pf import pf
from farthing.core.errors import FlowFormatError
from farthing.flows.batch import runfile
from farthing.flows.batch.records import Definition
from tests.flows.apart import asking, is_alive, place, rows, written

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="as tests/flows/test_isolation.py")

SRC = Path(__file__).parents[2]
#: Each process says who it is, and has a child that outlives a careless end.
SLOW = """
import os, subprocess, sys, time
from pathlib import Path
PIDS = Path(__file__).parent.parent / "pids"
PIDS.mkdir(exist_ok=True)
CHILD = subprocess.Popen(["sleep", "600"])

@tool
def work(x: int) -> int:
    for pid in (os.getpid(), CHILD.pid):
        (PIDS / str(pid)).touch()
    time.sleep(0.05)
    with open(PIDS.parent / "ran", "a") as file:
        file.write(f"{x}\\n")
    return 2 * x
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a flow, data for 60 lines and a simulator; the current one."""
    (tmp_path / "farthing.toml").write_text(
        '[server]\ndetect = false\n[providers.sim]\ntype = "sim"\nscenario = "demo"\n'
    )
    written(tmp_path / "f", SLOW)
    (tmp_path / "data.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows(*range(60))))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pids(project: Path) -> list[int]:
    folder = project / "pids"
    return [int(each.name) for each in folder.iterdir()] if folder.is_dir() else []


def parent_of(pid: int) -> int | None:
    """Its parent if it runs. A number may have come to somebody else meanwhile, whom nobody may kill."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return int(parent) if state != "Z" else None


def begun(project: Path, *words: str) -> subprocess.Popen[bytes]:
    """A run under way, of which some lines are over."""
    command = [sys.executable, "-m", "farthing", "flow", "run", "f", *words, "--name", "r"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SRC / "src"), *sys.path])}
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until_s = time.monotonic() + 60
    while not (project / "ran").exists() or len((project / "ran").read_text().split()) < 6:
        assert child.poll() is None
        assert time.monotonic() < until_s
        time.sleep(0.02)
    return child


def gone_within(project: Path, seconds: float) -> bool:
    until_s = time.monotonic() + seconds
    while any(map(is_alive, pids(project))):
        if time.monotonic() > until_s:
            return False
        time.sleep(0.02)
    return True


def resumed() -> dict[str, object]:
    done = CliRunner().invoke(flow_commands, ["run", "--resume-from", "r", "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_their_parent_and_the_run_goes_on(
    project: Path, how: signal.Signals
) -> None:
    child = begun(project, "--data", "data.jsonl", "--isolate", "2")
    assert len(pids(project)) >= 2
    child.send_signal(how)
    code = child.wait(timeout=30)
    assert gone_within(project, 1.0)
    assert code == -how if how != signal.SIGINT else code != 0
    told = CliRunner().invoke(flow_commands, ["show", "r", "--json"])
    run = json.loads(told.stdout)
    assert run["status"] == ("cancelled" if how == signal.SIGINT else "interrupted")
    assert 0 < run["completed"] < 60
    earlier = set(pids(project))
    run = resumed()
    assert (run["status"], run["completed"], run["failed"]) == ("completed", 60, 0)
    assert set(pids(project)) > earlier  # it was isolated again without being told
    assert gone_within(project, 1.0)
    assert {int(x) for x in (project / "ran").read_text().split()} == set(range(60))


@pytest.mark.slow
async def test_twenty_workers_killed_at_random_lose_and_double_no_line(tmp_path: Path) -> None:
    chance = random.Random(7)
    code_of_pids = (
        "import pathlib, os\n"
        f"    pathlib.Path({str(tmp_path / 'pids')!r}, str(os.getpid())).touch()\n"
    )
    (tmp_path / "pids").mkdir()
    folder = asking(tmp_path / "f", f"{code_of_pids}    return [whole, ''.join(streamed)]")
    lines = [{"x": f"coin {n}"} for n in range(80)]
    killed = 0

    def kill_one(_: object) -> None:
        """Told whenever lines were kept; the kill falls into the middle of others."""
        nonlocal killed
        alive = [pid for pid in pids(tmp_path) if parent_of(pid) == os.getpid()]
        if killed < 20 and alive:
            os.kill(chance.choice(sorted(alive)), signal.SIGKILL)
            killed += 1

    async with place(tmp_path) as it:
        async with it.batch(folder, "3") as (batch, flow):
            batch._on_progress = kill_one
            run = await batch.start("r", Definition(flow=str(folder)), rows=lines)
        failed = run.failed
        assert killed == 20
        assert run.status == "completed"
        assert 0 < failed <= 20
        assert run.completed + failed == 80
        async with it.batch(folder, "3") as (batch, flow):
            run = await batch.resume("r", rows=lines)
            # A completed line is not paid again: three calls for each that had failed.
            assert flow.spent.calls == 3 * failed
        kept = await it.runs.lines_after(run.id, limit=1000)
        assert (run.status, run.completed, run.failed) == ("completed", 80, 0)
        assert [line.number for line in kept] == list(range(80))
        found = await balance(it.gateway.accounts, it.sim.invoice.rows)
        assert found.missing == found.wrong == ()
        assert found.ledger == run.nanodollars
        assert found.ledger + found.held >= found.invoice
    assert not any(map(is_alive, pids(tmp_path)))


@pytest.mark.slow
def test_many_lines_need_no_more_memory_than_few(project: Path) -> None:
    code = """
    HELD = []

    @tool
    def work(x: int) -> str:
        return "a" * 100_000
    """
    written(project / "f", code)
    program = (
        "import resource, sys; from farthing.cli.main import main; sys.argv[0] = 'farthing'\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )

    def peak_kib(count: int) -> int:
        data = project / f"{count}.jsonl"
        data.write_text("".join(f"{json.dumps(r)}\n" for r in rows(*range(count))))
        words = ["flow", "run", "f", "--data", str(data), "--isolate", "2", "--name", f"r{count}"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SRC / "src"), *sys.path])}
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stderr.split()[-1])

    few, many = peak_kib(50), peak_kib(1000)  # 5 MB and 100 MB of outputs
    assert many < few + 20_000


# --- how it is asked for ---


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        ((), {"PF_WORKER_COUNT": "2"}),
        ((), {"PF_BATCH_METHOD": "fork"}),
        (("--environment-variables", "PF_WORKER_COUNT=2", "PF_BATCH_METHOD=spawn"), {}),
    ],
)
def test_prompt_flows_variables_isolate_the_lines_of_pf_run_create(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    variables: dict[str, str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    written(project / "f", "import os\n\n@tool\ndef work(x: int) -> int:\n    return os.getpid()\n")
    (project / "data.jsonl").write_text('{"x": 1}\n')
    command = ["run", "create", "--flow", "f", "--data", "data.jsonl", "--name", "r", *words]
    assert CliRunner().invoke(pf, command).exit_code == 0
    told = CliRunner().invoke(pf, ["run", "show-details", "--name", "r"]).stdout
    assert str(os.getpid()) not in told


@pytest.mark.parametrize("where", ["flow", "run file"])
def test_a_flows_file_and_a_runs_file_isolate_too(project: Path, where: str) -> None:
    written(project / "f", "import os\n\n@tool\ndef work(x: int) -> int:\n    return os.getpid()\n")
    (project / "data.jsonl").write_text('{"x": 1}\n')
    (project / "run.yml").write_text(
        f"flow: f\ndata: data.jsonl\nname: r\n{'isolate: 1' if where == 'run file' else ''}\n"
    )
    if where == "flow":
        with (project / "f" / "flow.dag.yaml").open("a") as file:
            file.write("environment_variables:\n  PF_WORKER_COUNT: 1\n")
    assert CliRunner().invoke(pf, ["run", "create", "--file", "run.yml"]).exit_code == 0
    assert str(os.getpid()) not in CliRunner().invoke(pf, ["run", "show-details", "-n", "r"]).stdout


def test_a_runs_file_that_isolates_by_no_number_says_where(project: Path) -> None:
    (project / "run.yml").write_text("flow: f\ndata: data.jsonl\nisolate: many\n")
    with pytest.raises(FlowFormatError, match="isolate: many, which is none") as caught:
        runfile.load(project / "run.yml")
    assert caught.value.line == 3
    assert "1 to 256" in (caught.value.hint or "")


def test_a_word_that_is_no_number_is_said_to_be_none(project: Path) -> None:
    done = CliRunner().invoke(flow_commands, ["run", "--isolate", "f", "--data", "data.jsonl"])
    assert done.exit_code == 2
    assert "'f' is no number of processes" in done.output
    assert "A path stands before it." in done.output
