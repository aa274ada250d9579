"""The door of accounts: who calls, may it cost that much, and what did it cost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from farthing.accounts import ledger
from farthing.accounts.alerts import Alerts
from farthing.accounts.budgets import (
    Alert,
    Budget,
    BudgetState,
    Window,
    alerts,
    budget_of,
    hold,
    move,
    rule_of,
    window_start,
)
from farthing.accounts.keys import Key, Keys, caller_of, check_scope
from farthing.accounts.ledger import Entry, SpendQuery, SpendRow
from farthing.accounts.schema import MIGRATIONS
from farthing.base.clock import Clock
from farthing.base.config.amounts import dollars
from farthing.base.config.settings import Settings
from farthing.base.storage import Database, Query, Row, Work
from farthing.core.calls import Caller, CallRecord
from farthing.core.errors import AuthenticationError, NotFoundError, StorageError, did_you_mean

__all__ = [
    "Accounts",
    "Hold",
    "InvoiceRow",
    "Key",
    "Reconciliation",
    "Reservation",
    "SpendQuery",
    "SpendRow",
    "Unsettled",
]

_log = logging.getLogger("farthing.accounts")

#: Settlements that wait for a database that cannot be written; beyond it the oldest are given up (their
#: reservations still cover them).
MAX_PENDING = 10_000
#: Pauses between tries to write a settlement that failed, seconds.
_RETRY_S = (0.1, 0.5, 1.0, 2.0, 5.0)
#: How often the unsettled are looked through for those whose time is over, seconds.
_SWEEP_S = 30.0

State = Literal["open", "orphaned", "unconfirmed"]


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to hold money. nanodollars: the most that the call can cost."""

    call_id: str
    caller: Caller
    model: str
    nanodollars: int
    at_s: float
    tags: tuple[str, ...] = ()


class Reservation(msgspec.Struct, kw_only=True):
    """Money held for a call. is_recorded False: the database could not be written and the operator chose
    to serve all the same."""

    hold: Hold
    windows: tuple[Window, ...] = ()
    is_recorded: bool = True


class Unsettled(msgspec.Struct, frozen=True, kw_only=True):
    """Money that is held. open: the call runs. orphaned: its process died. unconfirmed: the provider gave
    no usage. expires_at: unix seconds when it frees itself."""

    call_id: str
    state: State
    nanodollars: int
    at_s: float
    key_id: str
    model: str
    expires_at: int | None = None


class InvoiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a provider's usage export. request_id: the provider's; call_id: ours, where it says it."""

    nanodollars: int
    request_id: str | None = None
    call_id: str | None = None


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What a reconciliation did. corrected: rows appended. settled: open holds that the invoice decided.
    unknown: lines of the invoice that belong to no call here."""

    matched: int
    corrected: int
    settled: int
    difference_nanodollars: int
    unknown: tuple[str, ...]


class Meter(Protocol):
    """What accounts tells the metrics."""

    def count_ledger_failure(self, operation: str) -> None: ...

    def count_unrecorded_call(self) -> None: ...

    def count_budget_alert(self, budget: str, threshold: int) -> None: ...


