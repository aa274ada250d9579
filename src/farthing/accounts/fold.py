"""The fold: what the journals say is brought into the tables, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from farthing.accounts import booking, holds, ledger, records
from farthing.accounts.budgets import Budget, Window, scope_of, window_start
from farthing.accounts.records import Extended, Record, Released, Reserved, Settled
from farthing.base.storage import Query, Work, journal
from farthing.base.storage.journal import JournalFile
from farthing.core.calls import Caller
from farthing.core.errors import StorageVersionError

_log = logging.getLogger("farthing.accounts")

#: Holds that are looked up by one query.
_TOGETHER = 200
#: Records between two pauses: a third of a millisecond's work.
_SLICE = 50


class Folder:
    """Folds every journal beside one database: of this process, of others, of the dead.

    Readers and writers of all processes meet in the database's write transaction: how far a journal is
    folded stands in the same transaction as what it said.
    """

    def __init__(self, database: Path, budgets: Callable[[], Work[Sequence[Budget]]]) -> None:
        self._database = database
        self._budgets = budgets
        self._names = booking.Interned()
        self._fresh = booking.Interned()
        #: Windows whose spending the last run changed.
        self.touched: set[Window] = set()

    def work(self, pause: Callable[[], None] | None = None) -> Work[int]:
        """Bring everything that is written by now into the tables. Returns the number of records.

        pause: called again and again on the way, so that other threads get their turn.
        """
        self.touched = set()
        files = journal.journals(self._database)
        if not files:
            return 0
        self._fresh = yield from booking.still_good(self._names)
        positions: dict[str, int] = dict((yield Query("SELECT name, position FROM journals")))
        count = 0
        for file in files:
            for found in journal.read(file.path, positions.get(file.name, 0)):
                batch = _Batch(file.instance, self._fresh, self._budgets, self.touched)
                for first in range(0, len(found.payloads), _SLICE):
                    batch.add(self._decoded(found.payloads[first : first + _SLICE]))
                    if pause is not None:
                        pause()
                yield from batch.fold(pause)
                count += len(found.payloads)
                yield Query(
                    "INSERT INTO journals (name, position) VALUES (?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET position = excluded.position",
                    (file.name, found.position),
                )
        return count

    def keep(self) -> None:
        """The transaction of the last run is committed: the names that it learnt are good."""
        self._names = self._fresh

    def remove(self, files: Sequence[JournalFile]) -> Work[None]:
        """Delete journals that nobody writes any more, as far as they are folded.

        In a transaction of its own, behind the one that folded them: a file may go only when what it said
        is committed. One with bytes that cannot be read, other than a last record cut short, is kept under
        another name.
        """
        positions: dict[str, int] = dict((yield Query("SELECT name, position FROM journals")))
        for file in files:
            position = positions.get(file.name, 0)
            if any(True for _ in journal.read(file.path, position)):
                continue  # written to since; the next fold takes it
            if journal.is_damaged(file.path, position):
                aside = file.path.with_suffix(".damaged")
                file.path.replace(aside)
                _log.error(
                    "The journal %s cannot be read from byte %d on; it is kept as %s.",
                    file.path.name,
                    position,
                    aside.name,
                )
            else:
                file.path.unlink(missing_ok=True)
            yield Query("DELETE FROM journals WHERE name = ?", (file.name,))

    def _decoded(self, payloads: Sequence[bytes]) -> list[Record]:
        decode = records.decode
        try:
            return [decode(payload) for payload in payloads]
        except msgspec.MsgspecError as error:
            raise StorageVersionError(
                f"A journal of {self._database} has a record that this program does not know.",
                hint="Upgrade Farthing: a newer version wrote it.",
            ) from error


class _Held(msgspec.Struct):
    """A hold while its records are folded. record: it has no row yet. state: that of its row.

    windows: as its row keeps them.
    """

    nanodollars: int
    windows: bytes
    record: Reserved | None
    state: str = "open"
    is_changed: bool = False


class _Batch:
    """Some records of one journal, folded in memory and then written by few statements.

    A hold that is made and settled within the batch leaves its ledger row only.
    """

    def __init__(
        self,
        instance: str,
        names: booking.Interned,
        budgets: Callable[[], Work[Sequence[Budget]]],
        touched: set[Window],
    ) -> None:
        self._instance = instance
        self._names = names
        self._budgets = budgets
        self._touched = touched
        self._records: list[Record] = []
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()
        self._held: dict[bytes, _Held] = {}
        self._settled: set[bytes] = set()
        #: By the windows of a hold: nanodollars spent, and held more than before.
        self._spent: dict[bytes, int] = {}
        self._reserved: dict[bytes, int] = {}
        self._ledger: list[tuple[Any, ...]] = []
        self._inserts: list[tuple[Any, ...]] = []
        self._unconfirmed: list[tuple[Any, ...]] = []
        self._deletes: list[tuple[Any, ...]] = []

    def add(self, more: list[Record]) -> None:
        """The next records."""
        self._records += more
        new, old = self._new, self._old
        for record in more:
            call = record.call
            if type(record) is Reserved:
                new.add(call)
            elif call not in new:
                old.add(call)

    def fold(self, pause: Callable[[], None] | None) -> Work[None]:
        """Write what the records say."""
        yield from self._look_up()
        version = (yield Query("SELECT value FROM counters WHERE name = 'budgets'"))[0][0]
        held = self._held
        for first in range(0, len(self._records), _SLICE):
            for record in self._records[first : first + _SLICE]:
                if type(record) is Reserved:
                    windows = record.windows
                    if record.budgets != version:
                        windows = yield from self._windows_now(record)
                    held[record.call] = _Held(record.nanodollars, windows, record)
                elif type(record) is Settled:
                    found = held.pop(record.call, None)
                    if found is None or found.state == "unconfirmed":
                        yield from self._settle_bare(record)
                    else:
                        self._settle(record, found)
                        if not self._book(record):
                            yield from self._learn_and_book(record)
                elif type(record) is Released:
                    self._release(record)
                elif type(record) is Extended:
                    self._extend(record)
            if pause is not None:
                pause()
        yield from self._write(pause)

    def _look_up(self) -> Work[None]:
        """The rows of holds that earlier batches left."""
        old = sorted(self._old)
        for first in range(0, len(old), _TOGETHER):
            some = old[first : first + _TOGETHER]
            marks = ", ".join("?" * len(some))
            rows = yield Query(
                "SELECT call, nanodollars, windows, state FROM reservations "  # noqa: S608
                f"WHERE call IN ({marks})",
                tuple(some),
            )
            for call, nanodollars, windows, state in rows:
                self._held[bytes(call)] = _Held(nanodollars, bytes(windows), None, state)

    def _extend(self, record: Extended) -> None:
        held = self._held.get(record.call)
        if held is not None:
            held.nanodollars += record.nanodollars
            held.is_changed = True
            if held.record is None:
                self._reserve(held.windows, record.nanodollars)

    def _release(self, record: Released) -> None:
        held = self._held.pop(record.call, None)
        if held is not None and held.record is None:
            self._reserve(held.windows, -held.nanodollars)
            self._deletes.append((record.call,))

    def _settle(self, record: Settled, held: _Held) -> None:
        spent = kept = 0
        for entry in record.entries:
            spent += entry.nanodollars
        if record.unconfirmed:
            kept = holds.kept_of(held.nanodollars, spent, record.unconfirmed)
        windows = held.windows
        self._spent[windows] = self._spent.get(windows, 0) + spent
        if held.record is None:
            self._reserve(windows, kept - held.nanodollars)
            if kept:
                self._unconfirmed.append((kept, record.expires_at, record.call))
            else:
                self._deletes.append((record.call,))
        elif kept:
            held.nanodollars = kept
            self._insert(record.call, held, "unconfirmed", record.expires_at)

    def _settle_bare(self, record: Settled) -> Work[None]:
        """A settlement without a hold: a repetition, or a call that was served although nothing was held."""
        if record.call in self._settled or (yield from ledger.has_packed(record.call)):
            return
        windows = yield from holds.windows_of(record.entries[0], (yield from self._budgets()))
        packed = holds.windows_to(windows)
        spent = sum(entry.nanodollars for entry in record.entries)
        self._spent[packed] = self._spent.get(packed, 0) + spent
        yield from self._learn_and_book(record)

    def _book(self, record: Settled) -> bool:
        """Add the rows; False, and none is added, when a name of theirs is not known."""
        call, rows = record.call, []
        for entry in record.entries:
            row = booking.row_of(entry, call, self._names)
            if row is None:
                return False
            rows.append(row)
        self._ledger += rows
        self._settled.add(call)
        return True

    def _learn_and_book(self, record: Settled) -> Work[None]:
        for entry in record.entries:
            yield from booking.learn(entry, self._names)
        self._book(record)

    def _reserve(self, windows: bytes, nanodollars: int) -> None:
        self._reserved[windows] = self._reserved.get(windows, 0) + nanodollars

    def _insert(self, call: bytes, held: _Held, state: str, expires_at: int | None) -> None:
        record = held.record
        assert record is not None
        self._reserve(held.windows, held.nanodollars)
        self._inserts.append(
            (
                call,
                self._instance,
                state,
                held.nanodollars,
                record.at,
                expires_at,
                record.key_id,
                record.model,
                record.team,
                msgspec.json.encode(record.tags).decode(),
                held.windows,
            )
        )

    def _write(self, pause: Callable[[], None] | None) -> Work[None]:
        extended = []
        for call, held in self._held.items():
            if held.record is not None:
                self._insert(call, held, "open", None)
            elif held.is_changed:
                extended.append((held.nanodollars, call))
        yield from booking.append_rows(self._ledger, pause)
        for sql, many in (
            (_INSERT, self._inserts),
            (_UNCONFIRMED, self._unconfirmed),
            ("UPDATE reservations SET nanodollars = ? WHERE call = ?", extended),
            ("DELETE FROM reservations WHERE call = ?", self._deletes),
            (_MOVE, self._moves()),
        ):
            if many:
                yield Query(sql, many=many)

    def _moves(self) -> list[tuple[Any, ...]]:
        """What each window has more of now."""
        sums: dict[Window, list[int]] = {}
        for place, amounts in enumerate((self._reserved, self._spent)):
            for packed, nanodollars in amounts.items():
                windows = holds.windows_from(packed)
                if place:
                    self._touched.update(windows)
                for window in windows:
                    sums.setdefault(window, [0, 0])[place] += nanodollars
        return [(s[0], s[1], w.budget, w.start_at) for w, s in sums.items() if s[0] or s[1]]

    def _windows_now(self, record: Reserved) -> Work[bytes]:
        """The windows of a hold that was written while the budgets changed: those that have begun."""
        names = yield from holds.key_names()
        caller = Caller(
            key_id=record.key_id, name=names.get(record.key_id, record.key_id), team=record.team
        )
        found = []
        for budget in (yield from self._budgets()):
            start = window_start(budget.window, record.at / 1000)
            begun = yield Query(
                "SELECT scope FROM budget_windows WHERE budget = ? AND start_at = ?",
                (budget.name, start),
            )
            is_begun = bool(begun) and begun[0][0] == scope_of(budget)
            if is_begun and budget.matches(caller, record.model, record.tags):
                found.append(Window(budget.name, start))
        return holds.windows_to(found)


_INSERT = (
    "INSERT INTO reservations (call, instance, state, nanodollars, at, expires_at, key_id, model, team, "
    "tags, windows) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UNCONFIRMED = (
    "UPDATE reservations SET state = 'unconfirmed', nanodollars = ?, expires_at = ? WHERE call = ?"
)
_MOVE = (
    "UPDATE budget_windows SET reserved = reserved + ?, spent = spent + ? "
    "WHERE budget = ? AND start_at = ?"
)
