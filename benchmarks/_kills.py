"""The crash proof: a gateway under load is killed again and again, then ledger, clients and invoice compared."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._harness import FARTHING, ROOT, free_port, process, tree
from benchmarks._laws import Balance, balance, invoice_rows
from farthing.accounts.accounts import Accounts
from farthing.base.clock import SystemClock
from farthing.base.config.settings import Budget, Settings, Storage
from farthing.base.storage import connect
from farthing.core.errors import ConfigError
from farthing.sim.invoice import Row
from farthing.wire.dialects import codec, dialects

#: Between a gateway's readiness and its end, seconds: any moment of this span.
_LIVES_S = (0.05, 0.6)
#: One of so many kills strikes a gateway that is just starting.
_EARLY = 12
#: Kills of workers for each kill of their supervisor.
_WORKERS_PER_SUPERVISOR = 9
#: A budget that counts every call and refuses none.
_BUDGET_DOLLARS = 100_000
#: The longest that a start may take before the proof gives up, seconds.
_START_S = 60.0

SCENARIO = """
name = "kills"
[models.m]
price = {{ input = 1.37, cached_input = 0.11, output = 5.9 }}
source = "made up, so that sums have odd digits"
date = "2026-11-24"
{regions}
"""
_REGION = """
[regions.{name}]
flavour = "{name}"
tokens_per_event = 3
latency = {{ first_token_p50_s = 0.06, first_token_p99_s = 0.3, per_token_s = 0.008 }}
faults = [
  {{ name = "missing_usage", at = "last", probability = 0.02 }},
  {{ name = "reset_mid_body", probability = 0.005 }},
  {{ name = "status_503", probability = 0.01 }},
]
[regions.{name}.deployments.m]
model = "m"
quota = {{ tokens_per_minute = 90000000, requests_per_minute = 900000 }}
"""
_SETTINGS = """
[server]
port = {port}
detect = false
[storage]
url = "{storage}"
[ledger]
unconfirmed_hold_s = 1e9
[breaker]
failures = 1000
[budgets.all]
dollars = {dollars}
window = "total"
[routes.mixed]
deployments = [{names}]
"""
_PROVIDER = """
[providers.{name}]
type = "{name}"
base_url = "{url}"
key = "simulated"
models = []
[deployments.{name}-m]
provider = "{name}"
model = "m"
price = {{ input = "1.37", cached_input = "0.11", output = "5.9" }}
max_output_tokens = 4096
context_tokens = 32768
"""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What so many kills left behind. missing: calls complete to a client and not in the ledger.

    uncovered: calls that the provider bills above ledger and hold. difference: ledger minus invoice, in
    nanodollars, after reconciliation. budget_difference: what the budget counts minus what is booked and
    held, before it. restarts_s: from the start of the process to its first `ready`.
    """

    kills: int
    calls_complete: int
    calls_billed: int
    missing: int
    doubled: int
    uncovered: int
    wrong: int
    difference: int
    budget_difference: int
    holds: int
    restarts_s: tuple[float, ...]

    @property
    def restart_median_s(self) -> float:
        """Half of the restarts were quicker."""
        return statistics.median(self.restarts_s)

    @property
    def restart_p99_s(self) -> float:
        """99 of 100 restarts were quicker."""
        return sorted(self.restarts_s)[max(0, len(self.restarts_s) * 99 // 100 - 1)]


def run(
    storage: str, folder: Path, *, kills: int, clients: int = 56, seed: int = 1, workers: int = 1
) -> Outcome:
    """Kill a gateway on this database `kills` times under load. folder: empty, for files and logs.

    workers: of several, one is killed each time, and one time in ten their supervisor.
    """
    draw = random.Random(seed)
    restarts: list[float] = []
    with ExitStack() as stack:
        simulated = stack.enter_context(_simulator(folder))
        port = free_port()
        _write_settings(folder, storage, port, simulated["regions"])
        load = stack.enter_context(
            process(
                [
                    *(sys.executable, str(ROOT / "benchmarks" / "_load.py")),
                    *(f"http://127.0.0.1:{port}", str(folder / "complete.jsonl")),
                    *("--clients", str(clients), "--dialects", ",".join(_spoken())),
                ],
                log=folder / "load.log",
            )
        )
        left = kills
        while left:
            with _gateway(folder, workers) as child:
                if workers == 1 and left % _EARLY == 0:
                    time.sleep(draw.uniform(0.0, 0.5))
                else:
                    restarts.append(_ready(port, child))
                    time.sleep(draw.uniform(*_LIVES_S))
                left -= _kill_workers(child.pid, draw, left - 1) if workers > 1 else 0
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
                left -= 1
        with _gateway(folder, workers) as child:
            restarts.append(_ready(port, child))
            time.sleep(0.5)
            load.send_signal(signal.SIGTERM)
            load.wait(60)
            child.send_signal(signal.SIGTERM)
            child.wait(60)
        time.sleep(0.5)  # the simulator notices the last connections that closed
        rows = _invoice(simulated["control_url"])
    return asyncio.run(_judge(storage, folder, rows, kills, tuple(restarts)))


async def _judge(
    storage: str, folder: Path, rows: list[Row], kills: int, restarts: tuple[float, ...]
) -> Outcome:
    complete = [
        json.loads(line)["call"] for line in (folder / "complete.jsonl").read_text().splitlines()
    ]
    budgets = {"all": Budget(dollars=_BUDGET_DOLLARS, window="total")}
    settings = Settings(storage=Storage(url=storage), budgets=budgets)
    database = connect(settings.storage)
    await database.open()
    accounts = Accounts(database, settings, clock=SystemClock(), environ={})
    await accounts.open()
    try:
        entries = await accounts.entries()
        # A call has one row for each try that was billed; the provider's request id tells them apart.
        tries = Counter((entry.call_id, entry.request_id) for entry in entries)
        found = await balance(accounts, rows)
        (window,) = await database.read("SELECT spent, reserved FROM budget_windows")
        holds = len(await accounts.unsettled())
        after = await _reconciled(accounts, rows)
    finally:
        await accounts.aclose()
        await database.close()
    booked = {entry.call_id for entry in entries}
    return Outcome(
        kills=kills,
        calls_complete=len(complete),
        calls_billed=len(rows),
        missing=len(set(complete) - booked),
        doubled=sum(count > 1 for count in tries.values()),
        uncovered=len(found.missing),
        wrong=len(found.wrong),
        difference=after.ledger - after.invoice,
        budget_difference=abs(window[0] - found.ledger) + abs(window[1] - found.held),
        holds=holds,
        restarts_s=restarts,
    )


async def _reconciled(accounts: Accounts, rows: list[Row]) -> Balance:
    await accounts.reconcile(invoice_rows(rows))
    return await balance(accounts, rows)


def _spoken() -> list[str]:
    """The chat dialects that this installation has codecs for."""
    found = []
    for name in dialects():
        if name in ("openai-completions", "openai-embeddings"):
            continue
        try:
            codec(name)
        except ConfigError:
            continue
        found.append(name)
    return found


@contextmanager
def _simulator(folder: Path) -> Iterator[dict[str, Any]]:
    """The simulated providers as a process; what it said when it was ready."""
    scenario = folder / "kills.toml"
    regions = "".join(_REGION.format(name=name) for name in ("openai", "anthropic", "google"))
    scenario.write_text(SCENARIO.format(regions=regions))
    child = subprocess.Popen(
        [FARTHING, "sim", "up", "--scenario", str(scenario), "--json"], stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        yield json.loads(child.stdout.readline())
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def _write_settings(
    folder: Path, storage: str, port: int, regions: dict[str, dict[str, str]]
) -> None:
    names = ", ".join(f'"{name}-m"' for name in regions)
    text = _SETTINGS.format(port=port, storage=storage, names=names, dollars=_BUDGET_DOLLARS)
    for name, region in regions.items():
        url = region["base_url"] if name == "openai" else region["url"]
        text += _PROVIDER.format(name=name, url=url)
    path = folder / "farthing.toml"
    path.write_text(text)
    path.chmod(0o600)


@contextmanager
def _gateway(folder: Path, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [FARTHING, "up", "--workers", str(workers)]
    with process(command, cwd=folder, log=folder / "gateway.log") as child:
        yield child


def _kill_workers(supervisor: int, draw: random.Random, most: int) -> int:
    """Kill one worker after the other, each some time after the last. Returns how many."""
    killed = 0
    while killed < min(_WORKERS_PER_SUPERVISOR, most):
        workers = tree(supervisor)[1:]
        if workers:  # the supervisor replaces the last one
            os.kill(draw.choice(workers), signal.SIGKILL)
            killed += 1
        time.sleep(draw.uniform(*_LIVES_S))
    return killed


def _ready(port: int, child: subprocess.Popen[bytes]) -> float:
    """Seconds until `/ready` says 200, from now; call it as soon as the process was started."""
    start = time.monotonic()
    while time.monotonic() - start < _START_S:
        if child.poll() is not None:
            raise RuntimeError(f"The gateway ended with status {child.returncode}; see its log.")
        try:
            with socket.create_connection(("127.0.0.1", port), 0.5) as probe:
                probe.settimeout(5)
                probe.sendall(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                if probe.recv(64).split(b" ", 2)[1:2] == [b"200"]:
                    return time.monotonic() - start
        except OSError:
            pass  # not listening yet
        time.sleep(0.005)
    raise RuntimeError(f"The gateway was not ready within {_START_S:g} s.")


def _invoice(control_url: str) -> list[Row]:
    with urllib.request.urlopen(f"{control_url}/_sim/invoice", timeout=60) as answer:
        return [msgspec.json.decode(line, type=Row) for line in answer]
