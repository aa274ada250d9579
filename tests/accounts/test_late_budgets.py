"""Keys and budgets that change while calls are under way, on SQLite and on Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from farthing.accounts.accounts import Accounts, Hold, Reservation
from farthing.accounts.budgets import Budget
from farthing.base.clock import FakeClock
from farthing.base.config.settings import Settings, Storage
from farthing.base.storage import connect
from farthing.core.calls import AttemptRecord, Caller, CallRecord
from farthing.core.errors import AuthenticationError, BudgetExceededError

CALLER = Caller(key_id="key_1", name="alice", team="red")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'farthing.db'}"
    return str(request.getfixturevalue("postgres_url"))


@asynccontextmanager
async def accounts_on(url: str, clock: FakeClock) -> AsyncIterator[Accounts]:
    database = connect(Storage(url=url), durability="process", exclusive=True)
    await database.open()
    accounts = Accounts(database, Settings(), clock=clock, environ={})
    await accounts.open()
    try:
        yield accounts
    finally:
        await accounts.aclose()
        await database.close()


async def begin(accounts: Accounts, clock: FakeClock, nanodollars: int) -> Reservation:
    hold = Hold(
        call_id=clock.new_id("call"),
        caller=CALLER,
        model="m",
        nanodollars=nanodollars,
        at_s=clock.now(),
    )
    return await accounts.reserve(hold)


async def end(accounts: Accounts, reservation: Reservation, nanodollars: int) -> None:
    attempt = AttemptRecord(
        deployment="d", provider="p", model="m", outcome="ok", nanodollars=nanodollars
    )
    record = CallRecord(
        call_id=reservation.hold.call_id,
        at_s=reservation.hold.at_s,
        key_id="key_1",
        team="red",
        face="openai",
        dialect="openai-chat",
        model="m",
        attempts=(attempt,),
    )
    await accounts.settle(reservation, record)


async def test_a_budget_counts_calls_that_were_under_way_when_it_was_made(url: str) -> None:
    clock = FakeClock()
    async with accounts_on(url, clock) as accounts:
        first = await begin(accounts, clock, 100)
        await accounts.set_budget(Budget(name="b", nanodollars=100, alert_at=()))
        with pytest.raises(BudgetExceededError):
            await begin(accounts, clock, 1)
        await end(accounts, first, 60)
        await begin(accounts, clock, 40)
        state = (await accounts.budgets())[0]
        assert (state.spent, state.reserved, state.left) == (60, 40, 0)


async def test_a_budget_that_applies_to_others_now_forgets_what_these_spent(url: str) -> None:
    clock = FakeClock()
    async with accounts_on(url, clock) as accounts:
        await accounts.set_budget(Budget(name="b", nanodollars=100, alert_at=()))
        open_call = await begin(accounts, clock, 100)
        await accounts.set_budget(Budget(name="b", nanodollars=100, team="blue", alert_at=()))
        await begin(accounts, clock, 100)
        await end(accounts, open_call, 100)
        assert (await accounts.budgets())[0].spent == 0


async def test_revoking_the_last_key_does_not_open_the_door_to_everybody(url: str) -> None:
    async with accounts_on(url, FakeClock()) as accounts:
        assert (await accounts.identify(None, face="openai")).is_local
        await accounts.keys.create("alice")
        await accounts.keys.revoke("alice")
        with pytest.raises(AuthenticationError):
            await accounts.identify(None, face="openai")
