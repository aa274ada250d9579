"""What settings cost that are off by default: power-safe commits, the access log."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks._gateway.requests import chat
from benchmarks._gateway.rounds import Lane, cpu, interleave, print_spread
from benchmarks._gateway.targets import project
from benchmarks._gateway.world import Bench

OPTIONS = {
    "default": "",
    "power": '[ledger]\ndurability = "power"\n',
    "access_log": "[telemetry]\naccess_log = true\n",
}


def options(bench: Bench) -> None:
    """CPU and median latency of calls with each option, against those of the defaults."""
    with ExitStack() as stack:
        lanes = {}
        for name, settings in OPTIONS.items():
            fresh = stack.enter_context(project(bench, more=settings))
            target = stack.enter_context(fresh.up(name=name))
            lanes[name] = Lane(target=target, ask=chat())
        rounds = interleave(bench, lanes, 32)
    for name in list(OPTIONS)[1:]:
        bench.report.add(f"farthing_cpu_ratio_{name}", rounds.ratio(name, "default", cpu))
        added = rounds.added(name, "default", lambda each: each.p50_us) / 1000
        bench.report.add(f"farthing_added_p50_ms_{name}_c32", added)
    print_spread("options", rounds)
