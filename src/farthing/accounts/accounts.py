"""The door of accounts: who calls, may it cost that much, and what did it cost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Protocol

import msgspec

from farthing.accounts import holds, ledger, provisioned
from farthing.accounts.alerts import Alerts
from farthing.accounts.budget_store import BudgetStore
from farthing.accounts.budgets import Alert, Budget, BudgetState
from farthing.accounts.holds import Hold, Reservation, Unsettled
from farthing.accounts.keys import Key, Keys, caller_of, check_scope
from farthing.accounts.later import Later
from farthing.accounts.ledger import Entry, SpendQuery, SpendRow
from farthing.accounts.rates import Rates
from farthing.accounts.reconcile import InvoiceRow, Reconciliation, reconcile
from farthing.accounts.schema import MIGRATIONS
from farthing.accounts.till import Settlement
from farthing.accounts.tills import make_till
from farthing.base.clock import Clock
from farthing.base.config.settings import Settings
from farthing.base.storage import Database, Query, Work
from farthing.core.calls import Caller, CallRecord
from farthing.core.errors import AuthenticationError, BadRequestError, StorageError
from farthing.core.models import Deployment
from farthing.core.money import NANO_PER_DOLLAR, format_dollars

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

#: The most that one call may hold: beyond any real call, and small enough that sums of holds stay exact.
MAX_HOLD = 1_000_000 * NANO_PER_DOLLAR
#: How often the unsettled are looked through for those whose time is over, seconds.
_SWEEP_S = 30.0


class Meter(Protocol):
    """What accounts tells the metrics."""

    def count_ledger_failure(self, operation: str) -> None: ...

    def count_unrecorded_call(self) -> None: ...

    def count_budget_alert(self, budget: str, threshold: int) -> None: ...


class Accounts:
    """Keys, budgets and the ledger of one installation.

    Several processes cannot overspend together either. On Postgres each hold is a conditional update; on
    SQLite a record in a journal and a number on a board that all processes share.
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
        self._database = database
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._alerts = Alerts(settings.alerts, environ, clock)
        self._budgets = BudgetStore(database, settings, clock)
        self._rates = Rates(settings.rates)
        #: Whether a rate counts tokens, so that holds must say how many they may take.
        self.counts_tokens = self._rates.counts_tokens
        self._provisioned: tuple[Deployment, ...] | None = None
        self._instance = clock.new_id("run")
        self._till = make_till(
            database,
            settings,
            self._budgets,
            self._rates,
            clock,
            instance=self._instance,
            tell=self._tell,
        )
        self._budgets.change = self._till.change
        self.keys = Keys(database, clock, self._till)
        self._later = Later(clock, self._count_failure)
        self._sweeper: asyncio.Task[None] | None = None

    # --- life ---

    async def open(self, *, recover: bool = True) -> None:
        """Bring the tables up to date and read keys and budgets.

        recover: this process makes calls: others can tell whether it lives, and the holds of those that
        died are marked. Administration beside a gateway leaves both.
        """
        await self._database.migrate(MIGRATIONS)
        await self._till.open(recover=recover)
        await self.keys.refresh(now=True)
        if not recover:
            await self._budgets.refresh(now=True)
            return
        await self._budgets.configure(self._settings)
        await self.recover()
        self._sweeper = asyncio.create_task(self._sweep_for_ever())

    async def configure(self, settings: Settings) -> None:
        """Take new settings: budgets, alerts, ledger."""
        self._settings = settings
        self._alerts.configure(settings.alerts)
        self._rates.configure(settings.rates)
        self.counts_tokens = self._rates.counts_tokens
        self._till.configure()
        await self._budgets.configure(settings)

    async def aclose(self) -> None:
        """Finish what waits to be written."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await self._later.aclose()
        await self._till.close()
        await self._alerts.aclose()

    async def check(self) -> None:
        """Raises StorageError when the database cannot be written now."""

        # It counts, because SQLite leaves the disk alone when an update changes nothing.
        def work() -> Work[None]:
            yield Query(
                "INSERT INTO counters (name, value) VALUES ('checks', 1) "
                "ON CONFLICT (name) DO UPDATE SET value = counters.value + 1"
            )

        await self._database.write(work)

    # --- callers ---

    async def has_keys(self) -> bool:
        """Whether any living key exists."""
        await self.keys.refresh()
        return not self.keys.is_empty

    def identify_now(self, secret: str | None, *, face: str) -> Caller | None:
        """Who calls, without a question to the database; None: ask `identify`."""
        keys = self.keys
        if not keys.is_current:
            return None
        if not self._needs_key():
            # A client library always sends some key; without keys here its value means nothing.
            return _LOCAL
        return keys.caller_now(secret) if secret else None

    async def identify(self, secret: str | None, *, face: str) -> Caller:
        """Who calls. Without keys in this installation everyone on loopback is the administrator.

        Raises AuthenticationError.
        """
        caller = self.identify_now(secret, face=face)
        if caller is not None:
            return caller
        await self.keys.refresh()
        if not self._needs_key():
            return _LOCAL
        if not secret:
            raise AuthenticationError(
                "This gateway needs an API key and none was sent.",
                hint="Send the key that `farthing keys create NAME` printed, where your client library "
                "expects its API key.",
            )
        await self.keys.refresh_for(secret)
        return caller_of(self.keys.identify(secret))

    def check_scope(self, caller: Caller, *, model: str, face: str | None) -> None:
        """Raises PermissionDeniedError that names what the key may do."""
        check_scope(caller, model=model, face=face)

    # --- money of a call ---

    def reserve_now(self, wish: Hold) -> Reservation | None:
        """Hold the money if that needs no waiting; durable when it returns. None: await `reserve`.

        Raises BudgetExceededError, RateLimitedError, BadRequestError beyond `MAX_HOLD`.
        """
        if wish.nanodollars > MAX_HOLD:
            raise _too_large(wish)
        try:
            return self._till.reserve_now(wish)
        except StorageError:
            return None  # `reserve` knows what the operator wants then

    async def reserve(self, wish: Hold) -> Reservation:
        """Hold the money in every matching budget; durable when this returns.

        Raises BudgetExceededError; RateLimitedError; BadRequestError beyond `MAX_HOLD`; StorageError
        unless `ledger.on_failure` is `serve_unrecorded`.
        """
        if wish.nanodollars > MAX_HOLD:
            raise _too_large(wish)
        try:
            return await self._till.reserve(wish)
        except StorageError as error:
            self._count_failure("reserve")
            if self._settings.ledger.on_failure == "refuse":
                error.hint = error.hint or "Calls are refused until the ledger can be written."
                raise
            if self._metrics is not None:
                self._metrics.count_unrecorded_call()
            return Reservation(hold=wish, is_recorded=False)

    def extend_now(self, reservation: Reservation, nanodollars: int) -> bool:
        """Hold more for another try, if that needs no waiting. False: await `extend`.

        Raises BudgetExceededError, StorageError.
        """
        return not reservation.is_recorded or self._till.extend_now(reservation, nanodollars)

    async def extend(self, reservation: Reservation, nanodollars: int) -> None:
        """Hold more for another try. Raises BudgetExceededError, StorageError."""
        if reservation.is_recorded:
            await self._till.extend(reservation, nanodollars)

    def settle_now(
        self, reservation: Reservation, record: CallRecord, *, unconfirmed_nanodollars: int = 0
    ) -> bool:
        """Write the charges if that needs no waiting; durable when True. False: await `settle`."""
        settlement = self._settlement(reservation, record, unconfirmed_nanodollars)
        return self._till.settle_now(reservation, settlement)

    async def settle(
        self, reservation: Reservation, record: CallRecord, *, unconfirmed_nanodollars: int = 0
    ) -> None:
        """Write the charges and free the hold, both or neither; durable when this returns.

        Settling twice does nothing the second time, so a write whose fate is unknown is simply tried
        again. unconfirmed_nanodollars: that much stays held until the provider's figure is known, or
        `ledger.unconfirmed_hold_s` has passed. When it cannot be written it is tried again in the
        background; the hold, which is durable, covers the call until then. A charge beyond its hold is
        booked in full.
        """
        settlement = self._settlement(reservation, record, unconfirmed_nanodollars)
        try:
            await self._till.settle(reservation, settlement)
        except StorageError as error:
            self._count_failure("settle")
            _log.error("The settlement of call %s waits: %s", record.call_id, error)
            self._later.add(
                "settle", record.call_id, lambda: self._till.settle(reservation, settlement)
            )

    def release_now(self, reservation: Reservation) -> bool:
        """Free a hold of which nothing was used, if that needs no waiting. False: await `release`."""
        return not reservation.is_recorded or self._till.release_now(reservation)

    async def release(self, reservation: Reservation) -> None:
        """Free a hold of which nothing was used."""
        if not reservation.is_recorded:
            return
        try:
            await self._till.release(reservation)
        except StorageError as error:
            call_id = reservation.hold.call_id
            self._count_failure("release")
            _log.error("The hold of call %s is freed later: %s", call_id, error)
            self._later.add("release", call_id, lambda: self._till.release(reservation))

    # --- what is open ---

    async def unsettled(self) -> list[Unsettled]:
        """Every hold, the oldest first."""
        await self._till.fold()
        return [holds.unsettled(row) for row in await self._database.read(holds.SELECT_UNSETTLED)]

    async def confirm(self, call_id: str, nanodollars: int) -> None:
        """Decide a hold: that much was charged. Raises NotFoundError, ConflictError (it runs)."""
        await self._till.change(lambda: holds.decide(call_id, nanodollars))

    async def release_unsettled(self, call_id: str) -> None:
        """Decide a hold: nothing more was charged. Raises NotFoundError, ConflictError (it runs)."""
        await self._till.change(lambda: holds.decide(call_id, None))

    async def recover(self) -> int:
        """Mark the open holds of dead processes as orphaned. Returns how many."""
        rows = await self._database.read(
            "SELECT DISTINCT instance FROM reservations WHERE state = 'open' AND instance <> ?",
            (self._instance,),
        )
        found = sorted({*(row[0] for row in rows), *self._till.others()})
        dead = [each for each in found if not await self._database.is_claimed(each)]
        if not dead:
            return 0
        count = await self._till.bury(dead)
        if count:
            _log.warning(
                "%d calls were under way when their process ended. They count as spent at their upper "
                "bound; `farthing spend --unsettled` lists them.",
                count,
            )
        return count

    async def expire(self) -> int:
        """Free the holds whose time is over. Returns how many."""
        now = int(self._clock.now())
        await self._till.fold()
        if not await self._database.read(holds.SELECT_DUE, (now,)):
            return 0
        return await self._till.change(lambda: holds.expire(now))

    async def reconcile(self, rows: Iterable[InvoiceRow]) -> Reconciliation:
        """Make the ledger equal to a provider's invoice by appending corrections.

        Lines are joined by the provider's request id, else by our call id. A line of a call that was left
        unsettled settles its hold. One pass over the ledger, during which calls wait.
        """
        lines = list(rows)
        await self._budgets.refresh(now=True)
        budgets = self._budgets.known
        return await self._till.change(lambda: reconcile(lines, budgets))

    # --- provisioned throughput ---

    def charge_provisioned(self, deployments: Iterable[Deployment]) -> None:
        """From now on, book the hourly fees of these deployments."""
        self._provisioned = tuple(d for d in deployments if d.provisioned_hourly_nanodollars)

    async def post_provisioned(self) -> int:
        """Book the fees of the hours that are over. Returns the number of rows."""
        if self._provisioned is None:
            return 0
        deployments, now = self._provisioned, int(self._clock.now())
        return await self._database.write(lambda: provisioned.post(deployments, now))

    # --- reports ---

    async def spend(self, query: SpendQuery) -> list[SpendRow]:
        """Sums of the ledger."""
        await self._till.fold()
        question = ledger.sums(query)
        rows = await self._database.read(question.sql, question.params)
        found = ledger.spend_rows(query.by, rows)
        if query.by != "key":
            return found
        names = {key.id: key.name for key in await self.keys.list()}
        return [msgspec.structs.replace(row, name=names.get(row.name, row.name)) for row in found]

    async def entries(
        self, *, since: float | None = None, until: float | None = None
    ) -> list[Entry]:
        """The ledger's rows of a span, oldest first."""
        return [entry async for entry in self.export(since=since, until=until)]

    async def export(
        self, *, since: float | None = None, until: float | None = None
    ) -> AsyncIterator[Entry]:
        """The same rows read page by page, so that a long ledger needs little memory."""
        await self._till.fold()
        last = 0
        while True:
            question = ledger.page(last, since=since, until=until)
            rows = await self._database.read(question.sql, question.params)
            for row in rows:
                yield ledger.entry(row)
            if len(rows) < ledger.PAGE:
                return
            last = rows[-1][-1]

    async def budgets(self) -> list[BudgetState]:
        """Every budget in its present window."""
        await self._till.fold()
        return await self._budgets.states()

    async def set_budget(self, budget: Budget) -> None:
        """Make or change a budget of the database. Budgets of the settings file are changed there."""
        await self._budgets.set(budget)

    async def remove_budget(self, name: str) -> None:
        """Remove a budget of the database. Raises NotFoundError."""
        await self._budgets.remove(name)

    # --- private ---

    def _needs_key(self) -> bool:
        required = self._settings.server.require_keys
        return not self.keys.is_untouched if required is None else required

    def _settlement(
        self, reservation: Reservation, record: CallRecord, unconfirmed: int
    ) -> Settlement:
        tokens = expires_at = 0
        if reservation.charges:
            for attempt in record.attempts:
                tokens += attempt.usage.input_tokens + attempt.usage.output_tokens
        if unconfirmed:
            expires_at = int(self._clock.now() + self._settings.ledger.unconfirmed_hold_s)
        return Settlement(
            call_id=reservation.hold.call_id,
            entries=ledger.entries_of(record),
            unconfirmed=unconfirmed,
            expires_at=expires_at,
            tokens=tokens,
        )

    def _tell(self, alert: Alert) -> None:
        if self._metrics is not None:
            self._metrics.count_budget_alert(alert.budget, alert.percent)
        self._alerts.send(alert)

    def _count_failure(self, operation: str) -> None:
        if self._metrics is not None:
            self._metrics.count_ledger_failure(operation)

    async def _sweep_for_ever(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_S)
            try:
                await self.keys.refresh(now=True)
                await self.expire()
                await self.recover()
                await self.post_provisioned()
            except StorageError as error:
                _log.warning("Holds and fees that are due are looked at again later: %s", error)


_LOCAL = Caller(key_id="local", name="local", role="admin", is_local=True, is_cache_allowed=True)


def _too_large(wish: Hold) -> BadRequestError:
    return BadRequestError(
        f"This request could cost {format_dollars(wish.nanodollars, decimals=0)}, and no call may "
        f"cost more than {format_dollars(MAX_HOLD, decimals=0)}.",
        hint="Ask for fewer answers (n) or a lower max_tokens.",
    )
