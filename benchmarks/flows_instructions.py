"""CPU instructions that flows take, by valgrind: figures that no neighbour on the machine disturbs.

Commands are counted whole. A line of a batch, a request to a served flow and a node of the engine are the
difference of two counts, divided: without the start, and without the kernel (waking a thread costs more than
it shows here). The model and the client are the C programs of `_gateway`. Two counts differ by a percent or
two, more where threads take turns. Needs gcc and valgrind.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._flows import (
    environment,
    flow_run,
    seconds_of,
    shapes,
    write_data,
    write_flow,
    write_settings,
)
from benchmarks._gateway.requests import Ask
from benchmarks._gateway.world import SectionError, build, mock
from benchmarks._harness import FARTHING, Report, free_port, wait_for
from farthing.base.clock import SystemClock
from farthing.flows.engine.engine import Engine

#: Under valgrind a start takes this many seconds at most.
START_S = 120.0
_PF_VERSION = [FARTHING, "pf", "--version"]
_ASK = Ask(path="/score", body=b'{"text": "a farthing"}', token='"answer"', headers={})


def main() -> None:
    """Count what is asked for, and print the report."""
    counts: dict[str, Callable[[Path, int], float]] = {
        "pf_version": lambda folder, _: _whole(folder, _PF_VERSION),
        "flow_test": lambda folder, _: _whole(folder, _flow_test(folder)),
        **{f"engine_{name}_node": _engine(name) for name in shapes()},
        "batch_model_line": _batch("model", 100, 500),
        "batch_plain_line": _batch("plain", 500, 2500),
        "score_request": lambda folder, _: (_served(folder, 600) - _served(folder, 100)) / 500,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(counts)}; all by default")
    parser.add_argument("--engine", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        asyncio.run(_lines(options.engine[0], int(options.engine[1])))
        return
    report = Report("flows_instructions")
    if not shutil.which("valgrind"):
        report.note("Nothing was counted: valgrind is not installed.")
        return
    with tempfile.TemporaryDirectory(prefix="bench-flows-") as name, _world(Path(name)) as port:
        for figure in options.names or counts:
            report.add(f"{figure}_thousand", counts[figure](Path(name), port) / 1000)
    report.print(keep=not options.names)


@contextmanager
def _world(folder: Path) -> Iterator[int]:
    """The tools, the flows and the model; gives its port."""
    try:
        build(folder)
    except SectionError as why:
        raise SystemExit(f"Nothing was counted. {why}") from None
    with mock(folder) as port:
        write_settings(folder, mock=port)
        write_flow(folder / "model", with_model=True)
        write_flow(folder / "plain", with_model=False)
        for command in (_PF_VERSION, _flow_test(folder)):  # writes what Python keeps of modules
            subprocess.run(command, cwd=folder, env=_env(folder), check=True, capture_output=True)
        yield port


def _flow_test(folder: Path) -> list[str]:
    return [FARTHING, "flow", "test", str(folder / "plain"), "--inputs", "text=a"]


def _env(folder: Path) -> dict[str, str]:
    return {**environment(folder), "PYTHONHASHSEED": "0"}


def _counted(folder: Path, command: Sequence[str]) -> list[str]:
    out = f"--cachegrind-out-file={folder / 'out'}"
    return ["valgrind", "--tool=cachegrind", "--cache-sim=no", out, *command]


def _told(log: str) -> float:
    found = re.search(r"I\s+refs:\s+([\d,]+)", log)
    if found is None:
        raise SystemExit(f"It was not counted: {log[-500:]}")
    return float(found[1].replace(",", ""))


def _whole(folder: Path, command: Sequence[str]) -> float:
    """Instructions of a command from its start to its end."""
    done = subprocess.run(
        _counted(folder, command),
        cwd=folder,
        env=_env(folder),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"It failed: {done.stderr[-500:]}")
    return _told(done.stderr)


def _batch(flow: str, few: int, many: int) -> Callable[[Path, int], float]:
    """Per line of a run."""

    def count(folder: Path, _: int) -> float:
        def run(lines: int) -> float:
            data = write_data(folder / f"{lines}.jsonl", lines)
            name = f"{flow}-{lines}"
            used = _whole(folder, flow_run(folder / flow, data, name))
            seconds_of(folder, name)  # it looks whether a line has failed
            return used

        return (run(many) - run(few)) / (many - few)

    return count


def _engine(name: str) -> Callable[[Path, int], float]:
    """Per node of lines that run one after the other."""
    plan, times = shapes()[name]

    def count(folder: Path, _: int) -> float:
        def run(times: int) -> float:
            return _whole(folder, [sys.executable, __file__, "--engine", name, str(times)])

        return (run(times + 2) - run(2)) / times / len(plan.steps)

    return count


async def _lines(name: str, times: int) -> None:
    plan, _ = shapes()[name]
    async with Engine(SystemClock()) as engine:
        for _ in range(times):
            result = await engine.run(plan, {"x": "a"})
            assert result.error is None
    os._exit(0)


def _served(folder: Path, requests: int) -> float:
    """A server that is started, answers so many requests and ends."""
    port, log = free_port(), folder / "served.log"
    command = [FARTHING, "flow", "serve", str(folder / "plain"), "--port", str(port)]
    with log.open("w") as out:
        child = subprocess.Popen(
            _counted(folder, command), cwd=folder, env=_env(folder), stdout=out, stderr=out
        )
        try:
            wait_for(f"http://localhost:{port}/health", child, seconds=START_S)
            request = folder / "score.request"
            request.write_bytes(_ASK.encoded({}))
            load = [str(folder / "load"), "-s", "600", "-n", str(requests), "-r", "0"]
            load += ["-t", _ASK.token, str(port), str(request), "16"]
            subprocess.run(load, check=True, capture_output=True)
            child.send_signal(signal.SIGINT)
            child.wait(START_S)
        finally:
            child.kill()
            child.wait()
    return _told(log.read_text())


if __name__ == "__main__":
    main()