class Accounts:
    """Keys, budgets and the ledger of one installation.

    The database is the truth for every budget: holding money is one conditional update, so several
    processes cannot overspend together either.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        clock: Clock,
        environ: Mapping[str, str],
        metrics: Meter | None = None,
    ) -> None:
        self.keys = Keys(database, clock)
        self._database = database
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._alerts = Alerts(settings.alerts, environ, clock)
        self._budgets: tuple[Budget, ...] = ()
        self._budgets_version = -1
        self._looked_at = 0.0
        self._instance = clock.new_id("run")
        self._pending: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    # --- life ---

    async def open(self, *, recover: bool = True) -> None:
        """Bring the tables up to date and read keys and budgets.

        recover: this process owns the database, so open holds of other processes belong to dead ones.
        """
        await self._database.migrate(MIGRATIONS)
        await self.keys.refresh(now=True)
        await self._refresh_budgets(now=True)
        if recover and self._database.kind == "sqlite":
            orphaned = await self.recover()
            if orphaned:
                _log.warning(
                    "%d calls were under way when the last process ended. They count as spent at "
                    "their upper bound; `farthing spend --unsettled` lists them.",
                    orphaned,
                )
        self._sweeper = asyncio.create_task(self._sweep_for_ever())

    async def configure(self, settings: Settings) -> None:
        """Take new settings: budgets, alerts, ledger."""
        self._settings = settings
        self._alerts.configure(settings.alerts)
        await self._refresh_budgets(now=True)

    async def aclose(self) -> None:
        """Finish what waits to be written."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        if self._pending:
            await asyncio.wait(self._pending, timeout=10)
        for task in self._pending:
            task.cancel()
        await self._alerts.aclose()

    async def check(self) -> None:
        """Raises StorageError when the database cannot be written now."""

        def work() -> Work[None]:
            yield Query("UPDATE counters SET value = value WHERE name = 'keys'")

        await self._database.write(work)

    # --- callers ---

    async def has_keys(self) -> bool:
        """Whether any living key exists."""
        await self.keys.refresh()
        return not self.keys.is_empty

    async def identify(self, secret: str | None, *, face: str) -> Caller:
        """Who calls. Without keys in this installation everyone on loopback is the administrator.

        Raises AuthenticationError.
        """
        await self.keys.refresh()
        required = self._settings.server.require_keys
        if required is None:
            required = not self.keys.is_untouched
        if not required:
            # A client library always sends some key; without keys here its value means nothing.
            return Caller(
                key_id="local", name="local", role="admin", is_local=True, is_cache_allowed=True
            )
        if not secret:
            raise AuthenticationError(
                "This gateway needs an API key and none was sent.",
                hint="Send the key that `farthing keys create NAME` printed, where your client library "
                "expects its API key.",
            )
        return caller_of(self.keys.identify(secret))

    def check_scope(self, caller: Caller, *, model: str, face: str | None) -> None:
        """Raises PermissionDeniedError that names what the key may do."""
        check_scope(caller, model=model, face=face)

    # --- money of a call ---

    async def reserve(self, wish: Hold) -> Reservation:
        """Hold the money in every matching budget; durable when this returns.

        Raises BudgetExceededError; StorageError unless `ledger.on_failure` is `serve_unrecorded`.
        """
        await self._refresh_budgets()
        matching = [b for b in self._budgets if b.matches(wish.caller, wish.model, wish.tags)]
        try:
            windows = await self._database.write(lambda: self._reserve(wish, matching))
        except StorageError as error:
            self._count_failure("reserve")
            if self._settings.ledger.on_failure == "refuse":
                error.hint = error.hint or "Calls are refused until the ledger can be written."
                raise
            if self._metrics is not None:
                self._metrics.count_unrecorded_call()
            return Reservation(hold=wish, is_recorded=False)
        return Reservation(hold=wish, windows=tuple(windows))

    async def extend(self, reservation: Reservation, nanodollars: int) -> None:
        """Hold more for another try. Raises BudgetExceededError, StorageError."""
        if not reservation.is_recorded:
            return
        wish = reservation.hold
        matching = [
            b for b in self._budgets if any(w.budget == b.name for w in reservation.windows)
        ]

        def work() -> Work[None]:
            yield from hold(matching, nanodollars, wish.at_s, self._spent)
            yield Query(
                "UPDATE reservations SET nanodollars = nanodollars + ? WHERE call = ?",
                (nanodollars, ledger.pack_id(wish.call_id)),
            )

        await self._database.write(work)

    async def settle(
        self, reservation: Reservation, record: CallRecord, *, unconfirmed_nanodollars: int = 0
    ) -> None:
        """Write the charges and free the hold in one transaction; durable when this returns.

        Settling twice does nothing the second time. unconfirmed_nanodollars: that much stays held until the
        provider's figure is known, or `ledger.unconfirmed_hold_s` has passed. When the database cannot be
        written it is tried again in the background; the hold, which is durable, covers the call until then.
        """
        entries = ledger.entries_of(record)
        try:
            await self._settle(reservation, entries, unconfirmed_nanodollars)
        except StorageError as error:
            self._count_failure("settle")
            _log.error("The settlement of call %s waits: %s", record.call_id, error)
            if len(self._pending) < MAX_PENDING:
                task = asyncio.create_task(
                    self._settle_later(reservation, entries, unconfirmed_nanodollars)
                )
                self._pending.add(task)
                task.add_done_callback(self._pending.discard)

    async def release(self, reservation: Reservation) -> None:
        """Free a hold of which nothing was used."""
        if not reservation.is_recorded:
            return
        try:
            await self._database.write(lambda: self._free(reservation.hold.call_id))
        except StorageError as error:
            self._count_failure("release")
            _log.error("The hold of call %s stays for now: %s", reservation.hold.call_id, error)

    # --- what is open ---

    async def unsettled(self) -> list[Unsettled]:
        """Every hold, the oldest first."""
        rows = await self._database.read(
            "SELECT call, state, nanodollars, at, key_id, model, expires_at FROM reservations ORDER BY at"
        )
        return [
            Unsettled(
                call_id=ledger.unpack_id(bytes(row[0])),
                state=row[1],
                nanodollars=row[2],
                at_s=row[3] / 1000,
                key_id=row[4],
                model=row[5],
                expires_at=row[6],
            )
            for row in rows
        ]

    async def confirm(self, call_id: str, nanodollars: int) -> None:
        """Decide a hold: that much was charged. Raises NotFoundError."""
        await self._database.write(lambda: self._confirm(call_id, nanodollars))

    async def release_unsettled(self, call_id: str) -> None:
        """Decide a hold: nothing more was charged. Raises NotFoundError."""
        if not await self._database.write(lambda: self._free(call_id)):
            raise _no_hold(call_id)

    async def recover(self) -> int:
        """Mark the open holds of other processes as orphaned. Returns how many."""
        instance = self._instance

        def work() -> Work[int]:
            rows = yield Query(
                "UPDATE reservations SET state = 'orphaned' WHERE state = 'open' AND instance <> ? "
                "RETURNING call",
                (instance,),
            )
            return len(rows)

        return await self._database.write(work)

    async def expire(self) -> int:
        """Free the holds whose time is over. Returns how many."""
        now = int(self._clock.now())

        def work() -> Work[int]:
            rows = yield Query(
                "SELECT call FROM reservations WHERE expires_at IS NOT NULL AND expires_at <= ?",
                (now,),
            )
            for (call,) in rows:
                yield from self._free(ledger.unpack_id(bytes(call)))
            return len(rows)

        return await self._database.write(work)

    async def reconcile(self, rows: Iterable[InvoiceRow]) -> Reconciliation:
        """Make the ledger equal to a provider's invoice by appending corrections.

        Lines are joined by the provider's request id, else by our call id. A line of a call whose hold is
        still open settles that hold.
        """
        lines = list(rows)
        return await self._database.write(lambda: self._reconcile(lines))

    # --- reports ---

    async def spend(self, query: SpendQuery) -> list[SpendRow]:
        """Sums of the ledger."""
        question = ledger.sums(query)
        rows = await self._database.read(question.sql, question.params)
        found = ledger.spend_rows(query.by, rows)
        if query.by != "key":
            return found
        names = await self._key_names()
        return [msgspec.structs.replace(row, name=names.get(row.name, row.name)) for row in found]

    async def entries(
        self, *, since: float | None = None, until: float | None = None
    ) -> list[Entry]:
        """The ledger's rows of a span, for exports."""
        question = ledger.select(since, until)
        return [
            ledger.entry(row) for row in await self._database.read(question.sql, question.params)
        ]

    async def budgets(self) -> list[BudgetState]:
        """Every budget in its present window."""
        await self._refresh_budgets(now=True)
        states = []
        for budget in self._budgets:
            start = window_start(budget.window, self._clock.now())
            rows = await self._database.read(
                "SELECT spent, reserved FROM budget_windows WHERE budget = ? AND start_at = ?",
                (budget.name, start),
            )
            spent, reserved = rows[0] if rows else (0, 0)
            states.append(BudgetState(budget=budget, spent=spent, reserved=reserved))
        return states

    async def set_budget(self, budget: Budget) -> None:
        """Make or change a budget of the database. Budgets of the settings file are changed there."""

        def work() -> Work[None]:
            before = yield Query("SELECT rule FROM budgets WHERE name = ?", (budget.name,))
            if before and before[0][0] != rule_of(budget):
                # Another set of calls counts now: the window is summed up anew when it is used.
                yield Query("DELETE FROM budget_windows WHERE budget = ?", (budget.name,))
            yield Query(
                "INSERT INTO budgets (name, nanodollars, rule) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET nanodollars = excluded.nanodollars, rule = excluded.rule",
                (budget.name, budget.nanodollars, rule_of(budget)),
            )
            yield Query("UPDATE budget_windows SET alerted = 0 WHERE budget = ?", (budget.name,))
            yield _BUDGETS_CHANGED

        await self._database.write(work)
        await self._refresh_budgets(now=True)

    async def remove_budget(self, name: str) -> None:
        """Remove a budget of the database. Raises NotFoundError."""

        def work() -> Work[list[Row]]:
            rows = yield Query("DELETE FROM budgets WHERE name = ? RETURNING name", (name,))
            yield _BUDGETS_CHANGED
            return rows

        if not await self._database.write(work):
            names = [budget.name for budget in self._budgets]
            raise NotFoundError(
                f"There is no budget '{name}' in the database.",
                hint=did_you_mean(name, names) or "`farthing budget list` shows them.",
            )
        await self._refresh_budgets(now=True)

    # --- private: units of work ---

    def _reserve(self, wish: Hold, matching: Sequence[Budget]) -> Work[list[Window]]:
        windows = yield from hold(matching, wish.nanodollars, wish.at_s, self._spent)
        yield Query(
            "INSERT INTO reservations (call, instance, state, nanodollars, at, key_id, model, team, tags, "
            "windows) VALUES (?, ?, 'open', ?, ?, ?, ?, ?, ?, ?)",
            (
                ledger.pack_id(wish.call_id),
                self._instance,
                wish.nanodollars,
                int(wish.at_s * 1000),
                wish.caller.key_id,
                wish.model,
                wish.caller.team,
                msgspec.json.encode(wish.tags).decode(),
                msgspec.msgpack.encode(windows),
            ),
        )
        return windows

    async def _settle(
        self, reservation: Reservation, entries: Sequence[Entry], unconfirmed: int
    ) -> None:
        passed = await self._database.write(
            lambda: self._settlement(reservation.hold.call_id, entries, unconfirmed)
        )
        self._raise_alerts(passed)

    def _settlement(
        self, call_id: str, entries: Sequence[Entry], unconfirmed: int
    ) -> Work[list[Alert]]:
        if (yield from ledger.has_call(call_id)):
            return []
        rows = yield Query(
            "SELECT nanodollars, windows FROM reservations WHERE call = ?",
            (ledger.pack_id(call_id),),
        )
        yield from ledger.append(entries)
        if not rows:
            return []
        held, windows = rows[0][0], _windows(rows[0])
        spent = sum(each.nanodollars for each in entries)
        kept = min(unconfirmed, max(0, held - spent))
        yield from move(windows, reserved=kept - held, spent=spent)
        if kept:
            yield Query(
                "UPDATE reservations SET state = 'unconfirmed', nanodollars = ?, expires_at = ? "
                "WHERE call = ?",
                (
                    kept,
                    int(self._clock.now() + self._settings.ledger.unconfirmed_hold_s),
                    ledger.pack_id(call_id),
                ),
            )
        else:
            yield Query("DELETE FROM reservations WHERE call = ?", (ledger.pack_id(call_id),))
        return (yield from alerts(self._budgets, windows))

    def _free(self, call_id: str) -> Work[bool]:
        rows = yield Query(
            "DELETE FROM reservations WHERE call = ? RETURNING nanodollars, windows",
            (ledger.pack_id(call_id),),
        )
        if rows:
            yield from move(_windows(rows[0]), reserved=-rows[0][0], spent=0)
        return bool(rows)

    def _confirm(self, call_id: str, nanodollars: int) -> Work[None]:
        rows = yield Query(
            "DELETE FROM reservations WHERE call = ? "
            "RETURNING nanodollars, windows, at, key_id, model, team, tags",
            (ledger.pack_id(call_id),),
        )
        if not rows:
            raise _no_hold(call_id)
        row = rows[0]
        yield from move(_windows(row), reserved=-row[0], spent=nanodollars)
        known = yield ledger.select_call(call_id)
        template = ledger.entry(known[0]) if known else None
        yield from ledger.append(
            [
                Entry(
                    call_id=call_id,
                    at=row[2],
                    key_id=row[3],
                    model=row[4],
                    team=row[5],
                    tags=tuple(msgspec.json.decode(row[6])),
                    deployment=template.deployment if template else None,
                    provider=template.provider if template else None,
                    served_model=template.served_model if template else None,
                    nanodollars=nanodollars,
                    flags=ledger.CORRECTION
                    | (template.flags & ledger.SIMULATED if template else 0),
                )
            ]
        )

    def _reconcile(self, lines: Sequence[InvoiceRow]) -> Work[Reconciliation]:
        by_request: dict[str, Entry] = {}
        by_call: dict[str, Entry] = {}
        booked: dict[str, int] = {}
        for row in (yield ledger.select()):
            each = ledger.entry(row)
            if each.request_id:
                by_request.setdefault(each.request_id, each)
                booked[each.request_id] = booked.get(each.request_id, 0) + each.nanodollars
            by_call.setdefault(each.call_id, each)
        holds = {
            ledger.unpack_id(bytes(row[0])): row
            for row in (yield Query("SELECT call, nanodollars, windows FROM reservations"))
        }
        corrected = settled = difference = matched = 0
        unknown = []
        for line in lines:
            if line.request_id in by_request:
                matched += 1
                known = by_request[line.request_id]
                delta = line.nanodollars - booked[line.request_id]
                if delta:
                    corrected += 1
                    difference += delta
                    yield from self._correct(known, delta)
                if known.call_id in holds:
                    yield from self._free(known.call_id)
                    settled += 1
                continue
            call_id = line.call_id or ""
            if call_id in holds:
                yield from self._confirm_line(call_id, line)
                settled += 1
                difference += line.nanodollars
            elif call_id in by_call:
                corrected += 1
                difference += line.nanodollars
                yield from self._correct(
                    msgspec.structs.replace(by_call[call_id], request_id=line.request_id),
                    line.nanodollars,
                )
            else:
                unknown.append(line.request_id or call_id)
        return Reconciliation(
            matched=matched,
            corrected=corrected,
            settled=settled,
            difference_nanodollars=difference,
            unknown=tuple(unknown),
        )

    def _confirm_line(self, call_id: str, line: InvoiceRow) -> Work[None]:
        yield from self._confirm(call_id, line.nanodollars)
        yield Query(
            "UPDATE ledger SET request = ? WHERE call = ? AND request IS NULL",
            (line.request_id, ledger.pack_id(call_id)),
        )

    def _correct(self, each: Entry, delta: int) -> Work[None]:
        """Append the difference, and let the budgets' present windows know it."""
        yield from ledger.append(
            [
                msgspec.structs.replace(
                    each,
                    nanodollars=delta,
                    usage=type(each.usage)(),
                    flags=(each.flags & ledger.SIMULATED) | ledger.CORRECTION,
                )
            ]
        )
        names: dict[str, str] = dict((yield Query("SELECT id, name FROM keys")))
        caller = Caller(
            key_id=each.key_id, name=names.get(each.key_id, each.key_id), team=each.team
        )
        windows = [
            Window(b.name, window_start(b.window, each.at / 1000))
            for b in self._budgets
            if b.matches(caller, each.model, each.tags)
        ]
        yield from move(windows, reserved=0, spent=delta)

    def _spent(self, budget: Budget, since: int) -> Work[tuple[int, int]]:
        names: dict[str, str] = dict((yield Query("SELECT id, name FROM keys")))
        spent = yield from ledger.spent(budget, since, names)
        return spent, (yield from _join(budget, Window(budget.name, since), names))

    # --- private ---

    def _count_failure(self, operation: str) -> None:
        if self._metrics is not None:
            self._metrics.count_ledger_failure(operation)

    async def _settle_later(
        self, reservation: Reservation, entries: Sequence[Entry], unconfirmed: int
    ) -> None:
        tries = 0
        while True:
            await self._clock.sleep(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
            tries += 1
            try:
                await self._settle(reservation, entries, unconfirmed)
            except StorageError:
                self._count_failure("settle")
            else:
                _log.info("The settlement of call %s is written.", reservation.hold.call_id)
                return

    async def _sweep_for_ever(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_S)
            try:
                await self.expire()
            except StorageError as error:
                _log.warning("Holds whose time is over could not be freed yet: %s", error)

    async def _refresh_budgets(self, *, now: bool = False) -> None:
        moment = self._clock.monotonic()
        if not now and moment - self._looked_at < 1.0:
            return
        self._looked_at = moment
        try:
            rows = await self._database.read("SELECT name, nanodollars, rule FROM budgets")
        except StorageError:
            return  # the last known budgets hold on; `reserve` meets the same database and decides
        stored = {row[0]: budget_of(row) for row in rows}
        configured = {
            name: Budget(
                name=name,
                nanodollars=dollars(table.dollars),
                window=table.window,
                key=table.key,
                team=table.team,
                model=table.model,
                tag=table.tag,
                alert_at=table.alert_at,
                is_configured=True,
            )
            for name, table in self._settings.budgets.items()
        }
        self._budgets = tuple({**stored, **configured}.values())

    async def _key_names(self) -> dict[str, str]:
        return {key.id: key.name for key in await self.keys.list()}

    def _raise_alerts(self, passed: Sequence[Alert]) -> None:
        for alert in passed:
            if self._metrics is not None:
                self._metrics.count_budget_alert(alert.budget, alert.percent)
            self._alerts.send(alert)


_BUDGETS_CHANGED = Query("UPDATE counters SET value = value + 1 WHERE name = 'budgets'")


def _join(budget: Budget, window: Window, names: Mapping[str, str]) -> Work[int]:
    """Let the holds of calls under way count in a window that begins now. Returns their sum."""
    held = 0
    rows = yield Query(
        "SELECT nanodollars, windows, call, at, key_id, model, team, tags FROM reservations"
    )
    for row in rows:
        windows = [each for each in _windows(row) if each != window]
        caller = Caller(key_id=row[4], name=names.get(row[4], row[4]), team=row[6])
        is_inside = window_start(budget.window, row[3] / 1000) == window.start_at
        if is_inside and budget.matches(caller, row[5], msgspec.json.decode(row[7])):
            windows.append(window)
            held += row[0]
        yield Query(
            "UPDATE reservations SET windows = ? WHERE call = ?",
            (msgspec.msgpack.encode(windows), row[2]),
        )
    return held


def _windows(row: Row) -> list[Window]:
    return msgspec.msgpack.decode(bytes(row[1]), type=list[Window])


def _no_hold(call_id: str) -> NotFoundError:
    return NotFoundError(
        f"No money is held for call '{call_id}'.",
        hint="`farthing spend --unsettled` lists the holds.",
    )
