"""A gateway in front of simulated regions that break on demand, and what those regions really sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import aiohttp
import msgspec

from benchmarks._speakers import Seen, dialect_of, read
from farthing.base.clock import Clock, SystemClock
from farthing.base.config.settings import (
    Breaker,
    Deployment,
    PriceSetting,
    Provider,
    Retry,
    Route,
    Server,
    Settings,
    Storage,
    Timeouts,
)
from farthing.core.calls import CallRecord
from farthing.gateway.client import Gateway, open_gateway
from farthing.server.listener import listen
from farthing.server.serve import serving
from farthing.sim.engine import Inbound, Region
from farthing.sim.exchange import Exchange
from farthing.sim.http import Simulator
from farthing.sim.invoice import Invoice
from farthing.sim.scenario import (
    DeploymentTable,
    Flavour,
    LatencyTable,
    ModelTable,
    PriceTable,
    QuotaTable,
    RegionTable,
    Scenario,
)
from farthing.sim.script import Script

FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)
#: Every wait of the simulator is this much shorter, so that a dripping answer takes no minute.
HASTE = 1000.0
TIMEOUTS = Timeouts(connect_s=1.0, first_byte_s=0.5, between_bytes_s=0.5, total_s=20.0, call_s=25.0)

#: A timer is no finer; shorter waits only give way to the other tasks, seconds.
_SHORTEST_S = 0.001
_SOURCE, _DATE = "made up", "2026-11-24"


class Lane(msgspec.Struct, frozen=True):
    """One client dialect in front of one kind of provider, with a pair of regions of its own."""

    client: str
    flavour: Flavour

    @property
    def name(self) -> str:
        """The stem of the names of its regions, deployments and routes."""
        return f"{self.client}-{self.flavour}"

    @property
    def broken(self) -> str:
        """The region that gets the faults."""
        return f"{self.name}-broken"

    @property
    def healthy(self) -> str:
        """The region that never fails."""
        return f"{self.name}-healthy"


class World(msgspec.Struct, frozen=True):
    """Everything that runs. records: what the gateway said of each finished call, by call id."""

    simulator: Simulator
    gateway: Gateway
    client: aiohttp.ClientSession
    records: dict[str, list[CallRecord]]

    def region(self, name: str) -> RecordingRegion:
        """A region, with what it sent."""
        region = self.simulator.regions[name]
        assert isinstance(region, RecordingRegion)
        return region


class RecordingRegion(Region):
    """A region that remembers, of each request, what a reader of the connection could see of the answer."""

    def __init__(self, name: str, scenario: Scenario, clock: Clock, invoice: Invoice) -> None:
        super().__init__(name, scenario, clock, invoice)
        self.sent: list[Seen] = []

    def receive(self, inbound: Inbound) -> Exchange:
        exchange = super().receive(inbound)
        self.sent.append(truth(inbound.path, exchange.script))
        return exchange


def truth(path: str, script: Script) -> Seen:
    """What a script lets its reader see: up to its first act, within the declared length."""
    body = b""
    for step in script.steps if script.before == "send" else ():
        body += step.data
        if step.act != "send":
            break
    kind = dict(script.headers).get("content-type", "")
    is_stream = kind.startswith("text/event-stream")
    seen = read(dialect_of(path), body[: script.length], stream=is_stream)
    if script.status != 200:
        return Seen(has_error=True)
    return seen


class _Hurried(SystemClock):
    async def sleep(self, seconds: float) -> None:
        wait_s = seconds / HASTE
        await super().sleep(wait_s if wait_s > _SHORTEST_S else 0)


class _Records:
    def __init__(self, calls: dict[str, list[CallRecord]]) -> None:
        self._calls = calls

    def record(self, call: CallRecord) -> None:
        self._calls.setdefault(call.call_id, []).append(call)


def lanes(clients: Sequence[str], flavours: Sequence[Flavour] = FLAVOURS) -> list[Lane]:
    """Every pair of a client dialect and a provider."""
    return [Lane(client, flavour) for client in clients for flavour in flavours]


@asynccontextmanager
async def simulated(lanes: Sequence[Lane]) -> AsyncIterator[Simulator]:
    """The regions of these lanes on sockets."""
    scenario = _scenario(lanes)
    clock = _Hurried()
    simulator = Simulator(scenario, clock=clock)
    for name in scenario.regions:
        simulator.regions[name] = RecordingRegion(name, scenario, clock, simulator.invoice)
    async with simulator:
        yield simulator


@asynccontextmanager
async def world(lanes: Sequence[Lane], simulator: Simulator, folder: Path) -> AsyncIterator[World]:
    """The gateway in front of them, serving, and a client of it."""
    settings = _settings(lanes, simulator, folder)
    records: dict[str, list[CallRecord]] = {}
    with listen(settings.server) as listener:
        async with (
            open_gateway(settings, environ={}, sinks=(_Records(records),)) as gateway,
            serving(gateway, listener) as server,
            aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=0)) as client,
        ):
            yield World(simulator, gateway, client, records)


def _scenario(lanes: Sequence[Lane]) -> Scenario:
    model = ModelTable(price=PriceTable(input="0.15", output="0.60"), source=_SOURCE, date=_DATE)
    quota = QuotaTable(tokens_per_minute=10**9, requests_per_minute=10**6)
    regions = {
        name: RegionTable(
            flavour=lane.flavour,
            deployments={"m": DeploymentTable(model="m", quota=quota)},
            latency=LatencyTable(first_token_p50_s=0, first_token_p99_s=0, per_token_s=0),
            tokens_per_event=4,
        )
        for lane in lanes
        for name in (lane.broken, lane.healthy)
    }
    return Scenario(name="faults", models={"m": model}, regions=regions)


def _settings(lanes: Sequence[Lane], simulator: Simulator, folder: Path) -> Settings:
    names = {name: lane for lane in lanes for name in (lane.broken, lane.healthy)}
    price = PriceSetting(input="0.15", output="0.60", source=_SOURCE, date=_DATE)
    routes = {}
    for lane in lanes:
        routes[f"{lane.name}-alone"] = Route(deployments=(lane.broken,))
        routes[f"{lane.name}-pair"] = Route(
            deployments=(lane.broken, lane.healthy), strategy="ordered"
        )
    return Settings(
        server=Server(port=0, detect=False),
        storage=Storage(url=f"sqlite:{folder}/farthing.db"),
        providers={
            name: Provider(
                type=lane.flavour,
                key="k",
                base_url=simulator.url(name) + ("/v1" if lane.flavour == "openai" else ""),
                models=(),
            )
            for name, lane in names.items()
        },
        deployments={
            name: Deployment(
                provider=name,
                model="m",
                kind="chat",
                price=price,
                context_tokens=128_000,
                max_output_tokens=1000,
                priority=0 if name == lane.broken else 1,
            )
            for name, lane in names.items()
        },
        routes=routes,
        timeouts=TIMEOUTS,
        # A breaker that opened would keep the next case away from its fault.
        breaker=Breaker(failures=10**9),
        retry=Retry(backoff_s=0.005, budget_ratio=100.0),
    )


async def quiet(gateway: Gateway, *, within_s: float = 3.0) -> int:
    """Calls and tries that are still under way after waiting a moment for them."""
    for _ in range(int(within_s / 0.05)):
        busy = gateway.in_flight + sum(row.in_flight for row in gateway.health())
        if not busy:
            return 0
        await asyncio.sleep(0.05)
    return busy
