"""What flows cost: commands, the engine, batches with and without a model, a served flow; prompt flow beside.

Commands run on one core; `_gateway/mock.c`, a model without latency over HTTP, has the other. CPU seconds are
user and system, of the whole command. A batch runs by `farthing flow run` with everything booked; its lines
per second are from the run's own times. Medians of `--rounds`. prompt flow runs the same flow and the same
model where `--promptflow PYTHON` names an interpreter that has it (`pip install promptflow promptflow-tools
keyrings.alt`); its time is from the start of its process to the end, since its runs tell no other.
Needs gcc.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._flows import (
    environment,
    flow_run,
    measured,
    nested_maps,
    promptflow_run,
    seconds_of,
    shapes,
    write_data,
    write_flow,
    write_settings,
)
from benchmarks._gateway.requests import Ask
from benchmarks._gateway.world import GATEWAY_CORE, Bench, SectionError, Target, build, mock
from benchmarks._harness import FARTHING, Report, free_port, process, wait_for
from farthing.base.clock import SystemClock
from farthing.flows.engine.engine import Engine
from farthing.flows.serving.asking import CallersModels


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small batches: a look, not a result")
    parser.add_argument("--promptflow", metavar="PYTHON", help="an interpreter with prompt flow")
    arguments = parser.parse_args()
    report = Report("flows")
    with tempfile.TemporaryDirectory(prefix="bench-flows-") as name:
        folder = Path(name)
        try:
            build(folder)
        except SectionError as why:
            print(f"Nothing was measured. {why}")
            sys.exit(1)
        with mock(folder) as port:
            write_settings(folder, mock=port)
            write_flow(folder / "model", with_model=True)
            write_flow(folder / "plain", with_model=False)
            commands(report, folder, arguments.rounds)
            asyncio.run(engine(report, arguments.rounds))
            asyncio.run(nested(report, arguments.rounds))
            batches(report, folder, arguments.rounds, is_quick=arguments.quick)
            served(report, folder, port, arguments.rounds)
            if arguments.promptflow:
                beside(report, folder, port, arguments.promptflow)
            else:
                report.note("prompt flow was not run: no --promptflow.")
    report.print(keep=not arguments.quick)


def commands(report: Report, folder: Path, rounds: int) -> None:
    """Commands from their start to their end."""
    version = [FARTHING, "pf", "--version"]
    test = [FARTHING, "flow", "test", str(folder / "plain"), "--inputs", "text=a"]
    for name, command, target in (("pf_version", version, 0.15), ("flow_test", test, 0.5)):
        measured(command, folder)  # writes what Python keeps of modules
        took = _median(lambda: measured(command, folder, core=GATEWAY_CORE).cpu_s, rounds)  # noqa: B023
        report.add(f"{name}_cpu_s", took, target=target)


async def engine(report: Report, rounds: int) -> None:
    """CPU milliseconds per node that does nothing, in three shapes of flow."""
    async with Engine(SystemClock()) as opened:
        for name, (plan, times) in shapes().items():
            took = []
            for _ in range(rounds + 1):
                before_s = time.process_time()
                for _ in range(times):
                    result = await opened.run(plan, {"x": "a"})
                    assert result.error is None
                took.append((time.process_time() - before_s) / times / len(plan.steps) * 1000)
            report.add(f"engine_{name}_cpu_ms_per_node", statistics.median(took[1:]), target=0.05)


async def nested(report: Report, rounds: int) -> None:
    """CPU milliseconds of each map, of flows in flows in flows; linear when ten deep cost the same."""
    for depth in (10, 100):
        flow = nested_maps(depth).open(models=CallersModels(), clock=SystemClock())
        took = []
        for _ in range(rounds + 1):
            before_s = time.process_time()
            for _ in range(10):
                result = await flow.run({"x": 1})
                assert result.error is None
                assert len(result.traces) == 2 * depth + 1
            took.append((time.process_time() - before_s) / 10 / depth * 1000)
        await flow.aclose()
        report.add(f"nested_{depth}_maps_cpu_ms_per_map", statistics.median(took[1:]))


def batches(report: Report, folder: Path, rounds: int, *, is_quick: bool) -> None:
    """Lines per second, and memory at its highest."""
    few = write_data(folder / "few.jsonl", 1000)
    lines = 5000 if is_quick else 1_000_000
    many = write_data(folder / "many.jsonl", lines)
    found = []
    for number in range(rounds):
        name = f"model-{number}"
        run = measured(flow_run(folder / "model", few, name), folder, core=GATEWAY_CORE)
        found.append((1000 / seconds_of(folder, name), run.peak_mib, run.cpu_s))
    speeds, peaks, seconds = zip(*found, strict=True)
    report.add("batch_model_lines_per_s", statistics.median(speeds), target=1000)
    report.add("batch_model_peak_mib", max(peaks), target=120)
    report.add("batch_model_cpu_s", statistics.median(seconds))
    run = measured(flow_run(folder / "plain", many, "plain"), folder, core=GATEWAY_CORE)
    report.add("batch_plain_lines_per_s", lines / seconds_of(folder, "plain"))
    report.add("batch_plain_peak_mib", run.peak_mib, target=200)


def served(report: Report, folder: Path, mock_port: int, rounds: int) -> None:
    """Requests per second of `farthing flow serve`, with three plain functions each."""
    port = free_port()
    command = [FARTHING, "flow", "serve", str(folder / "plain"), "--port", str(port)]
    log = folder / "serve.log"
    env = environment(folder)
    with process(command, cwd=folder, env=env, cpu=GATEWAY_CORE, log=log) as child:
        wait_for(f"http://localhost:{port}/health", child)
        bench = Bench(
            report=report,
            folder=folder,
            mock=mock_port,
            seconds=2.0,
            rounds=rounds,
            is_quick=False,
            is_long=False,
            with_peers=False,
        )
        ask = Ask(path="/score", body=b'{"text": "a farthing"}', token='"answer"', headers={})
        target = Target(name="serve", port=port, pid=child.pid)
        try:
            results = [bench.load(target, ask, 16) for _ in range(rounds)]
        except SectionError as why:
            report.note(f"The served flow was not measured: {why}")
            return
    speeds = [each.answered / each.seconds for each in results]
    report.add("score_requests_per_s", statistics.median(speeds), target=1500)
    report.add("score_cpu_us", statistics.median(each.cpu_us for each in results))


def beside(report: Report, folder: Path, mock_port: int, python: str) -> None:
    """prompt flow on the same batch of a model's flow, once, on the same core."""
    few = folder / "few.jsonl"
    try:
        run = promptflow_run(python, folder, few, mock_port, core=GATEWAY_CORE)
    except subprocess.SubprocessError as why:
        report.note(f"prompt flow did not run: {type(why).__name__}.")
        return
    report.add("promptflow_batch_model_lines_per_s", 1000 / run.seconds)
    report.add("promptflow_batch_model_peak_mib", run.peak_mib)
    report.add("promptflow_batch_model_cpu_s", run.cpu_s)
    ours = report.figures["batch_model_cpu_s"]
    report.add("promptflow_batch_model_cpu_ratio", run.cpu_s / ours, target=50)


def _median(measure: Callable[[], float], rounds: int) -> float:
    return statistics.median(measure() for _ in range(rounds))


if __name__ == "__main__":
    main()
