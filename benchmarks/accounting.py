"""What a call's accounting costs: CPU of hold, settlement and their share of the fold, on SQLite.

Run: `python -m benchmarks.accounting`. Calls and records are made beforehand, so that only accounts are
measured. Both tills run in turn in one process, as many rounds each: that of transactions (as before the
journal, and as on Postgres still; many calls at once, so that they share commits) and that of the journal. A
figure is the least of its rounds: other programs on the machine can only add to it. *Folded between*: a fold
comes between hold and settlement, as for every call that lasts longer than a second, so that the hold gets a
row in the tables. Overshoot: processes hold money in one budget at once until it is spent; overshoot is what
they were let have beyond it, and must be 0.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import uvloop

from benchmarks._harness import Report
from farthing.accounts.accounts import Accounts, Hold, Reservation
from farthing.accounts.budgets import Budget
from farthing.base.clock import SystemClock
from farthing.base.config.settings import Settings, Storage
from farthing.base.storage import connect
from farthing.core.calls import AttemptRecord, Caller, CallRecord
from farthing.core.errors import BudgetExceededError
from farthing.core.usage import Usage

ROUNDS, CALLS, AT_ONCE = 20, 1_000, 50
PROCESSES, HOLDS, AMOUNT = 2, 4_000, 1_000
ALICE = Caller(key_id="key_1", name="alice", team="red")


@asynccontextmanager
async def accounts_on(
    path: Path, *, budgets: int, nanodollars: int = 10**17, by_transactions: bool = False
) -> AsyncIterator[Accounts]:
    """Accounts with so many budgets that every call counts in."""
    database = connect(Storage(url=f"sqlite:{path}"))
    await database.open()
    if by_transactions:
        database.path = None  # a database that is somewhere else, as far as accounts can tell
    accounts = Accounts(database, Settings(), clock=SystemClock(), environ={})
    await accounts.open()
    for number in range(budgets):
        await accounts.set_budget(
            Budget(name=f"b{number}", nanodollars=nanodollars, window="total", alert_at=())
        )
    try:
        yield accounts
    finally:
        await accounts.aclose()
        await database.close()


def made(clock: SystemClock, count: int) -> list[tuple[Hold, CallRecord]]:
    """Calls and how they end."""
    usage = Usage(input_tokens=420, output_tokens=87)
    pairs = []
    for _ in range(count):
        call_id, now = clock.new_id("call"), clock.now()
        attempt = AttemptRecord(
            deployment="west",
            provider="openai",
            model="m",
            outcome="ok",
            usage=usage,
            nanodollars=1_234,
            upstream_request_id=f"req_{clock.token_bytes(16).hex()}",
        )
        record = CallRecord(
            call_id=call_id,
            at_s=now,
            key_id=ALICE.key_id,
            team=ALICE.team,
            face="openai",
            dialect="openai-chat",
            model="m",
            attempts=(attempt,),
        )
        hold = Hold(call_id=call_id, caller=ALICE, model="m", nanodollars=5_000, at_s=now)
        pairs.append((hold, record))
    return pairs


async def by_journal(path: Path, budgets: int, *, is_folded_between: bool) -> float:
    """CPU µs per call."""
    clock, best = SystemClock(), float("inf")
    async with accounts_on(path, budgets=budgets) as accounts:
        for _ in range(ROUNDS):
            pairs = made(clock, CALLS)
            await accounts.unsettled()
            start = time.process_time()
            held: list[Reservation] = []
            for hold, _ in pairs:
                found = accounts.reserve_now(hold)
                held.append(found if found is not None else await accounts.reserve(hold))
            if is_folded_between:
                await accounts.entries(since=clock.now() + 60)
            for reservation, (_, record) in zip(held, pairs, strict=True):
                if not accounts.settle_now(reservation, record):
                    await accounts.settle(reservation, record)
            await accounts.entries(since=clock.now() + 60)  # folds, and reads nothing
            best = min(best, time.process_time() - start)
    return best / CALLS * 1e6


async def by_transactions(path: Path, budgets: int) -> float:
    """CPU µs per call, many at once, so that they share commits."""
    clock, best = SystemClock(), float("inf")
    async with accounts_on(path, budgets=budgets, by_transactions=True) as accounts:

        async def call(hold: Hold, record: CallRecord) -> None:
            await accounts.settle(await accounts.reserve(hold), record)

        for _ in range(ROUNDS):
            pairs = made(clock, CALLS)
            start = time.process_time()
            for first in range(0, CALLS, AT_ONCE):
                await asyncio.gather(*(call(*pair) for pair in pairs[first : first + AT_ONCE]))
            best = min(best, time.process_time() - start)
    return best / CALLS * 1e6


def hammer(path: str, admitted: multiprocessing.Queue[int]) -> None:
    """One process: hold and settle, until the budget has no room any more."""

    async def run() -> int:
        clock, count = SystemClock(), 0
        async with accounts_on(Path(path), budgets=0) as accounts:
            for hold, record in made(clock, HOLDS):
                wish = msgspec.structs.replace(hold, nanodollars=AMOUNT)
                try:
                    reservation = accounts.reserve_now(wish) or await accounts.reserve(wish)
                except BudgetExceededError:
                    break
                count += 1
                attempt = msgspec.structs.replace(record.attempts[0], nanodollars=AMOUNT)
                await accounts.settle(
                    reservation, msgspec.structs.replace(record, attempts=(attempt,))
                )
        return count

    admitted.put(uvloop.run(run()))


async def spent(path: Path) -> tuple[int, int]:
    """What the budget and the ledger say in the end."""
    async with accounts_on(path, budgets=0) as accounts:
        (state,) = await accounts.budgets()
        return state.spent, sum(entry.nanodollars for entry in await accounts.entries())


async def prepare(path: Path, nanodollars: int) -> None:
    """One budget of so much."""
    async with accounts_on(path, budgets=1, nanodollars=nanodollars):
        pass


def overshoot(path: Path) -> tuple[int, int]:
    """Nanodollars beyond the budget, and the calls that were admitted."""
    limit = HOLDS * AMOUNT + AMOUNT // 2
    uvloop.run(prepare(path, limit))
    context = multiprocessing.get_context("spawn")
    admitted: multiprocessing.Queue[int] = context.Queue()
    workers = [context.Process(target=hammer, args=(str(path), admitted)) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    counts = [admitted.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    by_budget, by_ledger = uvloop.run(spent(path))
    assert by_budget == by_ledger == sum(counts) * AMOUNT, (by_budget, by_ledger, counts)
    return max(0, by_ledger - limit), sum(counts)


def main() -> None:
    """Measure, and write the report."""
    report = Report("accounting")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for budgets in (0, 1, 2):
            before = uvloop.run(by_transactions(folder / f"t{budgets}.db", budgets))
            report.add(f"transactions, {budgets} budgets, CPU µs per call", before)
            quick = uvloop.run(
                by_journal(folder / f"j{budgets}.db", budgets, is_folded_between=False)
            )
            report.add(f"journal, {budgets} budgets, CPU µs per call", quick, target=20)
            report.add(f"journal, {budgets} budgets, times cheaper", before / quick)
        slow = uvloop.run(by_journal(folder / "s.db", 2, is_folded_between=True))
        report.add("journal, 2 budgets, folded between, CPU µs per call", slow)
        beyond, count = overshoot(folder / "o.db")
        report.add(f"overshoot of {PROCESSES} processes, nanodollars", beyond, target=0)
        report.add("calls that they were let make", count, target=HOLDS)
    report.print()


if __name__ == "__main__":
    main()
