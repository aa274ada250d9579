"""The fold: what the journals say is brought into the tables, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from farthing.accounts import holds, ledger, records
from farthing.accounts.budgets import Budget, Window, scope_of, window_start
from farthing.accounts.ledger import Entry, Interned
from farthing.accounts.packing import pack_id
from farthing.accounts.records import Extended, Record, Released, Reserved, Settled
from farthing.base.storage import Query, Work, journal
from farthing.base.storage.journal import JournalFile
from farthing.core.calls import Caller
from farthing.core.errors import StorageVersionError

_log = logging.getLogger("farthing.accounts")

#: Holds that are looked up by one query.
_TOGETHER = 200


class Folder:
    """Folds every journal beside one database: of this process, of others, of the dead.

    Readers and writers of all processes meet in the database's write transaction: how far a journal is
    folded stands in the same transaction as what it said.
    """

    def __init__(self, database: Path, budgets: Callable[[], Work[Sequence[Budget]]]) -> None:
        self._database = database
        self._budgets = budgets
        self._names = Interned()
        self._fresh = Interned()
        #: Windows whose spending the last run changed.
        self.touched: set[Window] = set()

    def work(self) -> Work[int]:
        """Bring everything that is written by now into the tables. Returns the number of records."""
        self.touched = set()
        files = journal.journals(self._database)
        if not files:
            return 0
        self._fresh = yield from ledger.still_good(self._names)
        positions: dict[str, int] = dict((yield Query("SELECT name, position FROM journals")))
        count = 0
        for file in files:
            for found in journal.read(file.path, positions.get(file.name, 0)):
                batch = [self._decoded(payload) for payload in found.payloads]
                yield from _Batch(file.instance, self._fresh, self._budgets, self.touched).fold(
                    batch
                )
                count += len(batch)
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

    def _decoded(self, payload: bytes) -> Record:
        try:
            return records.decode(payload)
        except msgspec.MsgspecError as error:
            raise StorageVersionError(
                f"A journal of {self._database} has a record that this program does not know.",
                hint="Upgrade Farthing: a newer version wrote it.",
            ) from error


class _Held:
    """A hold while its records are folded. record: it has no row yet. state: that of its row."""

    __slots__ = ("is_changed", "nanodollars", "record", "state", "windows")

    def __init__(
        self,
        nanodollars: int,
        windows: Sequence[Window],
        *,
        record: Reserved | None = None,
        state: str = "open",
    ) -> None:
        self.nanodollars = nanodollars
        self.windows = windows
        self.record = record
        self.state = state
        self.is_changed = False


class _Batch:
    """Some records of one journal, folded in memory and then written by few statements.

    A hold that is made and settled within the batch leaves its ledger row only.
    """

    def __init__(
        self,
        instance: str,
        names: Interned,
        budgets: Callable[[], Work[Sequence[Budget]]],
        touched: set[Window],
    ) -> None:
        self._instance = instance
        self._names = names
        self._budgets = budgets
        self._touched = touched
        self._held: dict[bytes, _Held] = {}
        self._settled: set[bytes] = set()
        self._moves: dict[Window, list[int]] = {}
        self._ledger: list[tuple[Any, ...]] = []
        self._inserts: list[tuple[Any, ...]] = []
        self._unconfirmed: list[tuple[Any, ...]] = []
        self._deletes: list[tuple[Any, ...]] = []

    def fold(self, batch: Sequence[Record]) -> Work[None]:
        calls = [pack_id(record.call_id) for record in batch]
        yield from self._look_up(batch, calls)
        for record, call in zip(batch, calls, strict=True):
            if type(record) is Settled:
                held = self._held.get(call)
                if held is None or held.state == "unconfirmed":
                    yield from self._settle_bare(record, call)
                else:
                    self._settle(record, call, held)
                    yield from self._book(record.entries, call)
            elif type(record) is Reserved:
                yield from self._reserve(record, call)
            elif type(record) is Released:
                self._release(call)
            elif type(record) is Extended:
                self._extend(record, call)
        yield from self._write()

    def _look_up(self, batch: Sequence[Record], calls: Sequence[bytes]) -> Work[None]:
        """The rows of holds that earlier batches left."""
        new = {c for r, c in zip(batch, calls, strict=True) if type(r) is Reserved}
        old = sorted({c for c in calls if c not in new})
        for first in range(0, len(old), _TOGETHER):
            some = old[first : first + _TOGETHER]
            marks = ", ".join("?" * len(some))
            rows = yield Query(
                "SELECT call, nanodollars, windows, state FROM reservations "  # noqa: S608
                f"WHERE call IN ({marks})",
                tuple(some),
            )
            for call, nanodollars, windows, state in rows:
                self._held[bytes(call)] = _Held(
                    nanodollars, holds.windows_from(windows), state=state
                )

    def _reserve(self, record: Reserved, call: bytes) -> Work[None]:
        windows: Sequence[Window] = record.windows
        if record.budgets != (yield from self._version()):
            windows = yield from self._windows_now(record)
        self._held[call] = _Held(record.nanodollars, windows, record=record)
        self._move(windows, 0, record.nanodollars)

    def _extend(self, record: Extended, call: bytes) -> None:
        held = self._held.get(call)
        if held is not None:
            held.nanodollars += record.nanodollars
            held.is_changed = True
            self._move(held.windows, 0, record.nanodollars)

    def _release(self, call: bytes) -> None:
        held = self._held.pop(call, None)
        if held is not None:
            self._move(held.windows, 0, -held.nanodollars)
            if held.record is None:
                self._deletes.append((call,))

    def _settle(self, record: Settled, call: bytes, held: _Held) -> None:
        spent = sum(each.nanodollars for each in record.entries)
        kept = holds.kept_of(held.nanodollars, spent, record.unconfirmed)
        self._move(held.windows, spent, kept - held.nanodollars)
        self._touched.update(held.windows)
        del self._held[call]
        if held.record is None and kept:
            self._unconfirmed.append((kept, record.expires_at, call))
        elif held.record is None:
            self._deletes.append((call,))
        elif kept:
            held.nanodollars = kept
            self._insert(call, held, "unconfirmed", record.expires_at)

    def _settle_bare(self, record: Settled, call: bytes) -> Work[None]:
        """A settlement without a hold: a repetition, or a call that was served although nothing was held."""
        if call in self._settled or (yield from ledger.has_call(record.call_id)):
            return
        budgets = yield from self._budgets()
        windows = yield from holds.windows_of(record.entries[0], budgets)
        self._move(windows, sum(each.nanodollars for each in record.entries), 0)
        self._touched.update(windows)
        yield from self._book(record.entries, call)

    def _book(self, entries: Sequence[Entry], call: bytes) -> Work[None]:
        self._settled.add(call)
        for entry in entries:
            row = ledger.row_of(entry, call, self._names)
            if row is None:
                yield from ledger.learn(entry, self._names)
                row = ledger.row_of(entry, call, self._names)
                assert row is not None
            self._ledger.append(row)

    def _move(self, windows: Sequence[Window], spent: int, reserved: int) -> None:
        for window in windows:
            sums = self._moves.get(window)
            if sums is None:
                self._moves[window] = [reserved, spent]
            else:
                sums[0] += reserved
                sums[1] += spent

    def _insert(self, call: bytes, held: _Held, state: str, expires_at: int | None) -> None:
        record = held.record
        assert record is not None
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
                msgspec.msgpack.encode(held.windows),
            )
        )

    def _write(self) -> Work[None]:
        extended = []
        for call, held in self._held.items():
            if held.record is not None:
                self._insert(call, held, "open", None)
            elif held.is_changed:
                extended.append((held.nanodollars, call))
        moves = [
            (sums[0], sums[1], window.budget, window.start_at)
            for window, sums in self._moves.items()
            if sums[0] or sums[1]
        ]
        for sql, many in (
            (ledger.INSERT, self._ledger),
            (_INSERT, self._inserts),
            (_UNCONFIRMED, self._unconfirmed),
            ("UPDATE reservations SET nanodollars = ? WHERE call = ?", extended),
            ("DELETE FROM reservations WHERE call = ?", self._deletes),
            (_MOVE, moves),
        ):
            if many:
                yield Query(sql, many=many)

    def _version(self) -> Work[int]:
        """The budgets' version now; read once for each batch."""
        if self._now is None:
            rows = yield Query("SELECT value FROM counters WHERE name = 'budgets'")
            self._now = rows[0][0]
        return self._now

    _now: int | None = None

    def _windows_now(self, record: Reserved) -> Work[list[Window]]:
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
        return found


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
