"""The laws of money, over any interleaving of calls: ledger, holds and the provider's own invoice."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
from hypothesis import strategies as st

from farthing.accounts.accounts import Accounts, InvoiceRow, SpendQuery
from farthing.accounts.ledger import Entry
from farthing.base.clock import FakeClock
from farthing.base.config.settings import Budget, Ledger, Provider, Settings, Storage, Timeouts
from farthing.base.storage import connect
from farthing.base.storage.journal import journals, path_of
from farthing.core.calls import Caller, Request
from farthing.core.errors import BudgetExceededError, FarthingError
from farthing.gateway.client import Gateway, open_gateway
from farthing.providers.catalogue import Catalogue
from farthing.sim.faults import MENU
from farthing.sim.invoice import Row
from farthing.sim.provider import SimProvider
from farthing.wire.dialects import codec

SCENARIO = """
name = "laws"
is_header_fault_allowed = true
[models.m]
price = { input = 1.37, cached_input = 0.11, output = 5.9 }
source = "made up, so that sums have odd digits"
date = "2026-11-24"
[models.thinker]
price = { input = 0.07, output = 3.33 }
is_reasoning = true
source = "made up"
date = "2026-11-24"
[models.spilling]
price = { input = 2.21, output = 8.7 }
source = "made up"
date = "2026-11-24"
[regions.west.deployments.m]
model = "m"
quota = { tokens_per_minute = 90000000, requests_per_minute = 900000 }
[regions.west.deployments.thinker]
model = "thinker"
quota = { tokens_per_minute = 90000000, requests_per_minute = 900000 }
[regions.zone]
flavour = "azure"
[regions.zone.deployments.spilling]
model = "spilling"
provisioned = { units = 1, input_tokens_per_minute = 60, output_weight = 1 }
spillover = "metered"
[regions.zone.deployments.metered]
model = "spilling"
quota = { tokens_per_minute = 90000000, requests_per_minute = 900000 }
[regions.east]
flavour = "anthropic"
[regions.east.deployments.m]
model = "m"
quota = { tokens_per_minute = 90000000, requests_per_minute = 900000 }
"""
CALLER = Caller(key_id="local", name="law", is_local=True)
#: Virtual seconds that pass in each step of the clock, and the real seconds between two steps.
_STEP_S, _REAL_STEP_S = 0.02, 0.0005

Dialect = Literal["openai-chat", "anthropic-messages"]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """One call. leave_after: events after which the client hangs up; None: it reads to the end.

    turns: turns of the loop before it starts. cancel_after: turns after which the client is gone wherever
    the call stands then. is_cut: the gateway dies while this call stands there.
    """

    dialect: Dialect
    stream: bool
    model: str = "sim/m"
    words: int = 5
    fault: str | None = None
    leave_after: int | None = None
    turns: int = 0
    cancel_after: int | None = None
    is_cut: bool = False

    def request(self) -> Request:
        """As it arrives."""
        text = " ".join(f"word{n}" for n in range(self.words))
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": text}],
                "max_tokens": 40,
                "stream": self.stream,
            }
        ).encode()
        headers = (("x-sim-fault", self.fault),) if self.fault else ()
        head = codec(self.dialect).head(body)
        return Request(dialect=self.dialect, body=body, head=head, headers=headers)


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """Nanodollars: booked, held, and on the provider's invoice; and where a call's sum is too small.

    missing: calls of which invoice > ledger + hold. wrong: calls charged by reported usage whose charge
    differs from the invoice.
    """

    ledger: int
    held: int
    invoice: int
    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a run showed: at the moment of the crash, at the end, and both after reconciliation."""

    crashed: Balance
    crashed_after: Balance
    ended: Balance
    ended_after: Balance
    budget_spent: int
    budget_reserved: int

    @property
    def broken(self) -> list[str]:
        """The laws that do not hold, in words; empty when all do."""
        said = []
        for name, now, after in (
            ("crash", self.crashed, self.crashed_after),
            ("end", self.ended, self.ended_after),
        ):
            if now.missing:
                said.append(f"{name}: ledger and holds do not cover {now.missing}")
            if now.wrong:
                said.append(f"{name}: charges differ from the invoice: {now.wrong}")
            if after.ledger != after.invoice:
                said.append(f"{name}: after reconciliation {after.ledger} is not {after.invoice}")
        if self.budget_spent != self.ended_after.ledger or self.budget_reserved:
            said.append(
                f"budget: {self.budget_spent} spent, {self.budget_reserved} held at the end"
            )
        return said


