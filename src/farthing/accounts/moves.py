"""Moves: a call's money on the board and in the journal, step by step."""

from __future__ import annotations

from collections.abc import Callable

from farthing.accounts import rates, records
from farthing.accounts.budgets import exceeded
from farthing.accounts.holds import Hold, Reservation
from farthing.accounts.packing import pack_id
from farthing.accounts.rates import Charge
from farthing.accounts.records import Extended, Released, Reserved
from farthing.accounts.view import Line, Plan, View
from farthing.base.clock import Clock
from farthing.base.storage.board import BUSY, COUNTED, GENERATION, WANTED, Board
from farthing.base.storage.journal import Journal
from farthing.core.errors import StorageError


class Moves:
    """The steps that must come in this order, since a process may die between any two of them.

    Under the lock: the board is sound → busy → the record → the numbers → not busy. Whoever finds the
    board busy counts it anew from the tables and the journals, where the record is or is not. What has a
    name in `…_locked` needs the lock of the caller.
    docs/adr/0015-journal-and-board.md goes through the gaps one by one.
    """

    def __init__(
        self,
        board: Board,
        journal: Journal,
        clock: Clock,
        *,
        instance: str,
        passed: Callable[[], None],
    ) -> None:
        """passed: told when a budget has passed one of its marks."""
        self._board = board
        self._journal = journal
        self._clock = clock
        self._instance = instance
        self._passed = passed
        self._corrections: list[tuple[tuple[Charge, ...], int | None]] = []

    def reserve_locked(
        self, wish: Hold, view: View, plan: Plan, *, is_counted: bool = False
    ) -> Reservation | None:
        """Hold the money. None: the board is not what the view says.

        is_counted: the caller has just counted it; a settlement that was written since is one that this
        hold was too early for. Raises BudgetExceededError, RateLimitedError, StorageError.
        """
        words = self._board.words
        lines = plan.lines
        if not is_counted and not _is_fresh(words, view.generation):
            return None
        if not _stand(words, lines):
            return None
        if self._corrections:
            self._correct_locked()
        charges: tuple[Charge, ...] = ()
        if plan.limits:
            now_ns = int(self._clock.now() * 1e9)
            charges = rates.ask(words, plan.limits, tokens=wish.tokens, now_ns=now_ns)
        amount = wish.nanodollars
        for line in lines:
            at = line.at
            if words[at] + words[at + 1] + amount > line.limit:
                raise exceeded(line.budget, words[at], words[at + 1], amount)
        call = pack_id(wish.call_id)
        self._append_locked(words, _reserved(call, wish, plan, view.version))
        for line in lines:
            words[line.at + 1] += amount
        words[BUSY] = 0
        if charges:
            rates.take(words, charges)
        return self._reservation(call, wish, plan, view.generation, charges)

    def reserve_bare(self, wish: Hold, view: View, plan: Plan) -> Reservation | None:
        """Write a hold that neither budget nor rate counts, without the lock.

        If the budgets changed while it was written it may have missed one: it is taken back, and asked
        again the slow way. Raises StorageError.
        """
        words = self._board.words
        wanted = words[WANTED]
        if not _is_fresh(words, view.generation):
            return None
        call = pack_id(wish.call_id)
        self._journal.append(_reserved(call, wish, plan, view.version))
        if words[GENERATION] != view.generation or words[WANTED] != wanted:
            self.append_uncounted(records.encode(Released(call)))
            return None
        return self._reservation(call, wish, plan, view.generation, ())

    def extend_locked(self, reservation: Reservation, nanodollars: int) -> bool:
        """Hold more. False: the board is not what the call knows. Raises as `reserve_locked`."""
        words, lines = self._board.words, reservation.lines
        if not _is_fresh(words, reservation.generation) or not _stand(words, lines):
            return False
        for line in lines:
            at = line.at
            if words[at] + words[at + 1] + nanodollars > line.limit:
                raise exceeded(line.budget, words[at], words[at + 1], nanodollars)
        self._append_locked(words, records.encode(Extended(reservation.call, nanodollars)))
        for line in lines:
            words[line.at + 1] += nanodollars
        words[BUSY] = 0
        reservation.nanodollars += nanodollars
        return True

    def finish(
        self, reservation: Reservation, record: bytes, *, spent: int, freed: int, tokens: int | None
    ) -> None:
        """Write the end of a call, and count it where the board still is what the call knows.

        tokens: what it used of the rates; None: it was never sent. Raises StorageError.
        """
        charges = reservation.charges
        if reservation.ended is not None or not reservation.is_recorded:
            self.append_uncounted(record)
        elif not reservation.lines and not charges:
            self._journal.append(record)
            if not _is_fresh(self._board.words, reservation.generation):
                self._board.want_count()  # a budget made meanwhile may count it
        elif self._board.try_lock():
            try:
                self._finish_locked(reservation, record, spent, freed)
                if charges:
                    now_ns = int(self._clock.now() * 1e9)
                    rates.correct(self._board.words, charges, tokens=tokens, now_ns=now_ns)
            finally:
                self._board.unlock_quick()
        else:
            self.append_uncounted(record)
            if charges:
                self._corrections.append((charges, tokens))

    def append_uncounted(self, record: bytes) -> None:
        """Write what the board does not show: all is counted anew before the next hold.

        Marked before, for the case that this process dies behind the write, and behind it, since a count
        may have read the journal between. Raises StorageError.
        """
        self._board.want_count()
        self._journal.append(record)
        self._board.want_count()

    def _finish_locked(
        self, reservation: Reservation, record: bytes, spent: int, freed: int
    ) -> None:
        words, lines = self._board.words, reservation.lines
        if not _is_fresh(words, reservation.generation) or not _stand(words, lines):
            self.append_uncounted(record)
            return
        self._append_locked(words, record)
        for line in lines:
            at, marks = line.at, line.marks
            # First what is spent: between the two stores a budget has less, not more.
            words[at] = total = words[at] + spent
            words[at + 1] -= freed
            if marks and total >= marks[-1]:
                while marks and total >= marks[-1]:
                    marks.pop()
                self._passed()
        words[BUSY] = 0

    def _append_locked(self, words: memoryview[int], record: bytes) -> None:
        """Write a record, and leave the board busy for the numbers that follow."""
        words[BUSY] = 1
        try:
            self._journal.append(record)
        except StorageError:
            words[BUSY] = 0  # nothing is written, nothing was counted
            raise

    def _correct_locked(self) -> None:
        now_ns = int(self._clock.now() * 1e9)
        while (
            self._corrections
        ):  # one by one: the loop may add some while the writing thread is here
            charges, tokens = self._corrections.pop()
            rates.correct(self._board.words, charges, tokens=tokens, now_ns=now_ns)

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
            nanodollars=wish.nanodollars,
            instance=self._instance,
            generation=generation,
            lines=plan.lines,
            charges=charges,
        )


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


def _is_fresh(words: memoryview[int], generation: int) -> bool:
    """Whether the board's totals hold, and stand for what was known at this generation."""
    return words[GENERATION] == generation and words[WANTED] == words[COUNTED] and not words[BUSY]


def _stand(words: memoryview[int], lines: tuple[Line, ...]) -> bool:
    """Whether each line's slot is still its own."""
    for line in lines:  # noqa: SIM110 -- a generator costs three times as much, at each call
        if words[line.at - 2] != line.key:
            return False
    return True
