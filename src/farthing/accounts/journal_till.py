"""The quick till: a call's money is durable in the journal and counted on the board, by one write each."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from farthing.accounts import holds, rates, records
from farthing.accounts.budget_store import BudgetStore
from farthing.accounts.budgets import Alert, alerts, exceeded
from farthing.accounts.fold import Folder
from farthing.accounts.guards import Administration, Count, Folding
from farthing.accounts.holds import Hold, Reservation
from farthing.accounts.packing import pack_id
from farthing.accounts.rates import Charge, Rates
from farthing.accounts.records import Extended, Released, Reserved, Settled
from farthing.accounts.till import Settlement
from farthing.accounts.view import Line, Plan, View
from farthing.base.clock import Clock
from farthing.base.storage import Database, Work, journal
from farthing.base.storage.board import BUSY, COUNTED, FOLDED, GENERATION, KEYS, WANTED, Board
from farthing.base.storage.journal import Journal
from farthing.base.storage.sync import Syncer
from farthing.core.errors import StorageError

T = TypeVar("T")
_log = logging.getLogger("farthing.accounts")

#: The longest that a record waits to be folded, seconds; also the pause after a fold that failed.
FOLD_S = 1.0
#: So many bytes are folded at once, whatever the time.
FOLD_BYTES = 2 << 20
#: What the fold leaves to the loop between two slices of its work, seconds.
_PAUSE_S = 0.0005


class JournalTill:
    """See `till.Till`. One per process that makes calls, on a SQLite file of this machine.

    Everything named `_…_locked` runs under the board's lock, on the loop or on the writing thread.
    docs/adr/0015-journal-and-board.md says why each order of steps is what it is.
    """

    def __init__(
        self,
        database: Database,
        path: Path,
        budgets: BudgetStore,
        limits: Rates,
        clock: Clock,
        *,
        instance: str,
        durability: str,
        timeout_s: float,
        tell: Callable[[Alert], None],
    ) -> None:
        self._database = database
        self._path = path
        self._budgets = budgets
        self._clock = clock
        self._instance = instance
        self._tell = tell
        self.timeout_s = timeout_s
        self._is_synced = durability == "power"
        self._syncer: Syncer | None = None
        self._journal = Journal(path, instance)
        self._folder = Folder(path, budgets.current)
        self.rates = limits
        nonce = int.from_bytes(clock.token_bytes(4), "big")
        self.board = Board(path.with_name(path.name + ".board"), nonce=nonce)
        self.view: View | None = None
        self._trouble: StorageError | None = None
        self._corrections: list[tuple[tuple[Charge, ...], int | None]] = []
        self._is_claimed = False
        self._tells = False
        self._folded = 0
        self._folds = self._seen = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._folding: asyncio.Task[None] | None = None
        self._breath = threading.Event()

    # --- life ---

    async def open(self, *, recover: bool) -> None:
        """See `Till.open`."""
        self._loop = asyncio.get_running_loop()
        self._attach()
        if recover:
            await self._claim()
            self._tells = True

    async def close(self) -> None:
        """See `Till.close`. What cannot be folded now stays in the journal for the next process."""
        if self._timer is not None:
            self._timer.cancel()
        if self._folding is not None:
            await asyncio.gather(self._folding, return_exceptions=True)
        self.view = None
        if self._journal.written:
            try:
                await self.fold()
                self._journal.close()
                await self._remove([self._instance])
            except StorageError as error:
                _log.error("The journal of this process stays for the next one: %s", error)
        self._loop = None
        self._journal.close()
        if self._syncer is not None:
            self._syncer.close()
        self.board.close()

    # --- reserve ---

    def reserve_now(self, wish: Hold) -> Reservation | None:
        """See `Till.reserve_now`."""
        if self._is_synced:
            return None
        return self._reserve_quickly(wish)

    async def reserve(self, wish: Hold) -> Reservation:
        """See `Till.reserve`."""
        found = self._reserve_quickly(wish)
        if found is None:
            await self._claim()
            if self._trouble is not None:
                await self.fold()
            counting = Count(self, self._folder, self._budgets, wish, self._clock.now())
            await self._database.write(counting.work, guard=counting)
            self._written()
            found = counting.reservation
            assert found is not None
        if self._is_synced:
            try:
                await self._sync()
            except StorageError:
                self.release_now(found)
                raise
        return found

    def _reserve_quickly(self, wish: Hold) -> Reservation | None:
        view = self.view
        if view is None or self._trouble is not None:
            return None
        words = self.board.words
        if words[GENERATION] != view.generation:
            return None
        plan = view.plan(wish)
        if plan is None:
            return None
        if plan.lines or plan.limits:
            if not self.board.try_lock():
                return None
            try:
                found = self.reserve_locked(wish, view, plan)
            finally:
                self.board.unlock_quick()
        else:
            found = self._reserve_bare(wish, view, plan)
        self._written()
        return found

    def reserve_locked(
        self, wish: Hold, view: View, plan: Plan, *, is_counted: bool = False
    ) -> Reservation | None:
        """Hold the money on board and in journal. None: the board is not what the view says.

        is_counted: the caller has just counted it; a settlement that was written since is one that this
        hold was too early for. Raises BudgetExceededError, RateLimitedError, StorageError.
        """
        words = self.board.words
        if not is_counted and not self._is_fresh(view.generation):
            return None
        if not _stand(words, plan.lines):
            return None
        if self._corrections:
            self._correct_locked()
        charges: tuple[Charge, ...] = ()
        if plan.limits:
            now_ns = int(self._clock.now() * 1e9)
            charges = rates.ask(words, plan.limits, tokens=wish.tokens, now_ns=now_ns)
        amount = wish.nanodollars
        for line in plan.lines:
            at = line.at
            if words[at] + words[at + 1] + amount > line.limit:
                raise exceeded(line.budget, words[at], words[at + 1], amount)
        call = pack_id(wish.call_id)
        record = _reserved(call, wish, plan, view.version)
        words[BUSY] = 1
        try:
            self._journal.append(record)
        except StorageError:
            words[BUSY] = 0  # nothing is written, nothing was counted
            raise
        for line in plan.lines:
            words[line.at + 1] += amount
        words[BUSY] = 0
        rates.take(words, charges)
        return self._reservation(call, wish, plan, view.generation, charges)

    def _reserve_bare(self, wish: Hold, view: View, plan: Plan) -> Reservation | None:
        """Write a hold that no budget counts, without the lock.

        If the budgets changed while it was written it may have missed one: it is taken back, and asked
        again the slow way.
        """
        wanted = self.board.words[WANTED]
        if not self._is_fresh(view.generation):
            return None
        call = pack_id(wish.call_id)
        self._journal.append(_reserved(call, wish, plan, view.version))
        words = self.board.words
        if words[GENERATION] != view.generation or words[WANTED] != wanted:
            self.board.want_count()
            self._journal.append(records.encode(Released(call)))
            self.board.want_count()
            return None
        return self._reservation(call, wish, plan, view.generation, ())

    # --- extend ---

    def extend_now(self, reservation: Reservation, nanodollars: int) -> bool:
        """See `Till.extend_now`."""
        if self._is_synced:
            return False
        return self._extend_quickly(reservation, nanodollars)

    async def extend(self, reservation: Reservation, nanodollars: int) -> None:
        """See `Till.extend`."""
        if self._extend_quickly(reservation, nanodollars):
            if self._is_synced:
                await self._sync()
            return

        def work() -> Work[None]:
            budgets = yield from self._budgets.current()
            yield from holds.extend(reservation.hold.call_id, nanodollars, budgets)

        await self.change(work)
        reservation.nanodollars += nanodollars

    def _extend_quickly(self, reservation: Reservation, nanodollars: int) -> bool:
        if not self._is_mine(reservation) or not self.board.try_lock():
            return False
        try:
            is_done = self._extend_locked(reservation, nanodollars)
        finally:
            self.board.unlock_quick()
        self._written()
        return is_done

    def _extend_locked(self, reservation: Reservation, nanodollars: int) -> bool:
        words, lines = self.board.words, reservation.lines
        if not self._is_fresh(reservation.generation) or not _stand(words, lines):
            return False
        for line in lines:
            at = line.at
            if words[at] + words[at + 1] + nanodollars > line.limit:
                raise exceeded(line.budget, words[at], words[at + 1], nanodollars)
        record = records.encode(Extended(reservation.call, nanodollars))
        words[BUSY] = 1
        try:
            self._journal.append(record)
        except StorageError:
            words[BUSY] = 0
            raise
        for line in lines:
            words[line.at + 1] += nanodollars
        words[BUSY] = 0
        reservation.nanodollars += nanodollars
        return True

    # --- settle ---

    def settle_now(self, reservation: Reservation, settlement: Settlement) -> bool:
        """See `Till.settle_now`."""
        if self._is_synced:
            return False
        try:
            return self._settle_quickly(reservation, settlement)
        except StorageError:
            return False

    async def settle(self, reservation: Reservation, settlement: Settlement) -> None:
        """See `Till.settle`."""
        if self._settle_quickly(reservation, settlement):
            if self._is_synced:
                await self._sync()
            return

        # Another process's hold, or an earlier one's of this program: only the tables know it.
        def work() -> Work[None]:
            budgets = yield from self._budgets.current()
            yield from holds.settle(
                settlement.call_id,
                settlement.entries,
                budgets,
                unconfirmed=settlement.unconfirmed,
                expires_at=settlement.expires_at,
            )

        await self.change(work)
        await self.fold()

    def _settle_quickly(self, reservation: Reservation, settlement: Settlement) -> bool:
        if reservation.ended == "settled":
            return True
        if reservation.instance != self._instance and reservation.is_recorded:
            return False
        if not self.board.is_open:
            return False
        record = records.encode(
            Settled(
                reservation.call or pack_id(settlement.call_id),
                settlement.entries,
                settlement.unconfirmed,
                settlement.expires_at,
            )
        )
        spent = 0
        for entry in settlement.entries:
            spent += entry.nanodollars
        freed = reservation.nanodollars
        if settlement.unconfirmed:
            freed -= holds.kept_of(freed, spent, settlement.unconfirmed)
        self._finish(reservation, record, spent, freed, settlement.tokens)
        reservation.ended = "settled"
        return True

    def release_now(self, reservation: Reservation) -> bool:
        """See `Till.release_now`."""
        if reservation.ended is not None:
            return True
        try:
            return self._release_quickly(reservation)
        except StorageError:
            return False

    async def release(self, reservation: Reservation) -> None:
        """See `Till.release`. It need not be synced: a hold that comes back is an orphan, no loss."""
        if reservation.ended is None and not self._release_quickly(reservation):
            call_id = reservation.hold.call_id
            await self.change(lambda: holds.free(call_id))

    def _release_quickly(self, reservation: Reservation) -> bool:
        if not self._is_mine(reservation):
            return False
        record = records.encode(Released(reservation.call))
        self._finish(reservation, record, 0, reservation.nanodollars, None)
        reservation.ended = "released"
        return True

    def _finish(
        self, reservation: Reservation, record: bytes, spent: int, freed: int, tokens: int | None
    ) -> None:
        """Write the end of a call, and count it where the board still is what the call knows."""
        lines, charges = reservation.lines, reservation.charges
        if reservation.ended is not None or not reservation.is_recorded:
            self._append_uncounted(record)
        elif not lines and not charges:
            self._journal.append(record)
            if not self._is_fresh(reservation.generation):
                self.board.want_count()  # a budget made meanwhile may count it
        elif self.board.try_lock():
            try:
                self._finish_locked(reservation, record, spent, freed)
                if charges:
                    self._corrections.append((charges, tokens))
                    self._correct_locked()
            finally:
                self.board.unlock_quick()
        else:
            self._append_uncounted(record)
            if charges:
                self._corrections.append((charges, tokens))
        self._written()

    def _finish_locked(
        self, reservation: Reservation, record: bytes, spent: int, freed: int
    ) -> None:
        words, lines = self.board.words, reservation.lines
        if not self._is_fresh(reservation.generation) or not _stand(words, lines):
            self._append_uncounted(record)
            return
        words[BUSY] = 1
        try:
            self._journal.append(record)
        except StorageError:
            words[BUSY] = 0
            raise
        for (
            line
        ) in lines:  # first what is spent: between the two stores a budget has less, not more
            at = line.at
            words[at] += spent
            words[at + 1] -= freed
            if line.marks and words[at] >= line.marks[-1]:
                self._passed(line, words[at])
        words[BUSY] = 0

    def _append_uncounted(self, record: bytes) -> None:
        """Write what the board does not show: all is counted anew before the next hold.

        Marked before, for the case that this process dies behind the write, and behind it, since a count
        may have read the journal between.
        """
        self.board.want_count()
        self._journal.append(record)
        self.board.want_count()

    # --- tables ---

    async def fold(self, *, is_gentle: bool = False) -> None:
        """See `Till.fold`. is_gentle: let the loop have its turn on the way, since nobody waits."""
        before = self._journal.written
        if before == self._folded and self._trouble is None and not self.others():
            return
        self._attach()
        folding = Folding(self, self._folder)
        try:
            work = partial(self._fold_and_look, self._pause if is_gentle else None)
            found = await self._database.write(work, guard=folding)
        except StorageError as error:
            self._trouble = error
            self._arm()
            raise
        self._trouble = None
        self._folded = max(self._folded, before)
        for alert in found:
            self._tell(alert)

    async def change(self, work: Callable[[], Work[T]]) -> T:
        """See `Till.change`."""

        def folded() -> Work[T]:
            yield from self._folder.work()
            return (yield from work())

        self._attach()
        return await self._database.write(folded, guard=Administration(self, self._folder))

    async def bury(self, instances: list[str]) -> int:
        """See `Till.bury`."""
        count = await self.change(lambda: holds.orphan(instances))
        await self._remove(instances)
        return count

    def others(self) -> list[str]:
        """See `Till.others`."""
        found = {file.instance for file in journal.journals(self._path)}
        return sorted(found - {self._instance})

    # --- keys ---

    @property
    def keys_mark(self) -> int | None:
        """See `Till.keys_mark`."""
        self._attach()
        return self.board.words[KEYS]

    def keys_changed(self) -> None:
        """See `Till.keys_changed`."""
        self._attach()
        self.board.words[KEYS] = self.board.new_mark()

    def configure(self) -> None:
        """See `Till.configure`."""
        self.view = None

    # --- private ---

    def note_fold(self, *, is_looked_at: bool = False) -> None:
        """Something was folded. is_looked_at: and the alerts that it calls for were found."""
        words = self.board.words
        before, words[FOLDED] = words[FOLDED], self.board.new_mark()
        if is_looked_at and self._seen == before:
            self._folds = words[FOLDED]

    def _fold_and_look(self, pause: Callable[[], None] | None) -> Work[list[Alert]]:
        """Fold, and see which budgets passed a mark, whoever folded what made them pass it."""
        seen = self._seen = self.board.words[FOLDED]
        count = yield from self._folder.work(pause)
        if not self._tells or (not count and seen == self._folds):
            return []
        budgets = yield from self._budgets.current()
        windows = set(self._folder.touched)
        if seen != self._folds:
            windows |= self._budgets.windows_at(self._clock.now())
        return (yield from alerts(budgets, sorted(windows, key=lambda w: (w.budget, w.start_at))))

    def _pause(self) -> None:
        """On the writing thread: give the interpreter to the loop, which would wait 5 ms for each system
        call that it makes beside a busy thread."""
        self._breath.wait(_PAUSE_S)

    def _is_mine(self, reservation: Reservation) -> bool:
        return (
            reservation.instance == self._instance
            and reservation.ended is None
            and reservation.is_recorded
            and self.board.is_open
        )

    def _is_fresh(self, generation: int) -> bool:
        words = self.board.words
        return (
            words[GENERATION] == generation and words[WANTED] == words[COUNTED] and not words[BUSY]
        )

    def _reservation(
        self,
        call: bytes,
        wish: Hold,
        plan: Plan,
        generation: int,
        charges: tuple[Charge, ...],
    ) -> Reservation:
        return Reservation(
            hold=wish,
            call=call,
            windows=plan.windows,
            nanodollars=wish.nanodollars,
            instance=self._instance,
            generation=generation,
            lines=plan.lines,
            charges=charges,
        )

    def _correct_locked(self) -> None:
        now_ns = int(self._clock.now() * 1e9)
        for charges, tokens in self._corrections:
            rates.correct(self.board.words, charges, tokens=tokens, now_ns=now_ns)
        self._corrections.clear()

    def _passed(self, line: Line, spent: int) -> None:
        """A budget has passed a mark: fold now, so that its alert goes out."""
        while line.marks and spent >= line.marks[-1]:
            line.marks.pop()
        self._arm(now=True)

    def _attach(self) -> None:
        if not self.board.is_open:
            self.board.open(timeout_s=self.timeout_s)

    async def _claim(self) -> None:
        if not self._is_claimed:
            self._is_claimed = True
            await self._database.claim(self._instance)

    async def _sync(self) -> None:
        if self._syncer is None:
            self._syncer = Syncer(self._journal)
        await self._syncer.sync()

    async def _remove(self, instances: list[str]) -> None:
        files = [f for f in journal.journals(self._path) if f.instance in instances]
        if files:
            await self._database.write(lambda: self._folder.remove(files))

    # --- the fold's timer ---

    def _written(self) -> None:
        """Something was appended, on the loop: let it be folded in a moment, or now if it is much."""
        if self._timer is None:
            self._arm()
        elif self._folding is None and self._journal.written - self._folded > FOLD_BYTES:
            self._arm(now=True)

    def _arm(self, *, now: bool = False) -> None:
        if self._loop is None:
            return
        if now and self._folding is None:
            self._start_fold()
        elif self._timer is None:
            self._timer = self._loop.call_later(FOLD_S, self._start_fold)

    def _start_fold(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._folding is None and self._loop is not None:
            self._folding = self._loop.create_task(self._fold_in_background())

    async def _fold_in_background(self) -> None:
        try:
            if not self.board.is_in_place():
                self.view = None  # the next hold finds it missing, and says so
            await self.fold(is_gentle=True)
            old = [f for f in journal.journals(self._path) if f.instance == self._instance][:-1]
            if old:
                await self._database.write(lambda: self._folder.remove(old))
        except StorageError as error:
            _log.warning("What is in the journal waits for the database: %s", error)
            self._arm()
        finally:
            self._folding = None
        if self._journal.written != self._folded:
            self._arm()


def _reserved(call: bytes, wish: Hold, plan: Plan, version: int) -> bytes:
    caller = wish.caller
    return records.encode(
        Reserved(
            call,
            wish.nanodollars,
            int(wish.at_s * 1000),
            caller.key_id,
            wish.model,
            caller.team,
            wish.tags,
            plan.packed,
            version,
        )
    )


def _stand(words: memoryview[int], lines: tuple[Line, ...]) -> bool:
    """Whether each line's slot is still its own."""
    for line in lines:  # noqa: SIM110 -- a generator costs three times as much, at each call
        if words[line.at - 2] != line.key:
            return False
    return True
