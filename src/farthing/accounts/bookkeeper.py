"""The bookkeeper: brings the journal into the tables in a moment, in slices, and before each report."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from farthing.accounts.budget_store import BudgetStore
from farthing.accounts.budgets import Alert, alerts
from farthing.accounts.fold import Folder
from farthing.accounts.guards import Administration, Count, Folding
from farthing.accounts.holds import Hold
from farthing.base.clock import Clock
from farthing.base.storage import Database, Work, journal
from farthing.base.storage.board import FOLDED, Board
from farthing.base.storage.journal import Journal
from farthing.core.errors import StorageError

T = TypeVar("T")
_log = logging.getLogger("farthing.accounts")

#: The longest that a record waits to be folded, seconds; also the pause after a fold that failed.
FOLD_S = 1.0
#: So many bytes are folded at once, whatever the time.
FOLD_BYTES = 2 << 20
#: What the fold leaves to the loop between two slices of its work, seconds.
_PAUSE_S = 0.0005


class Bookkeeper:
    """Owns the way from this process's journal, and from those of others, to the tables.

    trouble: what the last fold met; while it lasts no new hold is taken.
    """

    def __init__(
        self,
        database: Database,
        path: Path,
        own: Journal,
        board: Board,
        budgets: BudgetStore,
        clock: Clock,
        *,
        instance: str,
        timeout_s: float,
        tell: Callable[[Alert], None],
    ) -> None:
        self._database = database
        self._path = path
        self._journal = own
        self._instance = instance
        self._budgets = budgets
        self._clock = clock
        self._tell = tell
        self._breath = threading.Event()
        self.board = board
        self.folder = Folder(path, budgets.current)
        self.timeout_s = timeout_s
        self.trouble: StorageError | None = None
        self.tells = False
        self._folded = 0
        #: The board's count of folds: as of the last look at the alerts, and when the present one began.
        self._looked_at = self._began_at = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._folding: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to fold in the background, on this loop."""
        self._loop = asyncio.get_running_loop()
        self.attach()

    async def close(self) -> None:
        """Fold the rest and delete the journal. What cannot be folded now stays for the next process."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._folding is not None:
            await asyncio.gather(self._folding, return_exceptions=True)
        if not self._journal.written:
            return
        try:
            await self.fold()
            self._journal.close()
            await self.remove([self._instance])
        except StorageError as error:
            _log.error("The journal of this process stays for the next one: %s", error)

    def attach(self) -> None:
        """Map the board, if it is not yet. Raises StorageError."""
        if not self.board.is_open:
            self.board.open(timeout_s=self.timeout_s)

    # --- what waits for it ---

    async def fold(self, *, is_gentle: bool = False) -> None:
        """Bring every record that is written by now into the tables. Raises StorageError.

        is_gentle: let the loop have its turn on the way, since nobody waits.
        """
        before = self._journal.written
        if before == self._folded and self.trouble is None and not self.others():
            return
        self.attach()
        work = partial(self._fold_and_look, self._pause if is_gentle else None)
        try:
            found = await self._database.write(work, guard=Folding(self))
        except StorageError as error:
            self.trouble = error
            self._arm()
            raise
        self.trouble = None
        self._folded = max(self._folded, before)
        for alert in found:
            self._tell(alert)

    async def change(self, work: Callable[[], Work[T]]) -> T:
        """Run administration's unit of work, behind a fold in the same transaction, under the board's lock."""

        def folded() -> Work[T]:
            yield from self.folder.work()
            return (yield from work())

        self.attach()
        return await self._database.write(folded, guard=Administration(self))

    async def count(self, wish: Hold, take: Callable[[Count], None]) -> None:
        """Count the board anew, then `take` under its lock. Raises what `take` raises, StorageError."""
        if self.trouble is not None:
            await self.fold()
        counting = Count(self, self._budgets, wish, self._clock.now(), take)
        await self._database.write(counting.work, guard=counting)

    def others(self) -> list[str]:
        """Other processes whose journals are here."""
        found = {file.instance for file in journal.journals(self._path)}
        return sorted(found - {self._instance})

    async def remove(self, instances: list[str]) -> None:
        """Delete the journals of these, as far as they are folded. Nobody may write them any more."""
        files = [f for f in journal.journals(self._path) if f.instance in instances]
        if files:
            await self._database.write(lambda: self.folder.remove(files))

    # --- what tells it ---

    def note_written(self) -> None:
        """Something was appended, on the loop: let it be folded in a moment, or now if it is much."""
        if self._timer is None:
            self._arm()
        elif self._folding is None and self._journal.written - self._folded > FOLD_BYTES:
            self.fold_now()

    def fold_now(self) -> None:
        """Begin a fold in the background, unless one is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._folding is None and self._loop is not None:
            self._folding = self._loop.create_task(self._fold_in_background())

    def note_fold(self, *, is_looked_at: bool = False) -> None:
        """Something was folded. is_looked_at: and the alerts that it calls for were found."""
        words = self.board.words
        before, words[FOLDED] = words[FOLDED], self.board.new_mark()
        if is_looked_at and self._began_at == before:
            self._looked_at = words[FOLDED]

    # --- private ---

    def _fold_and_look(self, pause: Callable[[], None] | None) -> Work[list[Alert]]:
        """Fold, and see which budgets passed a mark, whoever folded what made them pass it."""
        seen = self._began_at = self.board.words[FOLDED]
        count = yield from self.folder.work(pause)
        if not self.tells or (not count and seen == self._looked_at):
            return []
        budgets = yield from self._budgets.current()
        windows = set(self.folder.touched)
        if seen != self._looked_at:
            windows |= self._budgets.windows_at(self._clock.now())
        return (yield from alerts(budgets, sorted(windows, key=lambda w: (w.budget, w.start_at))))

    def _pause(self) -> None:
        """On the writing thread: give the interpreter to the loop, which would wait 5 ms for each system
        call that it makes beside a busy thread."""
        self._breath.wait(_PAUSE_S)

    def _arm(self) -> None:
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(FOLD_S, self.fold_now)

    async def _fold_in_background(self) -> None:
        try:
            await self.fold(is_gentle=True)
            old = [f for f in journal.journals(self._path) if f.instance == self._instance][:-1]
            if old:
                await self._database.write(lambda: self.folder.remove(old))
        except StorageError as error:
            _log.warning("What is in the journal waits for the database: %s", error)
            self._arm()
        finally:
            self._folding = None
        if self._journal.written != self._folded:
            self._arm()
