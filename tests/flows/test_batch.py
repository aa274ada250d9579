"""Batches: lines at once, failures, what is kept, and going on after any end. On SQLite and Postgres."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.base.clock import FakeClock, SystemClock
from farthing.core.errors import ConflictError, FlowInputError, NotFoundError, StorageError
from farthing.flows.batch.batch import TIMED_OUT, Batch, Progress, default_name
from farthing.flows.batch.records import Definition, End, Line, Run, as_json
from farthing.flows.batch.runfolder import export
from farthing.flows.batch.runs import Runs
from farthing.flows.engine.engine import Engine
from farthing.flows.engine.plan import Body, LineResult, Plan
from farthing.flows.graph import Flow, Input, Node, Output, Port, checked
from farthing.flows.models import Spent
from farthing.flows.references import parse
from tests.flows.batches import Tiny, open_runs

SRC = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database; each test runs on SQLite and on Postgres."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / '.farthing' / 'farthing.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def runs(url: str) -> AsyncIterator[Runs]:
    async with open_runs(url) as opened:
        yield opened


def batch(flow: Tiny, runs: Runs, **options: Any) -> Batch:
    return Batch(flow, runs, SystemClock(), **options)


def rows(*values: Any) -> list[dict[str, Any]]:
    return [{"x": value} for value in values]


def written(folder: Path, rows: list[dict[str, Any]], name: str = "data.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


async def kept(runs: Runs, run: Run) -> dict[int, Any]:
    """The completed lines' outputs, by number."""
    lines = await runs.lines_after(run.id, status="completed", limit=100_000)
    return {line.number: json.loads(line.outputs or "null") for line in lines}


DEFINITION = Definition(flow="flow")


async def test_lines_are_kept_and_failed_ones_do_not_stop_a_run(runs: Runs, tmp_path: Path) -> None:
    flow = Tiny(tmp_path)
    run = await batch(flow, runs).start("r", DEFINITION, rows=rows("a", "bad", {"k": [1]}))
    assert (run.status, run.completed, run.failed) == ("completed", 2, 1)
    assert await kept(runs, run) == {0: {"y": "a"}, 2: {"y": {"k": [1]}}}
    (failed,) = await runs.lines_after(run.id, status="failed")
    assert (failed.number, failed.error_code, failed.error_node) == (1, "node_failed", "work")
    assert json.loads(failed.inputs) == {"x": "bad", "d": "d"}
    assert (run.calls, run.input_tokens, run.output_tokens, run.nanodollars) == (3, 6, 9, 12)
    assert run.ended_at_ms is not None


async def test_no_more_lines_run_at_once_than_asked_for(runs: Runs, tmp_path: Path) -> None:
    flow = Tiny(tmp_path, pause_s=0.001)
    read = 0

    def data() -> Any:
        nonlocal read
        for number in range(1000):
            # Of the data no more is read than a group ahead.
            assert number - len(flow.ran) <= 3 + 64
            read += 1
            yield {"x": number}

    run = await batch(flow, runs, in_flight=3).start("r", DEFINITION, rows=data())
    assert flow.most_at_once == 3
    assert run.completed == read == 1000


async def test_progress_is_told_as_lines_are_kept(runs: Runs, tmp_path: Path) -> None:
    heard: list[Progress] = []
    flow = Tiny(tmp_path)
    lines = rows(*["bad" if n % 10 == 0 else n for n in range(300)])
    await batch(flow, runs, on_progress=heard.append).start("r", DEFINITION, rows=lines)
    assert (heard[-1].completed, heard[-1].failed) == (270, 30)
    assert heard[-1].cost.nanodollars == 1200
    assert heard[-1].lines_per_s > 0
    done = [each.completed + each.failed for each in heard]
    assert done == sorted(done)


