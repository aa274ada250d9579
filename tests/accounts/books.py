"""Accounts on a real database and a clock of the test's own, and calls that need no gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from farthing.accounts.accounts import Accounts, Hold, Reservation
from farthing.base.clock import FakeClock
from farthing.base.config.settings import Settings, Storage
from farthing.base.storage import Database, connect
from farthing.core.calls import AttemptRecord, Caller, CallRecord
from farthing.core.usage import Usage

ALICE = Caller(key_id="key_1", name="alice", team="red")


class Books:
    """An open database with its accounts."""

    def __init__(self, accounts: Accounts, database: Database, clock: FakeClock) -> None:
        self.accounts = accounts
        self.database = database
        self.clock = clock

    async def begin(
        self, nanodollars: int, *, caller: Caller = ALICE, tags: tuple[str, ...] = ()
    ) -> Reservation:
        """Hold money for a new call."""
        return await self.accounts.reserve(self.wish(nanodollars, caller=caller, tags=tags))

    def wish(
        self,
        nanodollars: int,
        *,
        caller: Caller = ALICE,
        tags: tuple[str, ...] = (),
        tokens: int = 0,
    ) -> Hold:
        """A new call that could cost that much."""
        return Hold(
            call_id=self.clock.new_id("call"),
            caller=caller,
            model="m",
            nanodollars=nanodollars,
            at_s=self.clock.now(),
            tags=tags,
            tokens=tokens,
        )

    async def end(
        self,
        reservation: Reservation,
        *charges: int,
        unconfirmed: int = 0,
        request_id: str | None = None,
    ) -> None:
        """Settle a call whose tries cost that much."""
        record = record_of(reservation, *charges, request_id=request_id)
        await self.accounts.settle(reservation, record, unconfirmed_nanodollars=unconfirmed)

    async def spend(self, nanodollars: int, *, caller: Caller = ALICE) -> str:
        """A whole call; returns its id."""
        reservation = await self.begin(nanodollars, caller=caller)
        await self.end(reservation, nanodollars)
        return reservation.hold.call_id

    async def ledger(self) -> int:
        """The sum of all rows."""
        return sum(entry.nanodollars for entry in await self.accounts.entries())

    async def held(self) -> int:
        """The sum of all holds."""
        return sum(hold.nanodollars for hold in await self.accounts.unsettled())

    async def left(self, name: str) -> tuple[int, int, int]:
        """What a budget has spent, holds and has left."""
        (state,) = [s for s in await self.accounts.budgets() if s.budget.name == name]
        return state.spent, state.reserved, state.left


@asynccontextmanager
async def books(
    url: str, clock: FakeClock | None = None, settings: Settings | None = None
) -> AsyncIterator[Books]:
    """Open a database; one process's view of it."""
    clock = clock or FakeClock()
    database = connect(Storage(url=url), durability="process")
    await database.open()
    accounts = Accounts(database, settings or Settings(), clock=clock, environ={"S": "secret"})
    await accounts.open()
    try:
        yield Books(accounts, database, clock)
    finally:
        await accounts.aclose()
        await database.close()


def record_of(reservation: Reservation, *charges: int, request_id: str | None = None) -> CallRecord:
    """The record of a call whose tries cost that much."""
    hold = reservation.hold
    attempts = tuple(
        AttemptRecord(
            deployment=f"d{index}",
            provider="p",
            model="served",
            outcome="ok",
            nanodollars=charge,
            usage=Usage(input_tokens=10, output_tokens=5, cached_input_tokens=3),
            upstream_request_id=request_id,
        )
        for index, charge in enumerate(charges)
    )
    return CallRecord(
        call_id=hold.call_id,
        at_s=hold.at_s,
        key_id=hold.caller.key_id,
        team=hold.caller.team,
        face="openai",
        dialect="openai-chat",
        model=hold.model,
        tags=hold.tags,
        attempts=attempts,
    )