def wishes() -> st.SearchStrategy[list[Wish]]:
    """Any few calls."""
    faults = [f"{name}@{at}" for name in MENU for at in ("first", "middle", "last")]
    dialects: list[Dialect] = ["openai-chat", "anthropic-messages"]
    one = st.builds(
        Wish,
        dialect=st.sampled_from(dialects),
        stream=st.booleans(),
        model=st.sampled_from(["sim/m", "sim/thinker", "sim/spilling"]),
        words=st.integers(1, 30),
        fault=st.none() | st.sampled_from([f for f in faults if not f.startswith("gzip_bomb")]),
        leave_after=st.none() | st.integers(0, 25),
        turns=st.integers(0, 20),
        cancel_after=st.none() | st.integers(0, 400),
        is_cut=st.booleans(),
    )
    return st.lists(one, min_size=1, max_size=6)


async def run(calls: Sequence[Wish]) -> Found:
    """Make these calls at once on a database of their own, with a crash in the middle."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with world(folder) as (gateway, provider):
            died = asyncio.Event()
            standing = [asyncio.Event() for _ in calls]
            tasks = [
                asyncio.create_task(_client(gateway, wish, here, died))
                for wish, here in zip(calls, standing, strict=True)
            ]
            await asyncio.gather(*(event.wait() for event in standing))
            copy = folder / "crashed.db"
            with (
                closing(sqlite3.connect(folder / "law.db")) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
            # Behind the tables, since a journal only grows: what they hold of it they do not take again.
            for each in journals(folder / "law.db"):
                shutil.copyfile(each.path, path_of(copy, each.instance, each.number))
            died.set()
            await asyncio.gather(*tasks)
            rows = list(provider.invoice.rows)
            ended = await balance(gateway.accounts, rows)
            ended_after = await _reconciled(gateway.accounts, rows)
            states = await gateway.accounts.budgets()
            crashed, crashed_after = await _reopened(copy, rows, gateway)
        return Found(
            crashed=crashed,
            crashed_after=crashed_after,
            ended=ended,
            ended_after=ended_after,
            budget_spent=states[0].spent,
            budget_reserved=states[0].reserved,
        )


async def crowd(size: int, fits: int) -> int:
    """How many of `size` calls at once a budget admits that has room for `fits` of them."""
    wish = Wish(dialect="openai-chat", stream=True)
    with tempfile.TemporaryDirectory() as name:
        async with world(Path(name)) as (gateway, _):
            one = await _reserved_by(gateway, wish)
        settings = {"all": Budget(dollars=f"{one * fits / 1e9:.9f}", window="total")}
        fresh = Path(name) / "crowd"
        fresh.mkdir()
        async with world(fresh, budgets=settings) as (gateway, _):
            everyone, decided = asyncio.Event(), []

            async def enter() -> bool:
                try:
                    async with gateway.open(wish.request(), CALLER):
                        decided.append(True)
                        await everyone.wait()
                except BudgetExceededError:
                    decided.append(False)
                    return False
                return True

            tasks = [asyncio.create_task(enter()) for _ in range(size)]
            while len(decided) < size:
                await asyncio.sleep(0)
            everyone.set()
            return sum(await asyncio.gather(*tasks))


async def balance(accounts: Accounts, rows: Sequence[Row]) -> Balance:
    """Compare ledger and holds with the invoice, call by call."""
    entries = await accounts.entries()
    holds = await accounts.unsettled()
    booked: dict[str, list[Entry]] = {}
    for entry in entries:
        booked.setdefault(entry.call_id, []).append(entry)
    held = {hold.call_id: hold.nanodollars for hold in holds}
    billed: dict[str, int] = {}
    for row in rows:
        billed[row.call_id or ""] = billed.get(row.call_id or "", 0) + row.nanodollars
    missing, wrong = [], []
    for call_id, amount in billed.items():
        mine = booked.get(call_id, [])
        sum_booked = sum(entry.nanodollars for entry in mine)
        if sum_booked + held.get(call_id, 0) < amount:
            missing.append(call_id)
        if (
            call_id not in held
            and sum_booked != amount
            and not any(entry.usage.is_estimated for entry in mine)
        ):
            wrong.append(call_id)
    return Balance(
        ledger=sum(entry.nanodollars for entry in entries),
        held=sum(held.values()),
        invoice=sum(billed.values()),
        missing=tuple(missing),
        wrong=tuple(wrong),
    )


def invoice_rows(rows: Sequence[Row]) -> list[InvoiceRow]:
    """The provider's rows as its usage export names them."""
    return [
        InvoiceRow(nanodollars=r.nanodollars, request_id=r.request_id, call_id=r.call_id)
        for r in rows
    ]