async def test_a_mapping_that_fits_nothing_is_told_before_there_is_a_run(
    runs: Runs, tmp_path: Path
) -> None:
    definition = Definition(flow="flow", column_mapping={"x": "${data.y}", "d": "${data.z}"})
    with pytest.raises(FlowInputError, match=r"\$\{data\.y\}.*\$\{data\.z\}"):
        await batch(Tiny(tmp_path), runs).start("r", definition, rows=rows(1))
    with pytest.raises(FlowInputError, match="no lines"):
        await batch(Tiny(tmp_path), runs).start("r", DEFINITION, rows=[])
    with pytest.raises(FlowInputError, match="neither data nor another run"):
        await batch(Tiny(tmp_path), runs).start("r", DEFINITION)
    with pytest.raises(NotFoundError, match="no run 'r'"):
        await runs.find("r")


async def test_a_graph_without_inputs_is_refused(runs: Runs, tmp_path: Path) -> None:
    flow = Tiny(tmp_path)
    flow.flow = msgspec.structs.replace(flow.flow, inputs=())
    definition = Definition(flow="f", data=written(tmp_path, rows(1)))
    with pytest.raises(FlowInputError, match="has no inputs"):
        await batch(flow, runs).start("r", definition)


async def test_a_row_without_the_column_fails_its_line(runs: Runs, tmp_path: Path) -> None:
    run = await batch(Tiny(tmp_path), runs).start("r", DEFINITION, rows=[{"x": 1}, {"z": 1}])
    assert (run.completed, run.failed) == (1, 1)


async def test_an_output_that_is_no_json_fails_its_line(runs: Runs, tmp_path: Path) -> None:
    flow = Tiny(tmp_path, lambda inputs: object() if inputs["x"] else "\ud800")
    run = await batch(flow, runs).start("r", DEFINITION, rows=rows(True, False))
    assert run.failed == 2
    for line in await runs.lines_after(run.id):
        assert "output 'y'" in (line.error_message or "")


async def test_a_name_is_of_one_run(runs: Runs, tmp_path: Path) -> None:
    await batch(Tiny(tmp_path), runs).start("r", DEFINITION, rows=rows(1))
    with pytest.raises(ConflictError, match="run 'r' already"):
        await batch(Tiny(tmp_path), runs).start("r", DEFINITION, rows=rows(1))
    with pytest.raises(NotFoundError, match="no run 'q1'"):
        await runs.find("q1")


async def test_aggregation_sees_the_lines_that_were_completed(runs: Runs, tmp_path: Path) -> None:
    flow = Tiny(tmp_path, with_end=True, pause_s=0.001)
    run = await batch(flow, runs).start("r", DEFINITION, rows=rows(3, "bad", 1, 2))
    assert [line.values for line in flow.aggregated] == [{"work": 3}, {"work": 1}, {"work": 2}]
    assert run.metrics == {"count": 3}


# --- an earlier run as a source ---


async def test_runs_chain_by_line_number(runs: Runs, tmp_path: Path) -> None:
    data = written(tmp_path, [{"x": n, "truth": f"t{n}"} for n in range(5)])
    first = Tiny(tmp_path, lambda inputs: inputs["x"] * 10)
    await batch(first, runs).start("first", Definition(flow="f", data=data))
    mapping = {
        "x": "${run.outputs.y}",
        "d": "${run.inputs.truth}",
    }
    second = Definition(flow="f", run="first", column_mapping=mapping)
    run = await batch(Tiny(tmp_path), runs).start("second", second)
    assert await kept(runs, run) == {n: {"y": n * 10} for n in range(5)}
    (line, *_) = await runs.lines_after(run.id)
    assert json.loads(line.inputs) == {"x": 0, "d": "t0"}
    # A third one still sees the columns of the data that the first was given.
    mapping = {"x": ["literal"], "d": "${run.inputs.truth}"}
    third = Definition(flow="f", run="second", column_mapping=mapping)
    run = await batch(Tiny(tmp_path), runs).start("third", third)
    assert json.loads((await runs.lines_after(run.id))[4].inputs)["d"] == "t4"


