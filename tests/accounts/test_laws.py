"""The laws of money, for any interleaving of calls, decisions and crashes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from farthing.accounts.accounts import InvoiceRow, Reservation
from farthing.accounts.budgets import Budget
from farthing.base.clock import FakeClock
from farthing.core.errors import BudgetExceededError, ConflictError, NotFoundError
from tests.accounts.books import ALICE, Books, books

T = TypeVar("T")
LIMIT = 1_000
AMOUNTS = st.integers(0, 400)


class Money(RuleBasedStateMachine):
    """One budget over all calls, one SQLite file, one process at a time."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.runner = asyncio.Runner()
        self.excess = 0
        self.settled: dict[str, int] = {}
        self.process = AsyncExitStack()
        self.books = self._open()
        self.run(
            self.books.accounts.set_budget(Budget(name="b", nanodollars=LIMIT, window="total"))
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def _open(self) -> Books:
        async def enter() -> Books:
            return await self.process.enter_async_context(
                books(f"sqlite:{self.folder / 'farthing.db'}", self.clock)
            )

        found: Books = self.run(enter())
        return found

    def teardown(self) -> None:
        self.run(self.process.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)

    @rule(target=calls, amount=AMOUNTS)
    def reserve(self, amount: int) -> Reservation | None:
        try:
            reservation: Reservation = self.run(self.books.begin(amount))
        except BudgetExceededError:
            return None
        return reservation

    @rule(call=calls, amount=AMOUNTS)
    def extend(self, call: Reservation | None, amount: int) -> None:
        if call is None:
            return
        try:
            self.run(self.books.accounts.extend(call, amount))
        except (BudgetExceededError, NotFoundError):
            pass

    @rule(call=calls, charges=st.lists(AMOUNTS, min_size=1, max_size=3), unconfirmed=AMOUNTS)
    def settle(self, call: Reservation | None, charges: list[int], unconfirmed: int) -> None:
        if call is None:
            return
        call_id = call.hold.call_id
        held = {h.call_id: h.nanodollars for h in self.run(self.books.accounts.unsettled())}
        self.run(self.books.end(call, *charges, unconfirmed=unconfirmed))
        if call_id not in self.settled:
            self.settled[call_id] = sum(charges)
            self.excess += max(0, sum(charges) - held.get(call_id, 0))

    @rule(call=calls)
    def release(self, call: Reservation | None) -> None:
        if call is not None and call.hold.call_id not in self.settled:
            self.run(self.books.accounts.release(call))

    @rule(call=calls, amount=st.none() | AMOUNTS)
    def decide(self, call: Reservation | None, amount: int | None) -> None:
        if call is None:
            return
        call_id = call.hold.call_id
        held = {h.call_id: h.nanodollars for h in self.run(self.books.accounts.unsettled())}
        accounts = self.books.accounts
        try:
            if amount is None:
                self.run(accounts.release_unsettled(call_id))
            else:
                self.run(accounts.confirm(call_id, amount))
        except (ConflictError, NotFoundError):
            return
        if amount is not None:
            self.settled[call_id] = self.settled.get(call_id, 0) + amount
            self.excess += max(0, amount - held[call_id])

    @rule(call=calls, amount=AMOUNTS)
    def reconcile(self, call: Reservation | None, amount: int) -> None:
        if call is None:
            return
        call_id = call.hold.call_id
        before, held = self.run(self.books.ledger()), self.run(self.books.held())
        self.run(self.books.accounts.reconcile([InvoiceRow(nanodollars=amount, call_id=call_id)]))
        after = self.run(self.books.ledger())
        self.excess += max(0, after + self.run(self.books.held()) - before - held)
        if after != before or call_id in self.settled:
            self.settled[call_id] = self.settled.get(call_id, 0) + after - before

    @rule(seconds=st.sampled_from([10, 1_000]))
    def time_passes(self, seconds: int) -> None:
        self.run(self.clock.advance(seconds))
        self.run(self.books.accounts.expire())

    @rule()
    def crash(self) -> None:
        """The process ends with its calls under way, and another begins."""
        self.run(self.process.aclose())
        self.process = AsyncExitStack()
        self.books = self._open()

    @precondition(lambda self: self.books is not None)
    @rule()
    def forget_the_window(self) -> None:
        """Another rule and back: the window is counted anew from the ledger and the holds."""
        accounts = self.books.accounts
        self.run(
            accounts.set_budget(Budget(name="b", nanodollars=LIMIT, window="total", team="red"))
        )
        self.run(accounts.budgets())
        self.run(accounts.set_budget(Budget(name="b", nanodollars=LIMIT, window="total")))

    @invariant()
    def windows_equal_the_ledger_and_the_holds(self) -> None:
        spent, reserved, _ = self.run(self.books.left("b"))
        assert (spent, reserved) == (self.run(self.books.ledger()), self.run(self.books.held()))

    @invariant()
    def a_budget_is_overspent_by_charges_beyond_their_holds_only(self) -> None:
        spent, reserved, _ = self.run(self.books.left("b"))
        assert spent + reserved <= LIMIT + self.excess

    @invariant()
    def every_charge_is_booked_once(self) -> None:
        booked: dict[str, int] = {}
        for entry in self.run(self.books.accounts.entries()):
            booked[entry.call_id] = booked.get(entry.call_id, 0) + entry.nanodollars
        assert booked == self.settled


TestMoney = Money.TestCase
TestMoney.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)


async def test_two_processes_cannot_overspend_a_budget_together(url: str) -> None:
    async with books(url, FakeClock(seed=1)) as one, books(url, FakeClock(seed=2)) as two:
        await one.accounts.set_budget(Budget(name="b", nanodollars=1_000, window="total"))
        wishes = [(one, two)[n % 2].begin(70) for n in range(40)]
        found = await asyncio.gather(*wishes, return_exceptions=True)
        held = [each for each in found if isinstance(each, Reservation)]
        assert len(held) == 1_000 // 70
        assert all(isinstance(e, BudgetExceededError | Reservation) for e in found)
        ends = [(one, two)[n % 2].end(each, 60) for n, each in enumerate(held)]
        await asyncio.gather(*ends)
        assert await one.left("b") == (14 * 60, 0, 1_000 - 14 * 60)


async def test_holds_of_a_living_process_are_not_taken_for_a_dead_ones(url: str) -> None:
    async with books(url, FakeClock(seed=1)) as one:
        await one.begin(10, caller=ALICE)
        async with books(url, FakeClock(seed=2)) as two:
            assert [h.state for h in await two.accounts.unsettled()] == ["open"]
    async with books(url, FakeClock(seed=3)) as three:
        assert [h.state for h in await three.accounts.unsettled()] == ["orphaned"]