@asynccontextmanager
async def world(
    folder: Path, *, budgets: dict[str, Budget] | None = None
) -> AsyncIterator[tuple[Gateway, SimProvider]]:
    """A gateway on SQLite over simulated regions in process, on a clock that runs by itself."""
    scenario = folder / "laws.toml"
    scenario.write_text(SCENARIO)
    settings = Settings(
        storage=Storage(url=f"sqlite:{folder / 'law.db'}"),
        ledger=Ledger(unconfirmed_hold_s=1e9),
        timeouts=Timeouts(first_byte_s=5.0, between_bytes_s=3.0, total_s=30.0, call_s=60.0),
        providers={"sim": Provider(type="sim", scenario=str(scenario))},
        budgets=budgets or {"all": Budget(dollars=1000, window="total")},
    )
    clock = FakeClock(seed=5)
    ticking = asyncio.create_task(_tick(clock))
    try:
        async with open_gateway(
            settings, environ={}, clock=clock, catalogue=_catalogue()
        ) as gateway:
            provider = gateway.directory.providers["sim"]
            assert isinstance(provider, SimProvider)
            yield gateway, provider
    finally:
        ticking.cancel()


async def _client(
    gateway: Gateway, wish: Wish, standing: asyncio.Event, died: asyncio.Event
) -> None:
    """One client, which may be gone before its answer has begun."""
    call = asyncio.create_task(_call(gateway, wish, standing, died))
    if wish.cancel_after is not None:
        for _ in range(wish.cancel_after):
            await asyncio.sleep(0)
        call.cancel()
    await asyncio.wait({call})
    standing.set()
    if not call.cancelled():
        call.result()


async def _call(gateway: Gateway, wish: Wish, standing: asyncio.Event, died: asyncio.Event) -> None:
    """One client. It sets `standing` when it has got as far as it will before the crash."""
    try:
        for _ in range(wish.turns):
            await asyncio.sleep(0)
        seen = 0
        async with gateway.open(wish.request(), CALLER) as call:
            while wish.leave_after is None or seen < wish.leave_after:
                try:
                    await anext(aiter(call))
                except StopAsyncIteration:
                    break
                seen += 1
            if wish.is_cut:
                standing.set()
                await died.wait()
    except FarthingError:
        pass  # refused or failed before its content: the money laws hold for it as well
    finally:
        standing.set()


async def _reconciled(accounts: Accounts, rows: Sequence[Row]) -> Balance:
    """After the provider's export was read and what it does not name was released."""
    await accounts.reconcile(invoice_rows(rows))
    for hold in await accounts.unsettled():
        await accounts.release_unsettled(hold.call_id)
    return await balance(accounts, rows)


async def _reopened(path: Path, rows: Sequence[Row], gateway: Gateway) -> tuple[Balance, Balance]:
    """What a new process finds in the database of one that died."""
    settings = msgspec.structs.replace(
        gateway.settings, storage=Storage(url=f"sqlite:{path}"), budgets={}
    )
    database = connect(settings.storage, exclusive=True)
    await database.open()
    accounts = Accounts(database, settings, clock=gateway.clock, environ={})
    await accounts.open()
    try:
        found = await balance(accounts, rows)
        return found, await _reconciled(accounts, rows)
    finally:
        await accounts.aclose()
        await database.close()


async def _reserved_by(gateway: Gateway, wish: Wish) -> int:
    async with gateway.open(wish.request(), CALLER):
        return sum(hold.nanodollars for hold in await gateway.accounts.unsettled())


async def _tick(clock: FakeClock) -> None:
    while True:
        await asyncio.sleep(_REAL_STEP_S)
        await clock.advance(_STEP_S)


@cache
def _catalogue() -> Catalogue:
    return Catalogue.load()


async def total(accounts: Accounts) -> int:
    """The ledger's sum, nanodollars."""
    return sum(row.nanodollars for row in await accounts.spend(SpendQuery(by="total")))
