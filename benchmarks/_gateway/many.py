"""Many processes and many streams: two workers behind one port, ten thousand streams that say nothing."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks._gateway.requests import chat
from benchmarks._gateway.rounds import Lane, cpu, interleave, print_spread
from benchmarks._gateway.targets import Limits, Project, project
from benchmarks._gateway.world import Bench, Result, SectionError, Target
from benchmarks._harness import resident_mb

NANODOLLARS = 1_000_000_000
#: A budget of one cent, a rate of ten calls a second with a hundred at once: both are met within seconds.
TIGHT_BUDGET = Limits(dollars="0.01")
TIGHT_RATE = Limits(requests_per_minute=600, burst_s=10)
#: Descriptors that a gateway needs beside those of its streams.
SPARE_FILES = 200


def workers(bench: Bench) -> None:
    """Capacity of two workers against one, and what two let through a tight budget and a tight rate."""
    with (
        project(bench) as alone,
        project(bench) as pair,
        alone.up(name="one", core=None) as one,
        pair.up(name="two", core=None, workers=2) as two,
    ):
        lanes = {"one": Lane(target=one, ask=chat()), "two": Lane(target=two, ask=chat())}
        rounds = interleave(bench, lanes, 32)
    bench.report.note(
        "two_workers_capacity_ratio = 2 x CPU per call of one worker / that of two: "
        "the load generator and the mock need one of this machine's cores themselves."
    )
    ratio = 2 * rounds.ratio("one", "two", cpu)
    bench.report.add("two_workers_capacity_ratio", ratio, target=1.8)
    print_spread("workers", rounds)
    _overshoot_of_budget(bench)
    _overshoot_of_rate(bench)


def _overshoot_of_budget(bench: Bench) -> None:
    with project(bench, limits=TIGHT_BUDGET) as tight:
        with tight.up(core=None, workers=2) as target:
            _hammer(bench, target)
        spent = sum(row["nanodollars"] for row in json.loads(tight.run("spend", "--json")))
    limit = int(float(TIGHT_BUDGET.dollars) * NANODOLLARS)
    print(f"  budget: {spent:,} of {limit:,} nanodollars spent", flush=True)
    over = max(0, spent - limit)
    bench.report.add("two_workers_budget_overshoot_nanodollars", over, target=0)


def _overshoot_of_rate(bench: Bench) -> None:
    with project(bench, limits=TIGHT_RATE) as tight:
        if not tight.has_rates:
            bench.report.note("No overshoot of rates: this version has no [rates].")
            return
        with tight.up(core=None, workers=2) as target:
            start = time.monotonic()
            passed = _hammer(bench, target).answered
            elapsed = time.monotonic() - start
    per_second = TIGHT_RATE.requests_per_minute / 60
    allowed = per_second * (TIGHT_RATE.burst_s + elapsed)
    print(f"  rate: {passed:,} calls passed, {allowed:,.0f} allowed", flush=True)
    over = max(0.0, passed - allowed)
    bench.report.add("two_workers_rate_overshoot_calls", over, target=0)


def _hammer(bench: Bench, target: Target) -> Result:
    """More calls than the limit allows, through both workers at once. Raises SectionError if none was refused."""
    result = bench.load(target, chat(), 32, seconds=max(2.0, bench.seconds), may_refuse=True)
    if not result.refused:
        raise SectionError(f"All of {result.answered:,} calls passed: the limit was never met.")
    return result


def idle(bench: Bench) -> None:
    """Memory of an open, silent stream, and how a new call fares beside ten thousand of them."""
    room = os.sysconf("SC_OPEN_MAX")
    wanted = 1000 if bench.is_quick else 10_000
    count = min(wanted, (room - SPARE_FILES) // 2)
    with project(bench) as fresh, fresh.up() as target:
        assert target.pid is not None
        bench.load(target, chat(), 32)
        unloaded = _new_calls(bench, target)
        before = resident_mb(target.pid)
        with _held(bench, target, fresh, count) as held:
            each = (resident_mb(target.pid) - before) * 1000 / held
            loaded = _new_calls(bench, target)
    if held < wanted:
        bench.report.note(
            f"{held:,} idle streams instead of {wanted:,}: {room:,} open files allowed."
        )
    bench.report.add("idle_streams_held", held)
    bench.report.add("idle_stream_resident_kb", each, target=25)
    bench.report.add("idle_streams_p99_ratio", loaded / unloaded, target=3)
    bench.report.add("unloaded_paced_p99_ms", unloaded / 1000)


def _new_calls(bench: Bench, target: Target) -> float:
    """p99 of paced calls, microseconds: the median of the rounds."""
    return statistics.median(
        bench.load(target, chat(), 4, rate=200, seconds=bench.seconds).p99_us
        for _ in range(bench.rounds)
    )


@contextmanager
def _held(bench: Bench, target: Target, fresh: Project, count: int) -> Iterator[int]:
    """`count` streams of the model that falls silent; gives how many are open."""
    silent = Target(name="idle", port=fresh.port, headers=target.headers)
    command = bench.command(silent, chat("hold", stream=True), count, rate=1000)
    command.insert(command.index("-s"), "-i")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        counted = json.loads(child.stdout.readline() or b'{"held": 0}')
        try:
            if counted["held"] < count:
                raise SectionError(f"{counted['held']:,} of {count:,} streams are open: {counted}.")
            yield counted["held"]
        finally:
            child.stdin.close()
            child.wait()