async def test_data_and_a_run_are_joined_and_lines_missing_in_one_are_dropped(
    runs: Runs, tmp_path: Path
) -> None:
    first = Definition(flow="f", data=written(tmp_path, rows(0, "bad", 2, 3), "a.jsonl"))
    await batch(Tiny(tmp_path), runs).start("first", first)
    more = [{"line_number": n, "truth": n * 100} for n in (3, 2, 1, 7)]
    second = Definition(
        flow="f",
        data=written(tmp_path, more, "b.jsonl"),
        run="first",
        column_mapping={"x": "${data.truth}", "d": "${run.outputs.y}"},
    )
    run = await batch(Tiny(tmp_path), runs).start("second", second)
    assert await kept(runs, run) == {2: {"y": 200}, 3: {"y": 300}}


async def test_a_run_that_is_not_over_is_no_source(runs: Runs, tmp_path: Path) -> None:
    slow = Tiny(tmp_path, pause_s=30)
    await batch(slow, runs, timeout_s=0.05).start("first", DEFINITION, rows=rows(1))
    with pytest.raises(FlowInputError, match="is failed"):
        await batch(Tiny(tmp_path), runs).start("second", Definition(flow="f", run="first"))


# --- ends and new beginnings ---


async def test_a_batch_that_takes_too_long_fails_and_keeps_its_lines(
    runs: Runs, tmp_path: Path
) -> None:
    flow = Tiny(tmp_path, pause_s=0.02)
    run = await batch(flow, runs, in_flight=1, timeout_s=0.2).start(
        "r", DEFINITION, rows=rows(*range(1000))
    )
    assert (run.status, run.error_code) == ("failed", TIMED_OUT)
    assert 0 < run.completed == len(await kept(runs, run)) < 1000


async def test_a_cancelled_run_keeps_what_was_done_and_goes_on(runs: Runs, tmp_path: Path) -> None:
    data = written(tmp_path, rows(*range(200)))
    definition = Definition(flow="f", data=data)
    flow = Tiny(tmp_path, pause_s=0.002, with_end=True)
    task = asyncio.create_task(batch(flow, runs, in_flight=4).start("r", definition))
    while len(flow.ran) < 20:
        await asyncio.sleep(0.001)
    with pytest.raises(ConflictError, match="is running"):
        await batch(Tiny(tmp_path), runs).resume("r")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    run = await runs.find("r")
    assert run.status == "cancelled"
    before = set(await kept(runs, run))
    assert before == set(flow.ran)
    again = Tiny(tmp_path, with_end=True)
    run = await batch(again, runs).resume("r")
    assert (run.status, run.completed) == ("completed", 200)
    assert not before & set(again.ran)
    assert [line.values["work"] for line in again.aggregated] == list(range(200))
    assert run.calls == len(flow.ran) + len(again.ran) == 200


async def test_resume_runs_failed_lines_again_and_aggregates_anew(
    runs: Runs, tmp_path: Path
) -> None:
    broken = True

    def answer(inputs: dict[str, Any]) -> Any:
        return object() if broken and inputs["x"] == 1 else inputs["x"]

    flow = Tiny(tmp_path, answer, with_end=True)
    data = written(tmp_path, rows(0, 1, 2))
    run = await batch(flow, runs).start("r", Definition(flow="f", data=data))
    assert (run.completed, run.failed, run.metrics) == (2, 1, {"count": 2})
    broken = False
    run = await batch(flow, runs).resume("r")
    assert (run.completed, run.failed, run.metrics) == (3, 0, {"count": 3})
    assert sorted(flow.ran) == [0, 1, 1, 2]


async def test_a_new_run_may_take_the_good_lines_of_another(runs: Runs, tmp_path: Path) -> None:
    data = written(tmp_path, rows(0, "bad", 2))
    await batch(Tiny(tmp_path), runs).start("r", Definition(flow="f", data=data))
    flow = Tiny(tmp_path)
    run = await batch(flow, runs).start("s", Definition(flow="f", data=data, resume_from="r"))
    assert flow.ran == [1]
    assert (run.completed, run.failed, run.calls) == (2, 1, 1)
    assert (await runs.find("r")).completed == 2


