"""The quick till: a call's money is durable in the journal and counted on the board, by one write each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from farthing.accounts import holds, records
from farthing.accounts.bookkeeper import Bookkeeper
from farthing.accounts.budget_store import BudgetStore
from farthing.accounts.budgets import Alert
from farthing.accounts.guards import Count
from farthing.accounts.holds import Hold, Reservation
from farthing.accounts.moves import Moves
from farthing.accounts.packing import pack_id
from farthing.accounts.rates import Rates
from farthing.accounts.records import Released, Settled
from farthing.accounts.till import Settlement
from farthing.accounts.view import View
from farthing.base.clock import Clock
from farthing.base.storage import Database, Work
from farthing.base.storage.board import GENERATION, KEYS, Board
from farthing.base.storage.journal import Journal
from farthing.base.storage.sync import Syncer
from farthing.core.errors import StorageError

T = TypeVar("T")


class JournalTill:
    """See `till.Till`. One per process that makes calls, on a SQLite file of this machine.

    Each move is tried on the loop, at once. Where the board is locked, unsound or not what this process
    knows, a hold goes the slow way: the writing thread counts the board anew and holds it under the lock.
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
        self._budgets = budgets
        self._rates = limits
        self._instance = instance
        self._is_synced = durability == "power"
        self._syncer: Syncer | None = None
        self._journal = Journal(path, instance, is_synced=self._is_synced)
        nonce = int.from_bytes(clock.token_bytes(4), "big")
        self._board = Board(path.with_name(path.name + ".board"), nonce=nonce)
        self._keeper = Bookkeeper(
            database,
            path,
            self._journal,
            self._board,
            budgets,
            clock,
            instance=instance,
            timeout_s=timeout_s,
            tell=tell,
        )
        self._moves = Moves(
            self._board, self._journal, clock, instance=instance, passed=self._keeper.fold_now
        )
        self._view: View | None = None
        self._is_claimed = False

    # --- life ---

    async def open(self, *, recover: bool) -> None:
        """See `Till.open`."""
        self._keeper.open()
        if recover:
            await self._claim()
            self._keeper.tells = True

    async def close(self) -> None:
        """See `Till.close`."""
        self._view = None
        await self._keeper.close()
        self._journal.close()
        if self._syncer is not None:
            self._syncer.close()
        self._board.close()

    # --- reserve ---

    def reserve_now(self, wish: Hold) -> Reservation | None:
        """See `Till.reserve_now`."""
        return None if self._is_synced else self._reserve_quickly(wish)

    async def reserve(self, wish: Hold) -> Reservation:
        """See `Till.reserve`."""
        found = self._reserve_quickly(wish)
        if found is None:
            found = await self._reserve_counted(wish)
        if self._is_synced:
            try:
                await self._sync()
            except StorageError:
                self.release_now(found)
                raise
        return found

    def _reserve_quickly(self, wish: Hold) -> Reservation | None:
        view = self._view
        if view is None or self._keeper.trouble is not None:
            return None
        plan = view.plan(wish) if self._board.words[GENERATION] == view.generation else None
        if plan is None:
            return None
        if not plan.lines and not plan.limits:
            found = self._moves.reserve_bare(wish, view, plan)
        elif self._board.try_lock():
            try:
                found = self._moves.reserve_locked(wish, view, plan)
            finally:
                self._board.unlock_quick()
        else:
            return None
        self._keeper.note_written()
        return found

    async def _reserve_counted(self, wish: Hold) -> Reservation:
        """Hold the money once the board is counted anew."""
        await self._claim()
        found: list[Reservation] = []

        def take(count: Count) -> None:
            view = View(
                self._board,
                count.budgets,
                self._rates.place(self._board),
                generation=self._board.words[GENERATION],
                version=count.version,
            )
            self._view = view
            plan = view.plan(wish)
            assert plan is not None, "its windows were begun by the count"
            made = self._moves.reserve_locked(wish, view, plan, is_counted=True)
            assert made is not None, "its slots were written by the count"
            found.append(made)

        await self._keeper.count(wish, take)
        self._keeper.note_written()
        return found[0]

    # --- extend ---

    def extend_now(self, reservation: Reservation, nanodollars: int) -> bool:
        """See `Till.extend_now`."""
        return not self._is_synced and self._extend_quickly(reservation, nanodollars)

    async def extend(self, reservation: Reservation, nanodollars: int) -> None:
        """See `Till.extend`."""
        if self._extend_quickly(reservation, nanodollars):
            if self._is_synced:
                await self._sync()
            return

        def work() -> Work[None]:
            budgets = yield from self._budgets.current()
            yield from holds.extend(reservation.hold.call_id, nanodollars, budgets)

        await self._keeper.change(work)
        reservation.nanodollars += nanodollars

    def _extend_quickly(self, reservation: Reservation, nanodollars: int) -> bool:
        if not self._is_mine(reservation) or not self._board.try_lock():
            return False
        try:
            is_done = self._moves.extend_locked(reservation, nanodollars)
        finally:
            self._board.unlock_quick()
        self._keeper.note_written()
        return is_done

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

        await self._keeper.change(work)

    def _settle_quickly(self, reservation: Reservation, settlement: Settlement) -> bool:
        if reservation.ended == "settled":
            return True
        is_elsewhere = reservation.is_recorded and reservation.instance != self._instance
        if is_elsewhere or not self._board.is_open:
            return False
        record = records.encode(
            Settled(
                reservation.call or pack_id(settlement.call_id),
                settlement.entries,
                settlement.unconfirmed,
                settlement.expires_at,
            )
        )
        freed, spent = reservation.nanodollars, 0
        for entry in settlement.entries:
            spent += entry.nanodollars
        if settlement.unconfirmed:
            freed -= holds.kept_of(freed, spent, settlement.unconfirmed)
        self._moves.finish(reservation, record, spent=spent, freed=freed, tokens=settlement.tokens)
        reservation.ended = "settled"
        self._keeper.note_written()
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
            await self._keeper.change(lambda: holds.free(call_id))

    def _release_quickly(self, reservation: Reservation) -> bool:
        if not self._is_mine(reservation):
            return False
        record = records.encode(Released(reservation.call))
        freed = reservation.nanodollars
        self._moves.finish(reservation, record, spent=0, freed=freed, tokens=None)
        reservation.ended = "released"
        self._keeper.note_written()
        return True

    # --- tables ---

    async def fold(self) -> None:
        """See `Till.fold`."""
        await self._keeper.fold()

    async def change(self, work: Callable[[], Work[T]]) -> T:
        """See `Till.change`."""
        return await self._keeper.change(work)

    async def bury(self, instances: list[str]) -> int:
        """See `Till.bury`."""
        count = await self._keeper.change(lambda: holds.orphan(instances))
        await self._keeper.remove(instances)
        return count

    def others(self) -> list[str]:
        """See `Till.others`."""
        return self._keeper.others()

    def configure(self) -> None:
        """See `Till.configure`."""
        self._view = None

    # --- keys ---

    @property
    def keys_mark(self) -> int | None:
        """See `Till.keys_mark`."""
        if not self._board.is_open:
            self._keeper.attach()
        return self._board.words[KEYS]

    def keys_changed(self) -> None:
        """See `Till.keys_changed`."""
        self._keeper.attach()
        self._board.words[KEYS] = self._board.new_mark()

    # --- private ---

    def _is_mine(self, reservation: Reservation) -> bool:
        return (
            reservation.instance == self._instance
            and reservation.ended is None
            and reservation.is_recorded
            and self._board.is_open
        )

    async def _claim(self) -> None:
        if not self._is_claimed:
            self._is_claimed = True
            await self._database.claim(self._instance)

    async def _sync(self) -> None:
        if self._syncer is None:
            self._syncer = Syncer(self._journal)
        await self._syncer.sync()
