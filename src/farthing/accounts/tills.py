"""Which till an installation has: the quick one beside a file of this machine, else the plain one."""

from __future__ import annotations

from collections.abc import Callable

from farthing.accounts.budget_store import BudgetStore
from farthing.accounts.budgets import Alert
from farthing.accounts.counter import Counter
from farthing.accounts.journal_till import JournalTill
from farthing.accounts.rates import Rates
from farthing.accounts.till import Till, TransactionTill
from farthing.base.clock import Clock
from farthing.base.config.settings import Settings
from farthing.base.storage import Database, board


def make_till(
    database: Database,
    settings: Settings,
    budgets: BudgetStore,
    limits: Rates,
    clock: Clock,
    *,
    instance: str,
    tell: Callable[[Alert], None],
) -> Till:
    """The till of this process. instance: the name that it claims. tell: takes each alert, on the loop."""
    path = database.path
    if path is None or not board.IS_AVAILABLE:
        return TransactionTill(
            database, budgets, Counter(limits, clock), instance=instance, tell=tell
        )
    return JournalTill(
        database,
        path,
        budgets,
        limits,
        clock,
        instance=instance,
        durability=settings.ledger.durability,
        timeout_s=settings.storage.busy_timeout_s,
        tell=tell,
    )