async def test_changed_data_is_not_mixed_with_lines_of_the_old(runs: Runs, tmp_path: Path) -> None:
    data = written(tmp_path, rows(0, 1))
    await batch(Tiny(tmp_path), runs).start("r", Definition(flow="f", data=data))
    written(tmp_path, rows(5, 6))
    with pytest.raises(ConflictError, match="not what it was"):
        await batch(Tiny(tmp_path), runs).resume("r")
    with pytest.raises(ConflictError, match="not what it was"):
        await batch(Tiny(tmp_path), runs).start(
            "s", Definition(flow="f", data=data, resume_from="r")
        )


async def test_values_that_are_no_json_make_a_resumed_run_do_their_lines_again(
    runs: Runs, tmp_path: Path
) -> None:
    class Odd(Tiny):
        async def run(self, inputs: Any, *, number: int | None = None) -> Any:
            result = await super().run(inputs, number=number)
            if number == 1:
                result.values["work"] = object()
            return result

    flow = Odd(tmp_path, with_end=True)
    data = written(tmp_path, rows(0, 1, 2))
    run = await batch(flow, runs).start("r", Definition(flow="f", data=data))
    assert run.metrics == {"count": 3}
    run = await batch(flow, runs).resume("r")
    assert run.metrics == {"count": 3}
    assert sorted(flow.ran) == [0, 1, 1, 2]


async def test_broken_data_ends_a_run_that_can_go_on_once_it_is_given_whole(
    runs: Runs, tmp_path: Path
) -> None:
    def broken() -> Any:
        yield from rows(*range(100))
        raise FlowInputError("Line 101 is broken.")

    with pytest.raises(FlowInputError, match="Line 101"):
        await batch(Tiny(tmp_path), runs).start("r", DEFINITION, rows=broken())
    run = await runs.find("r")
    assert (run.status, run.error_code, run.completed) == ("failed", "flow_input_invalid", 64)
    run = await batch(Tiny(tmp_path), runs).resume("r", rows=rows(*range(102)))
    assert (run.status, run.completed) == ("completed", 102)


async def test_a_mistake_of_the_program_ends_the_run_and_not_its_lines(
    runs: Runs, tmp_path: Path
) -> None:
    def told(progress: Progress) -> None:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError):
        await batch(Tiny(tmp_path), runs, on_progress=told).start("r", DEFINITION, rows=rows(1, 2))
    run = await runs.find("r")
    assert run.status == "interrupted"
    run = await batch(Tiny(tmp_path), runs).resume("r", rows=rows(1, 2))
    assert run.completed == 2


async def test_two_cannot_resume_one_run(url: str, tmp_path: Path) -> None:
    data = written(tmp_path, rows(0, 1))
    async with open_runs(url) as one, open_runs(url) as other:
        await batch(Tiny(tmp_path), one).start("r", Definition(flow="f", data=data))
        results = await asyncio.gather(
            one.take("r", needs_values=False),
            other.take("r", needs_values=False),
            return_exceptions=True,
        )
        assert sum(isinstance(each, ConflictError) for each in results) == 1


async def test_who_has_lost_its_run_keeps_nothing_more(url: str, tmp_path: Path) -> None:
    async with open_runs(url) as one, open_runs(url) as other:
        run = await one.create("r", DEFINITION)
        one.let_go(run.id)
        with pytest.raises(ConflictError):  # its process lives
            await other.take("r", needs_values=False)
        await one.end(run.id, End(status="cancelled"))
        await other.take("r", needs_values=False)
        line = Line(number=0, status="completed", inputs="{}", outputs="{}")
        with pytest.raises(ConflictError, match="Another process has taken"):
            await one.add(run.id, [line], Spent())
        await other.add(run.id, [line], Spent())
        assert (await other.find("r")).completed == 1


