"""Nodes that misbehave: the line fails with a clear error, and the run goes on."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import SystemClock
from farthing.flows.batch import keeping
from farthing.flows.batch.batch import Batch
from farthing.flows.batch.records import Definition, Line
from farthing.flows.batch.runs import Runs
from farthing.flows.engine.engine import Engine
from farthing.flows.engine.plan import Body, Plan
from farthing.flows.engine.workers import Workers
from farthing.flows.graph import Flow, Input, Node, Output, Port
from farthing.flows.references import parse
from tests.flows.batches import Tiny, open_runs


class Rough(Tiny):
    """A flow of one node whose function is the test's; `x` is its input."""

    def __init__(
        self,
        folder: Path,
        function: Callable[..., Any],
        *,
        threads: int = 4,
        timeout_s: float = 5.0,
    ) -> None:
        super().__init__(folder)
        node = Node(
            name="work", kind="python", inputs=(Port(name="x", reference=parse("${inputs.x}")),)
        )
        self.flow = Flow(
            name="rough",
            folder=folder,
            inputs=(Input(name="x", kind="object"),),
            nodes=(node,),
            outputs=(Output(name="y", reference=parse("${work.output}")),),
        )
        body = Body(call=function, is_async=asyncio.iscoroutinefunction(function))
        self._plan = Plan(self.flow, {"work": body})
        self._engine = Engine(SystemClock(), threads=threads, line_timeout_s=timeout_s)

    async def run(self, inputs: Any, *, number: int | None = None) -> Any:
        return await self._engine.run(self._plan, inputs, number=number)

    async def aclose(self) -> None:
        await self._engine.__aexit__()


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    async with open_runs(f"sqlite:{tmp_path / 'farthing.db'}") as opened:
        yield opened


async def ran(runs: Runs, flow: Rough, *values: Any) -> tuple[list[Line], list[Line]]:
    """The lines that were completed, and those that failed."""
    await Batch(flow, runs, SystemClock()).start(
        "r", Definition(flow="f"), rows=[{"x": value} for value in values]
    )
    await flow.aclose()
    return (
        await runs.lines_after(1, status="completed"),
        await runs.lines_after(1, status="failed"),
    )


async def test_functions_that_hang_fail_their_lines_and_take_no_threads_from_others(
    runs: Runs, tmp_path: Path
) -> None:
    freed = threading.Event()

    def work(x: int) -> int:
        if x < 12:
            freed.wait(60)
        return x

    # Twelve hang, and there are two threads: each that is given up has another in its place.
    good, bad = await ran(runs, Rough(tmp_path, work, threads=2, timeout_s=0.2), *range(200))
    freed.set()
    assert {line.number for line in bad} >= set(range(2))
    assert {line.number for line in bad} <= set(range(12)) | {12, 13, 14, 15}
    assert {line.error_message for line in bad} == {bad[0].error_message}
    assert "longer than 0.2 s; it was at: work." in (bad[0].error_message or "")
    assert len(good) + len(bad) == 200


async def test_an_async_function_that_cannot_be_cancelled_ends_its_line(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farthing.flows.engine.line.CANCEL_S", 0.05)
    freed = asyncio.Event()

    async def work(x: int) -> int:
        while x == 0 and not freed.is_set():
            try:
                await freed.wait()
            except asyncio.CancelledError:
                continue
        return x

    good, bad = await ran(runs, Rough(tmp_path, work, timeout_s=0.1), 0, 1)
    freed.set()
    assert ([line.number for line in good], [line.number for line in bad]) == ([1], [0])


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, StopIteration, MemoryError])
async def test_whatever_a_function_raises_fails_its_line_only(
    runs: Runs, tmp_path: Path, error: type[BaseException], is_async: bool
) -> None:
    def plain(x: int) -> int:
        if x == 1:
            raise error
        return x

    async def waiting(x: int) -> int:
        await asyncio.sleep(0)
        return plain(x)

    good, bad = await ran(runs, Rough(tmp_path, waiting if is_async else plain), 0, 1, 2)
    assert ([line.number for line in good], [line.number for line in bad]) == ([0, 2], [1])
    # A coroutine that raises StopIteration raises RuntimeError in Python itself.
    name = "RuntimeError" if is_async and error is StopIteration else error.__name__
    assert bad[0].error_message == (
        f"The node 'work' failed with {name}. "
        "Run the flow with this line alone to see where: `farthing flow test`."
    )


async def test_a_flood_of_output_is_not_gathered(
    runs: Runs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def work(x: int) -> int:
        sys.__stdout__.write("flood " * 20_000)  # type: ignore[union-attr]
        return x

    good, bad = await ran(runs, Rough(tmp_path, work), *range(20))
    assert (len(good), bad) == (20, [])
    capfd.readouterr()


def _around_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Odd:
    """A class of the user's that breaks when it is looked at."""

    @property
    def to_base64(self) -> None:
        raise ZeroDivisionError("secret")


@pytest.mark.parametrize(
    "make", [object, Odd, _around_itself, lambda: {object(): 1}, lambda: "\ud800"]
)
async def test_what_cannot_be_kept_fails_its_line(
    runs: Runs, tmp_path: Path, make: Callable[[], Any]
) -> None:
    good, bad = await ran(runs, Rough(tmp_path, lambda x: make() if x == 1 else x), 0, 1, 2)
    assert ([line.number for line in good], [line.number for line in bad]) == ([0, 2], [1])
    assert "The output 'y' is a" in (bad[0].error_message or "")
    assert "secret" not in (bad[0].error_message or "")


async def test_what_is_too_long_to_be_kept_fails_its_line(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "MOST_BYTES", 1 << 20)
    good, bad = await ran(runs, Rough(tmp_path, lambda x: "a" * (x << 20)), 0, 2)
    assert ([line.number for line in good], [line.number for line in bad]) == ([0], [1])
    assert "too long to be kept: 2 MiB" in (bad[0].error_message or "")


async def test_a_node_that_finds_no_space_fails_its_line(runs: Runs, tmp_path: Path) -> None:
    def work(x: int) -> int:
        if x == 1:
            with Path("/dev/full").open("w") as file:
                file.write("x")
        return x

    good, bad = await ran(runs, Rough(tmp_path, work), 0, 1, 2)
    assert ([line.number for line in good], [line.number for line in bad]) == ([0, 2], [1])
    assert "failed with OSError" in (bad[0].error_message or "")


async def test_waiting_functions_run_at_once_and_quick_ones_in_one_thread() -> None:
    workers = Workers(16, name="test")
    names: set[str] = set()

    def slow() -> None:
        time.sleep(0.2)

    def quick() -> None:
        names.add(threading.current_thread().name)

    for _ in range(50):
        await workers.call(quick)
    assert len(names) == 1
    before = time.monotonic()
    await asyncio.gather(*(workers.call(slow) for _ in range(16)))
    assert time.monotonic() - before < 1.6  # one after the other they take 3.2 s
    with pytest.raises(RuntimeError, match="StopIteration"):  # no coroutine can raise it as it is
        await workers.call(lambda: next(iter(())))
    workers.close()
