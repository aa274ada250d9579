"""The till: where a call's money is held, charged and given back; the plain one, by transactions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from farthing.accounts import holds
from farthing.accounts.budget_store import BudgetStore
from farthing.accounts.budgets import Alert
from farthing.accounts.counter import Counter
from farthing.accounts.holds import Hold, Reservation
from farthing.accounts.ledger import Entry
from farthing.base.storage import Database, Work

T = TypeVar("T")


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written at a call's end. unconfirmed: nanodollars that stay held until `expires_at`.

    tokens: what the call used of the rates that count tokens.
    """

    call_id: str
    entries: tuple[Entry, ...]
    unconfirmed: int
    expires_at: int
    tokens: int


class Till(Protocol):
    """Moves a call's money. What is named `…_now` is durable when it returns and never waits; None or
    False: it cannot be done at once, await its namesake."""

    async def open(self, *, recover: bool) -> None:
        """Get ready; see `Accounts.open`. Raises StorageError."""
        ...

    async def close(self) -> None:
        """Bring everything into the tables. Idempotent."""
        ...

    def reserve_now(self, wish: Hold) -> Reservation | None:
        """Raises BudgetExceededError, RateLimitedError, StorageError."""
        ...

    async def reserve(self, wish: Hold) -> Reservation:
        """Raises BudgetExceededError, RateLimitedError, StorageError."""
        ...

    def extend_now(self, reservation: Reservation, nanodollars: int) -> bool:
        """Raises BudgetExceededError, StorageError."""
        ...

    async def extend(self, reservation: Reservation, nanodollars: int) -> None:
        """Raises BudgetExceededError, NotFoundError (no such hold), StorageError."""
        ...

    def settle_now(self, reservation: Reservation, settlement: Settlement) -> bool:
        """Raises nothing: a failure is False."""
        ...

    async def settle(self, reservation: Reservation, settlement: Settlement) -> None:
        """Does nothing the second time. Raises StorageError."""
        ...

    def release_now(self, reservation: Reservation) -> bool:
        """Raises nothing: a failure is False."""
        ...

    async def release(self, reservation: Reservation) -> None:
        """Does nothing the second time. Raises StorageError."""
        ...

    async def fold(self) -> None:
        """Bring what is durable into the tables, so that a report misses nothing. Raises StorageError."""
        ...

    async def change(self, work: Callable[[], Work[T]]) -> T:
        """Run administration's unit of work; it binds every later call of every process."""
        ...

    async def bury(self, instances: list[str]) -> int:
        """Mark the open holds of dead processes as orphaned. Returns how many."""
        ...

    def others(self) -> list[str]:
        """Processes that left something here beside the tables."""
        ...

    @property
    def keys_mark(self) -> int | None:
        """Changes with each change of the keys, in any process; None: that cannot be told here."""
        ...

    def keys_changed(self) -> None:
        """Tell every process that the keys have changed."""
        ...

    def configure(self) -> None:
        """Settings have changed; called on the way to `change`."""
        ...


class TransactionTill:
    """Each move is a transaction: for databases that other machines use as well."""

    keys_mark: int | None = None

    def __init__(
        self,
        database: Database,
        budgets: BudgetStore,
        counter: Counter,
        *,
        instance: str,
        tell: Callable[[Alert], None],
    ) -> None:
        self._database = database
        self._budgets = budgets
        self._counter = counter
        self._instance = instance
        self._tell = tell

    async def open(self, *, recover: bool) -> None:
        """See `Till.open`."""
        if recover:
            await self._database.claim(self._instance)
            self._counter.open()

    async def close(self) -> None:
        """See `Till.close`."""
        self._counter.close()

    def reserve_now(self, wish: Hold) -> Reservation | None:
        """See `Till.reserve_now`."""
        return None

    async def reserve(self, wish: Hold) -> Reservation:
        """See `Till.reserve`."""
        charges = self._counter.take(wish)

        def work() -> Work[None]:
            budgets = yield from self._budgets.current()
            yield from holds.reserve(wish, budgets, self._instance)

        try:
            await self._database.write(work)
        except BaseException:
            self._counter.correct(charges, tokens=None)
            raise
        return Reservation(hold=wish, charges=charges)

    def extend_now(self, reservation: Reservation, nanodollars: int) -> bool:
        """See `Till.extend_now`."""
        return False

    async def extend(self, reservation: Reservation, nanodollars: int) -> None:
        """See `Till.extend`."""

        def work() -> Work[None]:
            budgets = yield from self._budgets.current()
            yield from holds.extend(reservation.hold.call_id, nanodollars, budgets)

        await self._database.write(work)

    def settle_now(self, reservation: Reservation, settlement: Settlement) -> bool:
        """See `Till.settle_now`."""
        return False

    async def settle(self, reservation: Reservation, settlement: Settlement) -> None:
        """See `Till.settle`."""

        def work() -> Work[list[Alert]]:
            budgets = yield from self._budgets.current()
            return (
                yield from holds.settle(
                    settlement.call_id,
                    settlement.entries,
                    budgets,
                    unconfirmed=settlement.unconfirmed,
                    expires_at=settlement.expires_at,
                )
            )

        alerts = await self._database.write(work)
        if reservation.ended is None:
            reservation.ended = "settled"
            self._counter.correct(reservation.charges, tokens=settlement.tokens)
        for alert in alerts:
            self._tell(alert)

    def release_now(self, reservation: Reservation) -> bool:
        """See `Till.release_now`."""
        return False

    async def release(self, reservation: Reservation) -> None:
        """See `Till.release`."""
        await self._database.write(lambda: holds.free(reservation.hold.call_id))
        if reservation.ended is None:
            reservation.ended = "released"
            self._counter.correct(reservation.charges, tokens=None)

    async def fold(self) -> None:
        """See `Till.fold`."""

    async def change(self, work: Callable[[], Work[T]]) -> T:
        """See `Till.change`."""
        return await self._database.write(work)

    async def bury(self, instances: list[str]) -> int:
        """See `Till.bury`."""
        return await self._database.write(lambda: holds.orphan(instances))

    def others(self) -> list[str]:
        """See `Till.others`."""
        return []

    def keys_changed(self) -> None:
        """See `Till.keys_changed`."""

    def configure(self) -> None:
        """See `Till.configure`."""
        self._counter.place()