async def test_nothing_of_the_data_is_in_errors_or_logs(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    async with open_runs(url) as runs:
        flow = Tiny(tmp_path, lambda inputs: object())
        data = [{"x": "s3cret"}, {"y": "s3cret"}, {"x": "bad", "z": "s3cret"}]
        run = await batch(flow, runs).start("r", DEFINITION, rows=data)
        lines = await runs.lines_after(run.id)
        assert len(lines) == run.failed == 3
        assert all("s3cret" not in (line.error_message or "") for line in lines)
        assert "s3cret" not in repr(lines) + repr(run)
    assert "s3cret" not in caplog.text


class Real:
    """A flow on the engine itself: two nodes, and an aggregation over one of them and an input."""

    def __init__(self, folder: Path) -> None:
        def node(name: str, *, is_aggregation: bool = False, **inputs: str) -> Node:
            ports = tuple(Port(name=k, reference=parse(v)) for k, v in inputs.items())
            return Node(name=name, kind="python", inputs=ports, is_aggregation=is_aggregation)

        self.flow = checked(
            Flow(
                name="real",
                folder=folder,
                inputs=(Input(name="x", kind="int"),),
                nodes=(
                    node("twice", v="${inputs.x}"),
                    node("pair", v="${twice.output}"),
                    node("sum", is_aggregation=True, v="${pair.output.b}", x="${inputs.x}"),
                ),
                outputs=(Output(name="y", reference=parse("${twice.output}")),),
            )
        )
        bodies = {
            "twice": Body(call=lambda v: v * 2, is_async=False),
            "pair": Body(call=lambda v: {"a": 0, "b": v + 1}, is_async=False),
            "sum": Body(call=lambda v, x: sum(v) - 2 * sum(x), is_async=False),
        }
        self._plan = Plan(self.flow, bodies)
        self._engine = Engine(SystemClock())
        self.spent = Spent()
        self.ran: list[int] = []

    async def run(self, inputs: Any, *, number: int | None = None) -> LineResult:
        await asyncio.sleep(0)
        self.ran.append(number or 0)
        return await self._engine.run(self._plan, inputs, number=number)

    async def aggregate(self, lines: Any) -> LineResult:
        result = await self._engine.aggregate(self._plan, lines)
        result.metrics = {"sum": result.values["sum"]}
        return result

    async def aclose(self) -> None:
        await self._engine.__aexit__()


@given(stops=st.lists(st.integers(0, 40), max_size=3), in_flight=st.integers(1, 8))
@settings(max_examples=15)
def test_however_often_it_is_stopped_each_line_is_kept_once_and_the_end_is_the_same(
    stops: list[int], in_flight: int
) -> None:
    async def main(folder: Path) -> None:
        data = written(folder, [{"x": str(n)} for n in range(60)])
        async with open_runs(f"sqlite:{folder / 'farthing.db'}") as runs:
            known: set[int] = set()
            for session, stop in enumerate([*stops, 10_000]):
                flow = Real(folder)
                made = Batch(flow, runs, SystemClock(), in_flight=in_flight)
                start = (
                    made.resume("r")
                    if session
                    else made.start("r", Definition(flow="f", data=data))
                )
                task = asyncio.create_task(start)
                while not task.done() and (len(flow.ran) < stop or "r" not in await names(runs)):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await flow.aclose()
                assert not known & set(flow.ran)
                run = await runs.find("r")
                known = set(await kept(runs, run))
            assert (run.status, run.completed, run.metrics) == ("completed", 60, {"sum": 60})
            assert await kept(runs, run) == {n: {"y": 2 * n} for n in range(60)}

    async def names(runs: Runs) -> list[str]:
        return [run.name for run in await runs.all()]

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))


