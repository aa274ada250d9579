"""Every fault of the simulator's menu against the gateway: it never lies, hangs, leaks or charges twice.

Each fault × {whole, stream} × {first, middle, last event} × {one deployment, a healthy second one} × client
dialect × provider dialect, over real sockets; in the middle also for a tool call. The judge is what the
simulated region really sent (`_faultworld.truth`), read by a reader that shares no code with the gateway:

- fabricated_stops: the client saw a stop reason and no provider had sent one.
- truncated_as_complete: the client was told that the answer is whole and its text is not a text that a
  provider finished; or a stream or body ended quietly, with neither stop reason nor error.
- good_answers_lost: a fault that harms no answer (a slow one, a doubled end mark, no usage) failed the call.
- failover_success_share: with a healthy second deployment and no content sent by the first, the answer is
  complete. A 400 is left out: it speaks about the request, which would be as wrong elsewhere.
- hung: no end within the configured `timeouts.call_s`.
- unsettled_calls: not exactly one record, other ledger rows than the record says, or a hold left open.

An answer whose stop reason came but whose transfer broke after it (a missing `[DONE]`, bytes promised and not
sent) may be passed on as complete or reported as an error: both are true.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import aiohttp
import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._faultworld import (
    TIMEOUTS,
    Lane,
    World,
    lanes,
    quiet,
    simulated,
    world,
)
from benchmarks._harness import Report
from benchmarks._speakers import SPEAKERS, Seen, ask, read
from farthing.accounts.ledger import Entry, entries_of
from farthing.sim.faults import MENU
from farthing.sim.http import Simulator
from farthing.sim.scenario import FaultTable, Where
from farthing.sim.script import Script

#: After these the answer is whole all the same.
HARMLESS = frozenset({"slow_drip", "duplicate_done", "missing_usage"})
#: The provider's verdict on the request itself, which holds everywhere.
VERDICTS = frozenset({"status_400", "truncated_json_400"})
#: What a call may take beyond `timeouts.call_s` on a busy machine, seconds.
SLACK_S = 2.0
#: How far one bomb may raise the memory, megabytes: it is 64 MiB unpacked, and is told well before.
BOMB_PEAK_MB = 48.0
WHERES: tuple[Where, ...] = get_args(Where)
Setup = Literal["alone", "pair"]
SETUPS: tuple[Setup, ...] = get_args(Setup)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One call that meets one fault."""

    lane: Lane
    fault: str
    where: Where
    stream: bool
    setup: Setup
    tool: bool = False

    def __str__(self) -> str:
        shape = f"{'tool call ' * self.tool}{'stream' if self.stream else 'whole'}"
        lane = f"{self.lane.client} to {self.lane.flavour}"
        return f"{self.fault}@{self.where} {shape}, {self.setup}, {lane}"


class Outcome(msgspec.Struct, kw_only=True):
    """What the client got, beside what the regions sent."""

    case: Case
    status: int = 0
    seen: Seen
    is_cut: bool = False
    seconds: float = 0.0
    call_id: str | None = None
    broken: list[Seen] = []
    healthy: list[Seen] = []

    @property
    def is_complete(self) -> bool:
        """Whether the client takes it for the whole answer."""
        return self.status == 200 and not self.is_cut and self.seen.claims_complete


def cases(lane: Lane, faults: Sequence[str], wheres: Sequence[Where] = WHERES) -> list[Case]:
    """All cases of a lane. `status_429` comes last: it makes the gateway rest the deployment."""
    order = sorted(faults, key=lambda name: name == "status_429")
    return [
        Case(lane=lane, fault=fault, where=where, stream=stream, setup=setup, tool=tool)
        for fault in order
        for where in wheres
        for stream in (False, True)
        for setup in SETUPS
        for tool in ((False, True) if where == "middle" and fault != "gzip_bomb" else (False,))
    ]


