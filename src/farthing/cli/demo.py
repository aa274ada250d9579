"""`farthing demo`: a gateway over three simulated regions, at work, without a key."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from farthing.cli.demo_traffic import Outcome, shoot, shoot_all, shots

if TYPE_CHECKING:
    from farthing.accounts.accounts import Accounts, Reconciliation
    from farthing.core.calls import CallRecord
    from farthing.sim.http import Simulator

#: Clients that send at the same time.
CLIENTS = 12
#: When the region dies and comes back, as shares of the calls.
DIES, RETURNS = 0.35, 0.75
VICTIM = "eastus"

SETTINGS = """
[server]
port = 0
detect = false

[storage]
url = "sqlite:{folder}/farthing.db"

[breaker]
open_s = 1.0

[providers.eastus]
type = "azure"
base_url = "{eastus}"
api_version = "2024-10-21"
key = "sim-key"

[providers.westeurope]
type = "azure"
base_url = "{westeurope}"
api_version = "2024-10-21"
key = "sim-key"

[providers.global]
type = "anthropic"
base_url = "{global_}/v1"
key = "sim-key"

[routes.assistant]
deployments = ["large-eastus", "large-westeurope", "large-global"]

[routes.quick]
deployments = ["small-eastus", "small-westeurope", "small-global"]

[aliases]
gpt-4o = "assistant"
gpt-4o-mini = "quick"
"""

DEPLOYMENT = """
[deployments.{model}-{region}]
provider = "{region}"
model = "sim/{model}"
remote_name = "{model}"
region = "{region}"
context_tokens = 128000
max_output_tokens = 16384
priority = {priority}
price = {{ {price}, source = "simulator", date = "2026-11-24" }}
"""
PRICES = {
    "small": 'input = "0.15", cached_input = "0.075", output = "0.60"',
    "large": 'input = "2.50", cached_input = "1.25", output = "10.00"',
}


@click.command()
@click.option("--calls", default=400, show_default=True, type=click.IntRange(20, 20_000))
def demo(calls: int) -> None:
    """Watch the gateway and a flow at work on simulated regions, without a key. Takes about twenty seconds."""
    from farthing.base.runtime import run
    from farthing.base.telemetry.logs import configure_logging

    configure_logging("error")
    with tempfile.TemporaryDirectory(prefix="farthing-demo-") as folder:
        try:
            run(_demo(Path(folder), calls))
        except KeyboardInterrupt:
            click.echo("\nStopped. Nothing was kept.", err=True)
            sys.exit(130)


async def _demo(folder: Path, calls: int) -> None:
    from farthing.base.config.loader import load
    from farthing.cli import demo_report as report
    from farthing.cli.demo_flow import flow_chapter
    from farthing.gateway.client import open_gateway
    from farthing.server.listener import listen
    from farthing.server.serve import serving
    from farthing.sim.http import Simulator
    from farthing.sim.scenario import load as load_scenario

    watch = _Watch()
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(Simulator(load_scenario("demo")))
        settings_file = folder / "farthing.toml"
        settings_file.write_text(_settings(folder, sim))
        settings = load(settings_file, {}).settings
        gateway = await stack.enter_async_context(open_gateway(settings, environ={}, sinks=[watch]))
        listener = stack.enter_context(listen(settings.server))
        server = await stack.enter_async_context(serving(gateway, listener))
        secrets = await _keys(gateway.accounts)
        report.opening(server.url, [sim.url(name) for name in sim.regions], calls)
        trial = secrets.pop("trial")
        outcomes = await _traffic(sim, server.url, calls, secrets)
        await flow_chapter(gateway, folder, settings.storage.url)
        refusal = await _refused_call(server.url, trial)
        statement = await _reconcile(gateway.accounts, sim)
        await report.closing(gateway, watch.records, outcomes, refusal, statement)


class _Watch:
    """Keeps the records of the demo's calls, which hold no text."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []

    def record(self, call: CallRecord) -> None:
        self.records.append(call)


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """Ledger and invoice. before: the ledger's sum before the provider's usage export was read."""

    before: int
    after: int
    invoice: int
    requests: int
    reconciliation: Reconciliation


def _settings(folder: Path, sim: Simulator) -> str:
    text = SETTINGS.format(
        folder=folder,
        eastus=sim.url("eastus"),
        westeurope=sim.url("westeurope"),
        global_=sim.url("global"),
    )
    for model, price in PRICES.items():
        for region, priority in (("eastus", 0), ("westeurope", 0), ("global", 1)):
            text += DEPLOYMENT.format(model=model, region=region, price=price, priority=priority)
    return text


async def _keys(accounts: Accounts) -> dict[str, str]:
    from farthing.accounts.budgets import Budget

    secrets = {}
    for name, team in (("web-shop", "shop"), ("night-batch", "data"), ("trial", "shop")):
        made = await accounts.keys.create(name, team=team)
        secrets[name] = made.secret
    await accounts.set_budget(Budget(name="trial", nanodollars=50_000, window="day", key="trial"))
    return secrets


async def _traffic(sim: Simulator, url: str, calls: int, secrets: dict[str, str]) -> list[Outcome]:
    import aiohttp

    from farthing.cli.demo_report import progress

    outcomes: list[Outcome] = []
    with progress(calls) as show:
        seen = _director(sim, calls, outcomes, show)
        queue = shots(calls, secrets, {"chat": "assistant", "cheap": "quick"})
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            await shoot_all(session, url, queue, clients=CLIENTS, seen=seen)
    return outcomes


def _director(
    sim: Simulator,
    calls: int,
    outcomes: list[Outcome],
    show: Callable[[list[Outcome], str], None],
) -> Callable[[Outcome], None]:
    """Kills the region and brings it back when its moment has come."""
    acts: set[asyncio.Task[None]] = set()

    def switch(is_alive: bool) -> None:
        task = asyncio.create_task(sim.set_alive(VICTIM, is_alive))
        acts.add(task)
        task.add_done_callback(acts.discard)

    def seen(outcome: Outcome) -> None:
        outcomes.append(outcome)
        count = len(outcomes)
        if count == int(calls * DIES):
            switch(is_alive=False)
        if count == int(calls * RETURNS):
            switch(is_alive=True)
        is_dead = int(calls * DIES) <= count < int(calls * RETURNS)
        show(outcomes, f"{VICTIM} is dead" if is_dead else "three regions")

    return seen


async def _refused_call(url: str, secret: str) -> Outcome:
    import aiohttp

    shot = next(shots(1, {"trial": secret}, {"chat": "assistant", "cheap": "assistant"}))
    shot = msgspec.structs.replace(shot, body={**shot.body, "max_completion_tokens": 16_000})
    async with aiohttp.ClientSession() as session:
        return await shoot(session, url, shot)


async def _reconcile(accounts: Accounts, sim: Simulator) -> Statement:
    """Read the simulator's usage export, as an operator would read a vendor's."""
    from farthing.accounts.accounts import InvoiceRow, SpendQuery

    async def total() -> int:
        return sum(row.nanodollars for row in await accounts.spend(SpendQuery(by="total")))

    rows = sim.invoice.rows
    before = await total()
    lines = [
        InvoiceRow(nanodollars=r.nanodollars, request_id=r.request_id, call_id=r.call_id)
        for r in rows
    ]
    done = await accounts.reconcile(lines)
    return Statement(
        before=before,
        after=await total(),
        invoice=sum(row.nanodollars for row in rows),
        requests=len(rows),
        reconciliation=done,
    )