CHILD = """
import asyncio, sys
from pathlib import Path
from farthing.flows.batch.batch import Batch
from farthing.flows.batch.records import Definition
from farthing.base.clock import SystemClock
from tests.flows.batches import Tiny, open_runs

class Loud(Tiny):
    async def run(self, inputs, *, number=None):
        result = await super().run(inputs, number=number)
        print(number, flush=True)
        return result

async def main(url, data, folder):
    async with open_runs(url) as runs:
        flow = Loud(Path(folder), pause_s=0.002, with_end=True)
        batch = Batch(flow, runs, SystemClock(), in_flight=4)
        try:
            await batch.start("r", Definition(flow="f", data=data))
        except Exception as error:
            if "already" not in str(error):
                raise
            await batch.resume("r")

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_a_killed_run_goes_on_and_no_kept_line_runs_again(
    url: str, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    (tmp_path / "flow").mkdir()
    data = written(tmp_path, rows(*range(400)))
    command = [sys.executable, "-c", CHILD, url, data, str(tmp_path / "flow")]
    environment = {**os.environ, "PYTHONPATH": f"{SRC / 'src'}:{SRC}"}
    known: set[int] = set()
    for _ in range(2):
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        ran = {int(child.stdout.readline()) for _ in range(chance.randrange(5, 120))}
        time.sleep(chance.random() * 0.02)
        os.kill(child.pid, signal.SIGKILL)
        ran |= {int(line) for line in child.stdout.read().split("\n")[:-1]}
        child.wait()
        child.stdout.close()
        assert not known & ran
        async with open_runs(url) as runs:
            run = await runs.find("r")
            assert run.status == "interrupted"
            known = set(await kept(runs, run))
            assert run.completed == len(known)
            assert known
    flow = Tiny(tmp_path / "flow", with_end=True)
    async with open_runs(url) as runs:
        run = await batch(flow, runs).resume("r")
        assert (run.status, run.completed, run.metrics) == ("completed", 400, {"count": 400})
        assert set(flow.ran) == set(range(400)) - known
        assert await kept(runs, run) == {n: {"y": n} for n in range(400)}


async def test_an_interrupt_leaves_a_run_that_can_go_on(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'farthing.db'}"
    (tmp_path / "flow").mkdir()
    data = written(tmp_path, rows(*range(400)))
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url, data, str(tmp_path / "flow")],
        env={**os.environ, "PYTHONPATH": f"{SRC / 'src'}:{SRC}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    ran = {int(child.stdout.readline()) for _ in range(50)}
    child.send_signal(signal.SIGINT)
    ran |= {int(line) for line in child.stdout.read().split()}
    child.wait(20)
    child.stdout.close()
    async with open_runs(url) as runs:
        run = await runs.find("r")
        assert run.status == "cancelled"
        assert set(await kept(runs, run)) == ran


@pytest.mark.chaos
async def test_a_full_disk_ends_a_run_that_goes_on_when_there_is_space(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        data = written(tmp_path, rows(*range(300)))
        flow = Tiny(tmp_path, lambda inputs: "x" * 10_000)
        async with open_runs(f"sqlite:{small / 'farthing.db'}") as runs:
            with pytest.raises(StorageError, match="full"):
                await batch(flow, runs).start("r", Definition(flow="f", data=data))
            before = set(await kept(runs, await runs.find("r")))
            subprocess.run(["mount", "-o", "remount,size=40m", str(small)], check=True)
            again = Tiny(tmp_path, lambda inputs: "x" * 10_000)
            run = await batch(again, runs).resume("r")
            assert (run.status, run.completed) == ("completed", 300)
            assert set(again.ran) == set(range(300)) - before
    finally:
        subprocess.run(["umount", str(small)], check=False)


# --- the folder, names, JSON ---


async def test_a_run_is_exported_in_prompt_flows_shape(runs: Runs, tmp_path: Path) -> None:
    flow_folder = tmp_path / "flow"
    (flow_folder / "sub").mkdir(parents=True)
    (flow_folder / "flow.dag.yaml").write_text("nodes: []\n")
    (flow_folder / "sub" / "a.py").write_text("1\n")
    (flow_folder / ".env").write_text("KEY=1\n")
    pixel = {"data:image/png;base64": "iVBORw0KGgo="}
    flow = Tiny(flow_folder, lambda i: pixel if i["x"] == "i" else i["x"], with_end=True)
    data = written(tmp_path, rows("ä", "bad", "i"))
    definition = Definition(flow=str(flow_folder), data=data, display_name="Shown")
    await batch(flow, runs).start("r", definition)
    (flow_folder / "sub" / "a.py").write_text("2\n")
    made = await export(runs, "r", tmp_path / "out")
    out = tmp_path / "out"

    def lines(name: str) -> list[Any]:
        return [json.loads(line) for line in (out / name).read_text().splitlines()]

    assert lines("inputs.jsonl")[0] == {"x": "ä", "d": "d", "line_number": 0}
    assert len(lines("inputs.jsonl")) == made.lines == 3
    first, second = lines("outputs.jsonl")
    assert first == {"y": "ä", "line_number": 0} and list(first)[-1] == "line_number"
    file = out / second["y"]["data:image/png;path"]
    assert file.read_bytes() == b"\x89PNG\r\n\x1a\n"
    assert json.loads((out / "metrics.json").read_text()) == {"count": 2}
    meta = json.loads((out / "meta.json").read_text())
    assert (meta["batch_size"], meta["name"], meta["status"]) == (1, "r", "completed")
    assert meta["display_name"] == "Shown" and meta["changed_since"] == ["sub/a.py"]
    assert json.loads((out / "error.json").read_text()) == {"node_failed": {"lines": 1, "first": 1}}
    assert "Line 1 failed in 'work'" in (out / "logs.txt").read_text()
    copied = {p.relative_to(out / "snapshot").as_posix() for p in (out / "snapshot").rglob("*.*")}
    assert copied == {"flow.dag.yaml", "sub/a.py"}
    with pytest.raises(ConflictError, match="not empty"):
        await export(runs, "r", out)


async def test_runs_are_listed_newest_first_and_deleted(runs: Runs, tmp_path: Path) -> None:
    for name in ("a", "b"):
        await batch(Tiny(tmp_path), runs).start(name, DEFINITION, rows=rows(1))
    assert [run.name for run in await runs.all()] == ["b", "a"]
    await runs.delete("a")
    assert [run.name for run in await runs.all()] == ["b"]


async def test_runs_are_described_and_put_away(runs: Runs, tmp_path: Path) -> None:
    for name in ("a", "b"):
        await batch(Tiny(tmp_path), runs).start(name, DEFINITION, rows=rows(1))
    run = await runs.describe("a", display_name="First", tags={"k": "v"})
    assert (run.definition.display_name, run.definition.tags) == ("First", {"k": "v"})
    assert (await runs.describe("a", description="d")).definition.display_name == "First"
    assert (await runs.archive("a")).archived_at_ms is not None
    assert [run.name for run in await runs.all()] == ["b"]
    assert [run.name for run in await runs.all(archived=True)] == ["a"]
    await runs.archive("a", is_archived=False)
    assert [run.name for run in await runs.all(archived=None)] == ["b", "a"]
    assert len(await runs.all()) == 2


def test_a_run_has_the_name_that_prompt_flow_would_give() -> None:
    clock = FakeClock(start=1_700_000_000.25)
    assert default_name("web", None, clock) == "web_default_20231114_221320_250000"
    assert default_name("web", "${sum.variant_1}", clock).startswith("web_variant_1_2023")


def test_json_has_images_and_classes_of_the_users() -> None:
    class Word(str):
        __slots__ = ()

    class Picture(bytes):
        source_url: str | None = None

        def to_base64(self, with_type: bool = False) -> str:
            return "data:image/png;base64,AAAA"

    assert msgspec.json.decode(as_json({"a": Word("x"), "b": {1}, "c": Picture(b"\0\0\0")})) == {
        "a": "x",
        "b": [1],
        "c": {"data:image/png;base64": "AAAA"},
    }
    far = Picture()
    far.source_url = "https://h/x.png"
    assert as_json(far) == '{"data:image/png;url":"https://h/x.png"}'
    with pytest.raises(TypeError):
        as_json(object())
