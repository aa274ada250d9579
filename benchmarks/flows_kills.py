"""Batches that are killed again and again: each line kept once, and no more model calls paid twice than ran.

A batch of a flow with a model runs by `farthing flow run` and is killed (`kill -9`) at random moments, then gone
on with, until so many kills have struck; each batch ends whole. Calls that were paid twice are those in the
ledger, and the holds that killed calls left, above the number of lines; of each kill no more may be than
lines ran at once. On SQLite, and on Postgres where FARTHING_TEST_POSTGRES names an empty database. Needs gcc,
for the model.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._flows import environment, flow_run, write_data, write_flow, write_settings
from benchmarks._gateway.world import SectionError, build, mock
from benchmarks._harness import FARTHING, Report
from farthing.base.config.settings import Storage
from farthing.base.storage import connect
from farthing.core.errors import StorageError
from farthing.flows.batch.batch import IN_FLIGHT

#: Lines of one batch: some seconds of it, so that kills strike at its begin, in its midst and at its end.
LINES = 2000
#: From the first line that a process keeps to its end, seconds: any moment of this span.
LIVES_S = (0.0, 0.6)
#: So many kills, of all, strike a process that has not begun with lines yet.
EARLY = 0.1
#: A batch is left in peace after so many kills, so that it comes to its end.
KILLS_EACH = 10


class Outcome(msgspec.Struct, kw_only=True):
    """What was found. paid_twice: calls in the ledger above one a line; most: of one batch, per kill.

    in_the_midst: kills after some lines of that process were kept, and before all were.
    """

    kills: int = 0
    in_the_midst: int = 0
    batches: int = 0
    missing: int = 0
    doubled: int = 0
    failed: int = 0
    wrong_counts: int = 0
    paid_twice: int = 0
    unpaid: int = 0
    most: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report = Report("flows_kills")
    urls = {"sqlite": None, "postgres": os.environ.get("FARTHING_TEST_POSTGRES")}
    for name, url in urls.items():
        if name == "postgres" and url is None:
            report.note("Postgres was left out: FARTHING_TEST_POSTGRES is not set.")
            continue
        with tempfile.TemporaryDirectory(prefix="flows-kills-") as folder:
            try:
                found = run(Path(folder), url, kills=arguments.kills, seed=arguments.seed)
            except SectionError as why:
                print(f"Nothing was measured. {why}")
                sys.exit(1)
        for each in Outcome.__struct_fields__:
            value = getattr(found, each)
            targets = {
                "kills": arguments.kills,
                "batches": None,
                "in_the_midst": None,
                "paid_twice": None,
            }
            target = targets.get(each, IN_FLIGHT if each == "most" else 0)
            report.add(f"{name}_{each}", value, target=target)
    report.print(keep=arguments.kills >= 200)


def run(folder: Path, url: str | None, *, kills: int, seed: int) -> Outcome:
    """Kill batches `kills` times in all. folder: empty. url: of the database, SQLite's file when None."""
    draw = random.Random(seed)
    found = Outcome()
    url = url or f"sqlite:{folder / 'farthing.db'}"
    build(folder)
    with mock(folder) as port:
        write_settings(folder, mock=port, storage=url)
        flow = write_flow(folder / "flow", with_model=True)
        data = write_data(folder / "data.jsonl", LINES)
        booked = 0
        while found.kills < kills:
            name = f"batch-{found.batches}-{seed}"
            struck = 0
            while not _once(
                folder, url, flow, data, name, draw, found, may_kill=struck < KILLS_EACH
            ):
                struck += 1
            found.kills += struck
            found.batches += 1
            booked = asyncio.run(_judge(url, name, struck, booked, found))
            print(f"{found.kills} kills, {found.batches} batches", flush=True)
    return found


def _once(
    folder: Path,
    url: str,
    flow: Path,
    data: Path,
    name: str,
    draw: random.Random,
    found: Outcome,
    *,
    may_kill: bool,
) -> bool:
    """One process on the batch. True: it came to its end. Raises CalledProcessError when it failed."""
    command = flow_run(flow, data, name)
    before = asyncio.run(_kept(url, name, None, 0))
    if before >= 0:
        command = [FARTHING, "flow", "run", "--resume-from", name, "--json"]
    log = folder / "batch.log"
    with log.open("w") as out:
        child = subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdout=out, stderr=out
        )
        try:
            if may_kill and draw.random() > EARLY:
                asyncio.run(_kept(url, name, child, max(0, before)))
            child.wait(draw.uniform(*LIVES_S) if may_kill else 300)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            after = asyncio.run(_kept(url, name, None, 0))
            found.in_the_midst += max(0, before) < after < LINES
            return False
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command, log.read_text()[-2000:])
    return True


async def _kept(url: str, name: str, child: subprocess.Popen[bytes] | None, more_than: int) -> int:
    """The lines that are kept of a batch, as soon as the child has kept more; -1: there is no such batch."""
    database = connect(Storage(url=url))
    await database.open()
    try:
        while True:
            try:
                rows = await database.read(
                    "SELECT (SELECT count(*) FROM flow_lines WHERE run = flow_runs.id) FROM flow_runs "
                    "WHERE name = ?",
                    (name,),
                )
            except StorageError:
                rows = []  # there are no tables yet
            kept = int(rows[0][0]) if rows else -1
            if child is None or kept > more_than or child.poll() is not None:
                return kept
            await asyncio.sleep(0.01)
    finally:
        await database.close()


async def _judge(url: str, name: str, struck: int, before: int, found: Outcome) -> int:
    """Count what the batch left behind. before: calls booked and held until it began. Returns those now."""
    database = connect(Storage(url=url))
    await database.open()
    try:
        (run,) = await database.read(
            "SELECT id, status, completed, failed FROM flow_runs WHERE name = ?", (name,)
        )
        rows = await database.read(
            "SELECT line, count(*), min(status) FROM flow_lines WHERE run = ? GROUP BY line",
            (run[0],),
        )
        ((booked,),) = await database.read("SELECT count(*) FROM ledger")
        ((held,),) = await database.read("SELECT count(*) FROM reservations")
    finally:
        await database.close()
    found.missing += len(set(range(LINES)) - {row[0] for row in rows})
    found.doubled += sum(row[1] > 1 for row in rows)
    found.failed += sum(row[2] != "completed" for row in rows)
    found.wrong_counts += (run[1], run[2], run[3]) != ("completed", LINES, 0)
    # A call that was under way when its process was killed is a hold: it may have been paid.
    asked = int(booked) + int(held)
    twice = asked - before - LINES
    found.paid_twice += max(0, twice)
    found.unpaid += max(0, -twice)
    found.most = max(found.most, twice / struck if struck else 0.0)
    return asked


if __name__ == "__main__":
    main()
