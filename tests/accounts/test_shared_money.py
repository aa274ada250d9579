"""The laws of money over several processes on one SQLite file, any of which may die between two steps."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from farthing.accounts.accounts import Accounts, Reservation
from farthing.accounts.budgets import Budget
from farthing.base.clock import FakeClock
from farthing.base.config.settings import Settings, Storage
from farthing.base.storage import connect
from farthing.base.storage.board import BUSY, COUNTED, WANTED
from farthing.core.errors import BudgetExceededError, NotFoundError
from tests.accounts.books import Books

T = TypeVar("T")
LIMIT = 1_000
AMOUNTS = st.integers(0, 400)
WHOLE = Budget(name="b", nanodollars=LIMIT, window="total")
#: No move has more stores and writes than this.
MOST_STEPS = 8


class KilledError(Exception):
    """This process is dead."""


class Steps:
    """Counts the steps of a process, and ends it at one of them. A step: a word stored, a record written."""

    def __init__(self) -> None:
        self.left: int | None = None

    def take(self) -> None:
        if self.left is None:
            return
        if self.left == 0:
            raise KilledError
        self.left -= 1


class MortalWords:
    """The board's words; each store is a step."""

    def __init__(self, words: Any, steps: Steps) -> None:
        self._words = words
        self._steps = steps

    def __getitem__(self, at: int) -> int:
        found: int = self._words[at]
        return found

    def __setitem__(self, at: int, value: int) -> None:
        self._steps.take()
        self._words[at] = value

    def release(self) -> None:
        self._words.release()