async def run(world: World, case: Case, number: int) -> Outcome:
    """Make one call while the fault is on."""
    broken, healthy = world.region(case.lane.broken), world.region(case.lane.healthy)
    broken.sent.clear()
    healthy.sent.clear()
    broken.faults = (FaultTable(name=case.fault, at=case.where),)
    await world.simulator.set_alive(case.lane.broken, True)
    text = f"Number {number}: " + "the quick brown fox jumps over the lazy dog and sleeps " * 3
    route = f"{case.lane.name}-{case.setup}"
    text += "sim:tool" * case.tool
    question = ask(case.lane.client, route, text, stream=case.stream, tool=case.tool)
    outcome = Outcome(case=case, seen=Seen())
    start = time.monotonic()
    body = b""
    try:
        async with (
            asyncio.timeout(TIMEOUTS.call_s + 2 * SLACK_S),
            world.client.post(
                question.path, json=question.body, headers=question.headers
            ) as answer,
        ):
            outcome.status = answer.status
            outcome.call_id = answer.headers.get("x-farthing-call-id")
            async for piece in answer.content.iter_any():
                body += piece
    except (aiohttp.ClientError, TimeoutError):
        outcome.is_cut = True
    outcome.seconds = time.monotonic() - start
    is_stream = case.stream and outcome.status == 200
    outcome.seen = read(case.lane.client, body, stream=is_stream)
    broken.faults = ()
    outcome.broken, outcome.healthy = list(broken.sent), list(healthy.sent)
    return outcome


def judge(outcome: Outcome) -> list[str]:
    """The names of the figures that this call spoils; empty when all is well."""
    case, seen = outcome.case, outcome.seen
    sent = [*outcome.broken, *outcome.healthy]
    found = []
    finished = [each for each in sent if each.finish is not None and not each.has_error]
    claims_stop = outcome.status == 200 and seen.finish is not None
    is_told = seen.has_error or outcome.is_cut
    if claims_stop and not finished:
        found.append("fabricated_stops")
    elif claims_stop and not is_told and not any(_same(each, seen) for each in finished):
        found.append("truncated_as_complete")
    if outcome.status == 200 and not claims_stop and not is_told:
        found.append("truncated_as_complete")
    if outcome.seconds > TIMEOUTS.call_s + SLACK_S:
        found.append("hung")
    if case.fault in HARMLESS and not outcome.is_complete:
        found.append("good_answers_lost")
    if is_replayable(outcome) and not outcome.is_complete:
        found.append("failovers_failed")
    if outcome.call_id is None:
        found.append("unsettled_calls")
    return found


def _same(sent: Seen, seen: Seen) -> bool:
    """Whether the texts agree; JSON may be spaced anew on its way through another dialect."""
    return _squeezed(sent) == _squeezed(seen)


def _squeezed(seen: Seen) -> str:
    return "".join(seen.text.split())


def is_replayable(outcome: Outcome) -> bool:
    """Whether a healthy deployment had to save this call."""
    case = outcome.case
    if case.setup == "alone" or case.fault in VERDICTS:
        return False
    return not case.stream or not any(each.text for each in outcome.broken)


async def run_all(world: World, todo: Sequence[Case]) -> list[Outcome]:
    """One case after the other. The fault of each lies in its lane's own region, so lanes may run at once."""
    return [await run(world, case, number) for number, case in enumerate(todo)]


async def unsettled(world: World) -> int:
    """Calls whose money is not settled exactly once."""
    rows: dict[str, list[Entry]] = {}
    async for row in world.gateway.accounts.export():
        rows.setdefault(row.call_id, []).append(row)
    held = {row.call_id for row in await world.gateway.accounts.unsettled() if row.state == "open"}
    wrong = held | (set(rows) - set(world.records))
    for call_id, records in world.records.items():
        wanted = entries_of(records[0]) if any(a.was_sent for a in records[0].attempts) else ()
        booked = rows.get(call_id, [])
        is_same = [r.nanodollars for r in booked] == [w.nanodollars for w in wanted]
        if len(records) != 1 or not is_same:
            wrong.add(call_id)
    return len(wrong)


