"""What shows only in time: memory over many calls, the start, and reports beside the calls."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks._gateway.requests import chat
from benchmarks._gateway.targets import Project, project
from benchmarks._gateway.world import GATEWAY_CORE, LOAD_CORE, Bench, Target
from benchmarks._harness import FARTHING, cpu_seconds, process, resident_mb, wait_for

SLICES = 20


def memory(bench: Bench) -> None:
    """Resident memory after many calls, and its drift: the slope over the second half of them."""
    count = 1_000_000 if bench.is_long else 20_000 if bench.is_quick else 200_000
    with project(bench) as fresh, fresh.up() as target:
        assert target.pid is not None
        sizes = [resident_mb(target.pid)]
        for _ in range(SLICES):
            bench.load(target, chat(), 32, count=count // SLICES)
            sizes.append(resident_mb(target.pid))
    late = sizes[SLICES // 2 :]
    millions = [number * count / SLICES / 1e6 for number in range(len(late))]
    drift = statistics.linear_regression(millions, late).slope
    bench.report.note(f"Memory was read over {count:,} calls (--long: 1,000,000).")
    bench.report.add("farthing_resident_mb_at_start", sizes[0])
    bench.report.add("farthing_resident_mb", sizes[-1], target=60)
    bench.report.add("farthing_drift_mb_per_million_calls", drift, target=1)


def start(bench: Bench) -> None:
    """CPU seconds of `farthing up` until the first call is answered, its bytecode being compiled already."""
    used = [_first_answer(bench) for _ in range(3 if bench.is_quick else 6)][1:]
    bench.report.add("cold_start_cpu_s", statistics.median(used), target=0.6)
    print(f"  start: {min(used):.2f} to {max(used):.2f} s", flush=True)


def _first_answer(bench: Bench) -> float:
    """Asks for the health, which touches nothing, until something listens; then makes one call."""
    with (
        project(bench) as fresh,
        process([FARTHING, "up"], cwd=fresh.folder, cpu=GATEWAY_CORE) as child,
    ):
        wait_for(f"http://127.0.0.1:{fresh.port}/health", child)
        headers = {"Authorization": f"Bearer {fresh.key}"}
        target = Target(name="start", port=fresh.port, pid=child.pid, headers=headers)
        bench.load(target, chat(), 1, count=1)
        return cpu_seconds(child.pid)


def reports(bench: Bench) -> None:
    """p99 of paced calls while the ledger is summed and exported, over and over, against undisturbed."""
    rows = 5000 if bench.is_quick else 100_000
    with project(bench) as fresh, fresh.up(core=None) as target:
        viewer = fresh.make_key("viewer", role="viewer")
        bench.load(target, chat(), 32, count=rows)
        quiet, busy = [], []
        for _ in range(bench.rounds):
            quiet.append(_p99(bench, target))
            with _reading(fresh, viewer) as count:
                busy.append(_p99(bench, target))
            print(f"  {count()} reports and exports of {rows:,} rows ran beside", flush=True)
    ratio = statistics.median(b / q for b, q in zip(busy, quiet, strict=True))
    bench.report.note(
        f"Reports: GET /admin/spend in the gateway and `farthing spend --rows csv` beside it, over "
        f"{rows:,} rows; the gateway may use both cores."
    )
    bench.report.add("p99_ms_undisturbed", statistics.median(quiet) / 1000)
    bench.report.add("p99_ms_beside_reports", statistics.median(busy) / 1000)
    bench.report.add("p99_ratio_beside_reports", ratio, target=2)


def _p99(bench: Bench, target: Target) -> float:
    return bench.load(target, chat(), 4, rate=200, seconds=max(2.0, bench.seconds)).p99_us


@contextmanager
def _reading(fresh: Project, viewer: str) -> Iterator[Callable[[], int]]:
    """Reports and exports in two loops until the block ends. Gives the count of those that ended well."""
    done: list[str] = []
    is_over = threading.Event()

    def sums() -> None:
        url = f"http://127.0.0.1:{fresh.port}/admin/spend?by=day"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {viewer}"})
        while not is_over.is_set():
            with urllib.request.urlopen(request, timeout=60) as answer:
                answer.read()
            done.append("sum")

    def rows() -> None:
        # The tool that reads may not starve the load generator on its core: it is nicer.
        command = ["nice", "-n", "19", "taskset", "-c", str(LOAD_CORE), FARTHING]
        while not is_over.is_set():
            export = subprocess.Popen(
                [*command, "spend", "--rows", "csv"], cwd=fresh.folder, stdout=subprocess.DEVNULL
            )
            while export.poll() is None and not is_over.is_set():
                time.sleep(0.02)
            if export.poll() is None:
                export.kill()
            if export.wait() == 0:
                done.append("export")

    threads = [threading.Thread(target=each) for each in (sums, rows)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: len(done)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