class Process:
    """One process's accounts, as far as a test can have several in one program."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        self._url = url
        self._clock = clock
        self.steps = Steps()

    async def begin(self) -> Process:
        database = connect(Storage(url=self._url))
        await database.open()
        accounts = Accounts(database, Settings(), clock=self._clock, environ={})
        await accounts.open()
        self.books = Books(accounts, database, self._clock)
        till: Any = accounts._till
        self.board, journal = till._board, till._journal
        append = journal.append

        def step_and_append(payload: bytes) -> None:
            self.steps.take()
            append(payload)

        journal.append = step_and_append
        self.board.words = MortalWords(self.board.words, self.steps)
        return self

    async def die(self) -> None:
        """What the kernel does: locks and claims are free, nothing more is written."""
        accounts: Any = self.books.accounts
        accounts._sweeper.cancel()
        keeper = accounts._till._keeper
        keeper._loop = None
        if keeper._timer is not None:
            keeper._timer.cancel()
        if keeper._folding is not None:
            await asyncio.gather(keeper._folding, return_exceptions=True)
        self.steps.left = None
        self.board.close()
        await self.books.database.close()

    async def end(self) -> None:
        self.steps.left = None
        await self.books.accounts.aclose()
        await self.books.database.close()


class SharedMoney(RuleBasedStateMachine):
    """Three processes, one budget over all calls."""

    calls = Bundle("calls")
    which = st.integers(0, 2)

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.url = f"sqlite:{self.folder / 'farthing.db'}"
        self.runner = asyncio.Runner()
        self.excess = 0
        self.charged: dict[str, int] = {}
        self.doubtful: dict[str, int] = {}
        self.count = 0
        self.processes = [self.run(self._process().begin()) for _ in range(3)]
        self.run(self.processes[0].books.accounts.set_budget(WHOLE))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def _process(self) -> Process:
        self.count += 1
        return Process(self.url, FakeClock(seed=self.count))

    def _replace(self, number: int) -> None:
        """It dies. Before another comes, which would have all counted anew, a survivor goes by the board."""
        self.run(self.processes[number].die())
        survivor = self.processes[(number + 1) % 3]
        try:
            self.run(survivor.books.accounts.release(self.run(survivor.books.begin(0))))
        except BudgetExceededError:
            pass  # spent beyond the limit already
        self._compare(survivor)
        self.processes[number] = self.run(self._process().begin())

    def teardown(self) -> None:
        for process in self.processes:
            self.run(process.end())
        self.runner.close()
        left = [p.name for p in self.folder.iterdir() if p.name.endswith(".journal")]
        shutil.rmtree(self.folder)
        assert left == []

    @rule(target=calls, number=which, amount=AMOUNTS)
    def reserve(self, number: int, amount: int) -> tuple[int, Reservation] | None:
        books = self.processes[number].books
        try:
            return self.count, self.run(books.begin(amount))
        except BudgetExceededError:
            return None

    @rule(call=calls, number=which, amount=AMOUNTS)
    def extend(self, call: tuple[int, Reservation] | None, number: int, amount: int) -> None:
        if call is None:
            return
        try:
            self.run(self.processes[number].books.accounts.extend(call[1], amount))
        except (BudgetExceededError, NotFoundError):
            pass

    @rule(call=calls, number=which, charge=AMOUNTS, unconfirmed=AMOUNTS)
    def settle(
        self, call: tuple[int, Reservation] | None, number: int, charge: int, unconfirmed: int
    ) -> None:
        if call is None:
            return
        call_id = call[1].hold.call_id
        held = self._held(call_id)
        self.run(self.processes[number].books.end(call[1], charge, unconfirmed=unconfirmed))
        if call_id not in self.charged:
            self.charged[call_id] = charge
            self.excess += max(0, charge - held)

    @rule(call=calls, number=which)
    def release(self, call: tuple[int, Reservation] | None, number: int) -> None:
        if call is not None and call[1].hold.call_id not in self.charged:
            self.run(self.processes[number].books.accounts.release(call[1]))

    @rule(number=which)
    def crash(self, number: int) -> None:
        self._replace(number)

    @rule(number=which, steps=st.integers(0, MOST_STEPS), amount=AMOUNTS)
    def crash_in_a_reserve(self, number: int, steps: int, amount: int) -> None:
        process = self.processes[number]
        process.steps.left = steps
        try:
            self.run(process.books.begin(amount))
        except (KilledError, BudgetExceededError):
            pass
        self._replace(number)

    @rule(number=which, steps=st.integers(0, MOST_STEPS), held=AMOUNTS, charge=AMOUNTS)
    def crash_in_a_settle(self, number: int, steps: int, held: int, charge: int) -> None:
        """The charge is booked or it is not; if it is not, the hold covers what it can."""
        process = self.processes[number]
        try:
            call = self.run(process.books.begin(held))
        except BudgetExceededError:
            return
        process.steps.left = steps
        is_settled = False
        try:
            self.run(process.books.end(call, charge))
            is_settled = True
        except KilledError:
            pass
        self._replace(number)
        call_id = call.hold.call_id
        booked = self._booked().get(call_id)
        assert booked == charge if is_settled else booked in (None, charge)
        if booked is not None:
            self.charged[call_id] = charge
            self.excess += max(0, charge - held)
        else:
            assert self._held(call_id) == held

    @rule(number=which)
    def forget_the_window(self, number: int) -> None:
        """Another rule and back, beside calls under way in every process."""
        accounts = self.processes[number].books.accounts
        other = Budget(name="b", nanodollars=LIMIT, window="total", team="red")
        self.run(accounts.set_budget(other))
        self.run(accounts.budgets())
        self.run(accounts.set_budget(WHOLE))

    @rule(number=which)
    def fold(self, number: int) -> None:
        self.run(self.processes[number].books.accounts._till.fold())

    @invariant()
    def windows_equal_the_ledger_and_the_holds_in_every_process(self) -> None:
        for process in self.processes:
            spent, reserved, _ = self.run(process.books.left("b"))
            ledger, held = self.run(process.books.ledger()), self.run(process.books.held())
            assert (spent, reserved) == (ledger, held)
            assert spent + reserved <= LIMIT + self.excess

    @invariant()
    def every_charge_is_booked_once(self) -> None:
        assert self._booked() == self.charged

    @invariant()
    def a_board_that_looks_sound_says_what_the_tables_say(self) -> None:
        self._compare(self.processes[0])

    def _compare(self, process: Process) -> None:
        board = process.board
        words = board.words
        if words[WANTED] != words[COUNTED] or words[BUSY]:
            return
        spent, reserved, _ = self.run(process.books.left("b"))
        shown = [(words[at], words[at + 1]) for at in board.slots().values()]
        assert shown in ([], [(spent, reserved)])

    def _booked(self) -> dict[str, int]:
        booked: dict[str, int] = {}
        for entry in self.run(self.processes[2].books.accounts.entries()):
            booked[entry.call_id] = booked.get(entry.call_id, 0) + entry.nanodollars
        return booked

    def _held(self, call_id: str) -> int:
        holds = self.run(self.processes[2].books.accounts.unsettled())
        return sum(hold.nanodollars for hold in holds if hold.call_id == call_id)


TestSharedMoney = SharedMoney.TestCase
TestSharedMoney.settings = settings(max_examples=6, stateful_step_count=12, deadline=None)


@pytest.mark.parametrize("steps", range(MOST_STEPS + 1))
@pytest.mark.parametrize("move", ["reserve", "settle", "extend", "release"])
async def test_a_death_at_any_step_of_any_move_loses_and_doubles_nothing(
    tmp_path: Path, move: str, steps: int
) -> None:
    url = f"sqlite:{tmp_path / 'farthing.db'}"
    one = await Process(url, FakeClock(seed=1)).begin()
    two = await Process(url, FakeClock(seed=2)).begin()
    await one.books.accounts.set_budget(WHOLE)
    call = await one.books.begin(300)
    await two.books.accounts.release(await two.books.begin(0))  # it knows the board from now on
    assert two.books.accounts.reserve_now(two.books.wish(0)) is not None
    one.steps.left = steps
    try:
        if move == "reserve":
            await one.books.begin(100)
        elif move == "settle":
            await one.books.end(call, 200)
        elif move == "extend":
            await one.books.accounts.extend(call, 100)
        else:
            await one.books.accounts.release(call)
    except KilledError:
        pass
    await one.die()
    await two.books.accounts.release(await two.books.begin(0))
    words = two.board.words
    assert words[WANTED] == words[COUNTED]
    shown = [(words[at], words[at + 1]) for at in two.board.slots().values()]
    spent, reserved, left = await two.books.left("b")
    assert (spent, reserved) in {
        "reserve": [(0, 300), (0, 400)],
        "settle": [(0, 300), (200, 0)],
        "extend": [(0, 300), (0, 400)],
        "release": [(0, 300), (0, 0)],
    }[move]
    assert shown == [(spent, reserved)]
    assert (spent, reserved) == (await two.books.ledger(), await two.books.held())
    await two.books.begin(left)
    with pytest.raises(BudgetExceededError):
        await two.books.begin(1)
    await two.end()


async def test_processes_that_hammer_one_budget_admit_exactly_what_fits(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'farthing.db'}"
    processes = [await Process(url, FakeClock(seed=n)).begin() for n in range(3)]
    await processes[0].books.accounts.set_budget(WHOLE)
    admitted = 0

    async def hammer(process: Process) -> None:
        nonlocal admitted
        for _ in range(60):
            try:
                call = await process.books.begin(10)
            except BudgetExceededError:
                continue
            admitted += 1
            await process.books.end(call, 10)

    await asyncio.gather(*(hammer(process) for process in processes))
    assert admitted == LIMIT // 10
    assert await processes[1].books.left("b") == (LIMIT, 0, 0)
    for process in processes:
        await process.end()
