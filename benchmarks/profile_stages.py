"""Where the microseconds of a call and of a stream go, stage by stage, with everything on.

Farthing runs under load (32 in flight, one core) with the sampler of `_gateway/sampled.py` in it. A stage is a
set of modules; time in a library or in the kernel belongs to the module that called it. A second table says
what costs extra, from the last whole run of `gateway.py`. `--write FILE` replaces what stands between the
tables' markers in a page, as `docs/guide/performance.md` has them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._gateway.requests import chat
from benchmarks._gateway.sampled import LOOP
from benchmarks._gateway.targets import project
from benchmarks._gateway.world import HERE, Bench, SectionError, Target, build, mock
from benchmarks._harness import RESULTS, Report

#: Stages in the order of a call, by the beginnings of module names; the longest beginning wins.
STAGES: Mapping[str, tuple[str, ...]] = {
    "edge: connections, HTTP, deadlines": (
        "farthing.server",
        "farthing.wire.edge",
        "uvicorn",
        "starlette",
    ),
    "faces: path, key header, body's routed fields": (
        "farthing.server.faces",
        "farthing.server.exchange",
        "farthing.server.malformed",
        "farthing.server.paths",
    ),
    "gateway: the steps of a call, policy, tries": ("farthing.gateway", "farthing.core"),
    "accounts: keys, budgets, rates, ledger": ("farthing.accounts", "farthing.base.storage"),
    "upstream: pool, request, answer": ("farthing.providers", "farthing.wire.upstream", "aiohttp"),
    "codecs: dialects, events, token bounds": ("farthing.wire", "farthing.base.tokens"),
    "metrics and logs": ("farthing.base.telemetry",),
    "the rest of Farthing": ("farthing",),
    "event loop and its part of the kernel": (LOOP,),
}
THREADS = "other threads (the database's)"
#: What costs extra: words, the figure of `benchmarks/gateway.py`, digits after the point, unit.
EXTRAS = (
    ("a small call", "farthing_cpu_us_per_call_c32", 0, "µs"),
    ("a stream of 53 events", "farthing_cpu_us_per_stream_c32", 0, "µs"),
    ("each event of a stream", "farthing_cpu_us_per_event_c32", 1, "µs"),
    ("a prompt of 16 kB", "farthing_cpu_ratio_16kb_to_small", 2, "× the small call"),
    (
        "a prompt of 128 kB with images",
        "farthing_cpu_ratio_128kb_images_to_small",
        2,
        "× the small call",
    ),
    ("a call in another dialect", "farthing_cpu_us_per_translated_call_c32", 0, "µs"),
    ("a stream in another dialect", "farthing_cpu_us_per_translated_stream_c32", 0, "µs"),
    ("TLS to the provider", "farthing_cpu_ratio_tls_to_plain_upstream", 2, "× plain"),
    (
        '`ledger.durability = "power"`',
        "farthing_added_p50_ms_power_c32",
        2,
        "ms, median, 32 in flight",
    ),
    ("`telemetry.access_log`", "farthing_cpu_ratio_access_log", 2, "× without"),
    ("latency added to a call, median", "farthing_added_p50_ms_c1", 2, "ms"),
    ("latency added to the first token, median", "farthing_added_first_token_ms_c1", 2, "ms"),
    ("an open stream that says nothing", "idle_stream_resident_kb", 1, "kB"),
    ("a worker", "farthing_resident_mb", 0, "MB"),
    ("a start, up to the first answer", "cold_start_cpu_s", 2, "s of CPU"),
)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Microseconds per answer: of each stage, of all, and of all what the kernel took in the main thread."""

    stages: Mapping[str, float]
    whole: float
    kernel: float


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="bench-profile-") as name:
        folder = Path(name)
        try:
            build(folder)
            with mock(folder) as port:
                profiles = _measure(folder, port, arguments.seconds)
        except (SectionError, RuntimeError) as why:
            print(f"Nothing was measured. {why}")
            sys.exit(1)
    tables = {"profile": _stages(profiles), "extras": _extras()}
    for name, table in tables.items():
        print(table)
        if arguments.write:
            _replace(arguments.write, name, table)


def _measure(folder: Path, port: int, seconds: float) -> dict[str, Profile]:
    bench = Bench(
        report=Report("profile"),
        folder=folder,
        mock=port,
        seconds=seconds,
        rounds=1,
        is_quick=False,
        is_long=False,
        with_peers=False,
    )
    output = folder / "profile.json"
    program = (sys.executable, str(HERE / "sampled.py"), str(output))
    with project(bench) as fresh, fresh.up(program=program) as target:
        return {
            "call": _profile(bench, target, output, stream=False),
            "stream": _profile(bench, target, output, stream=True),
        }


def _profile(bench: Bench, target: Target, output: Path, *, stream: bool) -> Profile:
    assert target.pid is not None
    ask = chat(stream=stream)
    bench.load(target, ask, 32, seconds=1)
    os.kill(target.pid, signal.SIGUSR2)
    answered = bench.load(target, ask, 32).answered
    os.kill(target.pid, signal.SIGUSR2)
    for _ in range(100):
        if output.exists():
            break
        time.sleep(0.05)
    else:
        raise RuntimeError("The sampler wrote nothing within 5 s.")
    read = json.loads(output.read_text())
    output.unlink()
    per_answer = 1e6 / answered
    stages = dict.fromkeys(STAGES, 0.0)
    for module, spent in read["modules"].items():
        stages[stage_of(module)] += spent * per_answer
    stages[THREADS] = (read["process_s"] - read["thread_s"]) * per_answer
    whole = read["process_s"] * per_answer
    return Profile(stages=stages, whole=whole, kernel=read["thread_kernel_s"] * per_answer)


def stage_of(module: str) -> str:
    """The stage with the longest beginning of this module's name."""
    fitting = [
        (len(beginning), stage)
        for stage, beginnings in STAGES.items()
        for beginning in beginnings
        if f"{module}.".startswith(f"{beginning}.")
    ]
    return max(fitting)[1]


def _stages(profiles: Mapping[str, Profile]) -> str:
    call, stream = profiles["call"], profiles["stream"]
    rows = [(name, spent, stream.stages[name]) for name, spent in call.stages.items()]
    rows += [
        ("**all**", call.whole, stream.whole),
        ("of it in the kernel", call.kernel, stream.kernel),
    ]
    lines = [f"| {name} | {one:,.0f} | {other:,.0f} |" for name, one, other in rows]
    head = ["| stage | µs per call | µs per stream of 53 events |", "|---|---:|---:|"]
    return "\n".join(head + lines)


def _extras() -> str:
    """What costs extra, from the last whole run of `benchmarks/gateway.py`; a row for each figure it has."""
    kept = json.loads((RESULTS / "gateway.json").read_text(encoding="utf-8"))["figures"]
    lines = [
        f"| {what} | {kept[name]:,.{digits}f} {unit} |"
        for what, name, digits, unit in EXTRAS
        if name in kept
    ]
    return "\n".join(["| what | costs |", "|---|---:|", *lines])


def _replace(page: Path, name: str, table: str) -> None:
    """Put a table between the page's markers of that name. Exits with a sentence when they are not there."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = page.read_text(encoding="utf-8")
    between = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not between.search(text):
        sys.exit(f"{page} has no lines {begin} and {end} to write between.")
    page.write_text(
        between.sub(lambda _: f"{begin}\n{table}\n{end}", text, count=1), encoding="utf-8"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of load for each column")
    parser.add_argument("--write", type=Path, metavar="FILE", help="page to put the table into")
    return parser.parse_args()


if __name__ == "__main__":
    main()
