"""Calls and streams, forwarded: CPU beside nginx, the prototype and the peers, and the latency added.

The mock sends each event as a packet. Events that arrive while a proxy is busy are read together, so a slow
proxy meets fewer packets per stream than a quick one: a stream's ratio flatters whoever is slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from benchmarks._gateway.peers import peers
from benchmarks._gateway.requests import EVENTS, Ask, chat
from benchmarks._gateway.rounds import Lane, Rounds, cpu, interleave, print_spread
from benchmarks._gateway.targets import farthing, nginx, prototype
from benchmarks._gateway.world import Bench, SectionError, Target

CONNECTIONS = (1, 32, 128)
#: Peers are slow and start processes of their own: they are compared where it tells most.
PEER_CONNECTIONS = (1, 32)


def calls(bench: Bench) -> None:
    """Every target at every number of connections, calls first, then streams."""
    with ExitStack() as stack:
        targets = _targets(bench, stack)
        rivals = stack.enter_context(peers(bench)) if bench.with_peers else {}
        small = 0.0
        for kind, ask in (("call", chat()), ("stream", chat(stream=True))):
            able = _able(bench, rivals, ask, kind)
            for connections in CONNECTIONS:
                lanes = {name: Lane(target=each, ask=ask) for name, each in targets.items()}
                if connections == 1:
                    lanes["direct"] = Lane(target=bench.direct, ask=ask)
                if connections in PEER_CONNECTIONS:
                    lanes |= able
                rounds = interleave(bench, lanes, connections)
                _report_cpu(bench, rounds, f"{kind}_c{connections}")
                if connections == 1:
                    _report_latency(bench, rounds, kind)
                if connections == 32 and kind == "call":
                    small = rounds.median("farthing", cpu)
                if connections == 32 and kind == "stream":
                    marginal = (rounds.median("farthing", cpu) - small) / EVENTS
                    bench.report.add("farthing_cpu_us_per_event_c32", marginal, target=6)


def _targets(bench: Bench, stack: ExitStack) -> dict[str, Target]:
    targets = {
        "farthing": stack.enter_context(farthing(bench)),
        "prototype": stack.enter_context(prototype(bench)),
    }
    try:
        targets["nginx"] = stack.enter_context(nginx(bench))
    except SectionError as why:
        bench.report.note(f"No row of nginx: {why}")
    return targets


def _able(bench: Bench, rivals: Mapping[str, Target], ask: Ask, kind: str) -> dict[str, Lane]:
    """The peers that answer this request at all, warm: a just-in-time compiler needs its calls."""
    lanes = {}
    for name, target in rivals.items():
        try:
            bench.load(target, ask, 1, count=3)
            bench.load(target, ask, 32, seconds=bench.seconds)
        except SectionError as why:
            bench.report.note(f"No {kind} of {name}: {why}")
            continue
        lanes[name] = Lane(target=target, ask=ask)
    return lanes


def _report_cpu(bench: Bench, rounds: Rounds, what: str) -> None:
    aims = {"call_c32": (150.0, 4.0), "stream_c32": (400.0, None)}
    most, ratio = aims.get(what, (None, None))
    for name in rounds.results:
        if name != "direct":
            target = most if name == "farthing" else None
            bench.report.add(f"{name}_cpu_us_per_{what}", rounds.median(name, cpu), target=target)
    if "nginx" in rounds.results:
        for name in ("farthing", "prototype"):
            target = ratio if name == "farthing" else None
            value = rounds.ratio(name, "nginx", cpu)
            bench.report.add(f"{name}_cpu_ratio_to_nginx_per_{what}", value, target=target)
    print_spread(what, rounds)


def _report_latency(bench: Bench, rounds: Rounds, kind: str) -> None:
    add = bench.report.add
    for name in rounds.results:
        if name == "direct":
            continue
        is_ours = name == "farthing"
        if kind == "stream":
            first = rounds.added(name, "direct", lambda each: each.first_p50_us) / 1000
            add(f"{name}_added_first_token_ms_c1", first, target=0.5 if is_ours else None)
            continue
        p50 = rounds.added(name, "direct", lambda each: each.p50_us) / 1000
        p99 = rounds.added(name, "direct", lambda each: each.p99_us) / 1000
        add(f"{name}_added_p50_ms_c1", p50, target=0.4 if is_ours else None)
        add(f"{name}_added_p99_ms_c1", p99)
