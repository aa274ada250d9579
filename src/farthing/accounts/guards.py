"""What stands around the transactions of the quick till: the board's lock, and the board's new totals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from farthing.accounts import holds
from farthing.accounts.budget_store import BudgetStore
from farthing.accounts.budgets import (
    Budget,
    Window,
    begin,
    window_start,
)
from farthing.accounts.holds import Hold
from farthing.base.storage import Query, Work
from farthing.base.storage.board import (
    BUDGETS,
    BUSY,
    COUNTED,
    GENERATION,
    SLOTS,
    USED,
    WANTED,
    key_of,
)
from farthing.core.errors import StorageError

if TYPE_CHECKING:  # it makes guards
    from farthing.accounts.bookkeeper import Bookkeeper


class Folding:
    """Around a fold: nobody needs to wait for it, since it changes no total."""

    def __init__(self, keeper: Bookkeeper) -> None:
        self._keeper = keeper

    def enter(self) -> None:
        """See `Guard.enter`."""

    def committed(self) -> None:
        """See `Guard.committed`."""
        self._keeper.folder.keep()
        self._keeper.note_fold(is_looked_at=True)

    def leave(self) -> None:
        """See `Guard.leave`."""


class Administration:
    """Around a change of budgets, holds or charges by hand: every later call meets it.

    The mark is set before the change, so that a process that dies behind its commit leaves no board that
    looks good.
    """

    def __init__(self, keeper: Bookkeeper) -> None:
        self._keeper = keeper

    def enter(self) -> None:
        """See `Guard.enter`."""
        self._keeper.board.lock(self._keeper.timeout_s)
        self._keeper.board.want_count()

    def committed(self) -> None:
        """See `Guard.committed`."""
        self._keeper.folder.keep()
        self._keeper.note_fold()

    def leave(self) -> None:
        """See `Guard.leave`."""
        self._keeper.board.unlock()


class Count:
    """Counts the board anew from the tables, and then lets the till `take` what one call wishes.

    Its unit of work folds every journal first, under the lock, so that the tables say all. budgets and
    version: those that were read on the way.
    """

    def __init__(
        self,
        keeper: Bookkeeper,
        budgets: BudgetStore,
        wish: Hold,
        now_s: float,
        take: Callable[[Count], None],
    ) -> None:
        self._keeper = keeper
        self._take = take
        self._store = budgets
        self.wish = wish
        self._now_s = now_s
        self._mark = 0
        self.version = 0
        self.budgets: tuple[Budget, ...] = ()
        self._joined: list[bytes] = []
        self._rows: list[tuple[Any, ...]] = []

    def enter(self) -> None:
        """See `Guard.enter`."""
        board = self._keeper.board
        if not board.is_in_place():
            raise StorageError(
                "The board beside the database was removed while it was in use.",
                hint="Start Farthing again, in every process that uses this database.",
            )
        board.lock(self._keeper.timeout_s)
        self._mark = board.new_mark()
        board.words[WANTED] = self._mark

    def work(self) -> Work[None]:
        """The unit of work."""
        yield from self._keeper.folder.work()
        self._joined = []
        self.budgets = yield from self._store.current()
        self.version = self._store.version
        wish = self.wish
        spent = partial(holds.so_far, joined=self._joined)
        for budget in self.budgets:
            if budget.matches(wish.caller, wish.model, wish.tags):
                window = Window(budget.name, window_start(budget.window, wish.at_s))
                yield from begin(budget, window, spent)
        starts = sorted(
            {
                window_start(span, at)
                for span in ("day", "week", "month", "total")
                for at in (self._now_s, wish.at_s)
            }
        )
        marks = ", ".join("?" * len(starts))
        self._rows = yield Query(
            "SELECT budget, scope, start_at, spent, reserved FROM budget_windows "  # noqa: S608
            f"WHERE start_at IN ({marks}) OR reserved <> 0",
            tuple(starts),
        )

    def committed(self) -> None:
        """See `Guard.committed`. Raises BudgetExceededError, RateLimitedError, StorageError."""
        words = self._keeper.board.words
        self._keeper.folder.keep()
        self._keeper.note_fold()
        words[BUSY] = 1
        self._show(self._rows)
        if words[BUDGETS] != self.version or self._joined:
            words[GENERATION] = (words[GENERATION] + 1) & 0xFFFFFFFF
            words[BUDGETS] = self.version
        words[BUSY] = 0
        words[COUNTED] = self._mark
        self._take(self)

    def leave(self) -> None:
        """See `Guard.leave`."""
        self._keeper.board.unlock()

    def _show(self, rows: Sequence[tuple[Any, ...]]) -> None:
        board = self._keeper.board
        words = board.words
        wanted = {key_of(row[0], row[1], row[2]): (row[3], row[4]) for row in rows}
        present = board.slots()
        if words[USED] + len(wanted.keys() - present.keys()) > SLOTS:
            board.clear()
            words[GENERATION] = (words[GENERATION] + 1) & 0xFFFFFFFF
            present = {}
        for key, at in present.items():
            if key not in wanted:
                board.drop(at)
        for key, (spent, reserved) in wanted.items():
            at = present[key] if key in present else board.add(key)
            words[at], words[at + 1] = spent, reserved