async def measure(
    chosen: Sequence[Lane], faults: Sequence[str], wheres: Sequence[Where] = WHERES
) -> tuple[Counter[str], list[Outcome]]:
    """Run every case. The figures by name, and what happened, for a reader who wants to know why."""
    figures: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        async with simulated(chosen) as simulator:
            tasks, sockets = len(asyncio.all_tasks()), _sockets()
            async with world(chosen, simulator, Path(folder)) as running:
                light = [fault for fault in faults if fault != "gzip_bomb"]
                todo = [cases(lane, light, wheres) for lane in chosen]
                parts = await asyncio.gather(*(run_all(running, each) for each in todo))
                outcomes = [outcome for part in parts for outcome in part]
                if "gzip_bomb" in faults:  # alone: unpacking holds up this process's other lanes
                    for lane in chosen:
                        bombs = cases(lane, ["gzip_bomb"], wheres)
                        outcomes += await run_all(running, bombs)
                figures["leaked_calls"] = await quiet(running.gateway)
                figures["leaked_connections"] = _surplus(simulator)
                figures["unsettled_calls"] = await unsettled(running)
            for _ in range(40):  # connections take a moment to close on both sides
                if len(asyncio.all_tasks()) <= tasks and _sockets() <= sockets:
                    break
                await asyncio.sleep(0.05)
            figures["leaked_tasks"] = max(0, len(asyncio.all_tasks()) - tasks)
            figures["leaked_connections"] += max(0, _sockets() - sockets)
    figures["cases"] = len(outcomes)
    for outcome in outcomes:
        figures.update(judge(outcome))
        figures["failovers"] += is_replayable(outcome)
    return figures, outcomes


def _sockets() -> int:
    """Open sockets of this process."""
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            links.append(fd.readlink().name)
        except OSError:
            continue
    return sum(name.startswith("socket:") for name in links)


def _surplus(simulator: Simulator) -> int:
    """Connections to regions beyond the one that may idle in the pool of each."""
    ports = {int(simulator.url(name).rpartition(":")[2]): 0 for name in simulator.regions}
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, state = line.split()[:4]
        port = int(remote.rpartition(":")[2], 16)
        if state == "01" and port in ports:
            ports[port] += 1
    return sum(max(0, count - 1) for count in ports.values())


async def bomb_megabytes(lane: Lane) -> float:
    """How far the peak of this process rises over its memory before, for one bomb after the other."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            simulated([lane]) as simulator,
            world([lane], simulator, Path(folder)) as running,
        ):
            for case in cases(lane, ["status_500"], ["middle"]):
                await run(running, case, 0)
            empty = Script(status=200, headers=(), steps=())
            MENU["gzip_bomb"].apply(empty, "middle")  # the bomb is packed here, and kept
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: proc(5)
            before = _status_mb("VmRSS")
            for number, case in enumerate(cases(lane, ["gzip_bomb"], ["middle"])):
                await run(running, case, number)
            return _status_mb("VmHWM") - before


def _status_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", nargs="+", choices=SPEAKERS, default=SPEAKERS)
    parser.add_argument("--faults", nargs="+", choices=sorted(MENU), default=list(MENU))
    parser.add_argument("--show", type=int, default=20, help="failing cases to print")
    arguments = parser.parse_args()
    report = Report("faults")
    start = time.monotonic()
    figures, outcomes = asyncio.run(measure(lanes(arguments.clients), arguments.faults))
    bad = [outcome for outcome in outcomes if judge(outcome)]
    for outcome in bad[: arguments.show]:
        print(f"{', '.join(judge(outcome))}: {outcome.case}; status {outcome.status}")
    report.add("cases", figures["cases"])
    for name in (
        "fabricated_stops",
        "truncated_as_complete",
        "good_answers_lost",
        "hung",
        "leaked_calls",
        "leaked_tasks",
        "leaked_connections",
        "unsettled_calls",
    ):
        report.add(name, figures[name], target=0)
    saved = figures["failovers"] - figures["failovers_failed"]
    report.add("failover_success_share", saved / max(1, figures["failovers"]), target=1)
    report.add("slowest_call_s", max(o.seconds for o in outcomes), target=TIMEOUTS.call_s)
    growth = asyncio.run(bomb_megabytes(lanes(arguments.clients[:1], ["openai"])[0]))
    report.add("gzip_bomb_peak_megabytes", growth, target=BOMB_PEAK_MB)
    report.add("seconds", time.monotonic() - start)
    report.print()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
