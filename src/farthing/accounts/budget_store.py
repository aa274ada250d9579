"""The budgets in force: those of the settings file, those of the database, and their windows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec

from farthing.accounts.budgets import (
    Budget,
    BudgetState,
    Window,
    begin,
    budget_of,
    rule_of,
    scope_of,
    window_key,
    window_start,
)
from farthing.accounts.holds import so_far
from farthing.base.clock import Clock
from farthing.base.config.amounts import dollars
from farthing.base.config.settings import Settings
from farthing.base.storage import Database, Query, Row, Work
from farthing.core.errors import NotFoundError, StorageError, did_you_mean

T = TypeVar("T")

#: How often a running process looks for budgets that another process changed, seconds. A call's own unit
#: of work looks as well, so this is for alerts and reports only.
REFRESH_S = 1.0


class Change(Protocol):
    """Runs a unit of work; see `Database.write`."""

    def __call__(self, work: Callable[[], Work[T]], /) -> Awaitable[T]: ...


class _Known(msgspec.Struct, frozen=True):
    """version: of the database's budgets, which each change of them counts up."""

    version: int
    budgets: tuple[Budget, ...]


class BudgetStore:
    """Every budget by its name; one of the settings file goes before one of the database."""

    def __init__(self, database: Database, settings: Settings, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._configured = _configured(settings)
        self._known = _Known(-1, tuple(self._configured.values()))
        self._looked_at = -REFRESH_S
        #: Writes a change so that it binds every later call; the till's, once there is one.
        self.change: Change = database.write

    @property
    def version(self) -> int:
        """Of the database's budgets, as of the last look."""
        return self._known.version

    def windows_at(self, at_s: float) -> set[Window]:
        """Each budget's window that holds this moment, unix seconds."""
        return {Window(b.name, window_start(b.window, at_s)) for b in self.known}

    @property
    def known(self) -> tuple[Budget, ...]:
        """All budgets, as of the last look."""
        return self._known.budgets

    async def configure(self, settings: Settings) -> None:
        """Take new settings, and forget the windows of budgets that are gone.

        A budget that is left out and comes back later must count what was spent meanwhile.
        """
        self._configured = _configured(settings)
        await self.refresh(now=True, again=True)
        names = {budget.name for budget in self.known}

        def work() -> Work[None]:
            rows = yield Query("SELECT DISTINCT budget FROM budget_windows")
            for (name,) in rows:
                if name not in names:
                    yield Query("DELETE FROM budget_windows WHERE budget = ?", (name,))

        await self.change(work)

    async def refresh(self, *, now: bool = False, again: bool = False) -> None:
        """Look for changes, at most once a second unless `now`. again: even if none was counted."""
        moment = self._clock.monotonic()
        if not now and moment - self._looked_at < REFRESH_S:
            return
        self._looked_at = moment
        try:
            rows = await self._database.read(_VERSION.sql)
            if again or rows[0][0] != self._known.version:
                stored = await self._database.read(_STORED.sql)
                self._known = self._merged(rows[0][0], stored)
        except StorageError:
            return  # the last known budgets hold on; `reserve` meets the same database and decides

    def current(self) -> Work[tuple[Budget, ...]]:
        """All budgets as of this unit of work, whoever changed them a moment ago."""
        version = (yield _VERSION)[0][0]
        if version != self._known.version:
            self._known = self._merged(version, (yield _STORED))
        return self._known.budgets

    async def states(self) -> list[BudgetState]:
        """Every budget in its present window."""
        await self.refresh(now=True)
        return [await self._state(budget) for budget in self.known]

    async def set(self, budget: Budget) -> None:
        """Make or change a budget of the database."""

        def work() -> Work[None]:
            before = yield Query("SELECT name FROM budgets WHERE name = ?", (budget.name,))
            if not before:
                yield Query("DELETE FROM budget_windows WHERE budget = ?", (budget.name,))
            yield Query(
                "INSERT INTO budgets (name, nanodollars, rule) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET nanodollars = excluded.nanodollars, "
                "rule = excluded.rule",
                (budget.name, budget.nanodollars, rule_of(budget)),
            )
            yield Query("UPDATE budget_windows SET alerted = 0 WHERE budget = ?", (budget.name,))
            yield _CHANGED

        await self.change(work)
        await self.refresh(now=True)

    async def remove(self, name: str) -> None:
        """Remove a budget of the database. Raises NotFoundError."""

        def work() -> Work[list[Row]]:
            rows = yield Query("DELETE FROM budgets WHERE name = ? RETURNING name", (name,))
            yield Query("DELETE FROM budget_windows WHERE budget = ?", (name,))
            yield _CHANGED
            return rows

        if name in self._configured:
            raise NotFoundError(
                f"The budget '{name}' stands in the settings file, not in the database.",
                hint="Remove its table there.",
            )
        if not await self.change(work):
            names = [budget.name for budget in self.known]
            raise NotFoundError(
                f"There is no budget '{name}' in the database.",
                hint=did_you_mean(name, names) or "`farthing budget list` shows them.",
            )
        await self.refresh(now=True)

    async def _state(self, budget: Budget) -> BudgetState:
        window = Window(budget.name, window_start(budget.window, self._clock.now()))
        sql = (
            "SELECT spent, reserved FROM budget_windows "
            "WHERE budget = ? AND start_at = ? AND scope = ?"
        )
        key = (*window_key(window), scope_of(budget))
        rows = await self._database.read(sql, key)
        if not rows:
            await self.change(lambda: begin(budget, window, so_far))
            rows = await self._database.read(sql, key)
        spent, reserved = rows[0] if rows else (0, 0)
        return BudgetState(budget=budget, spent=spent, reserved=reserved)

    def _merged(self, version: int, rows: list[Row]) -> _Known:
        stored = {row[0]: budget_of(row) for row in rows}
        merged = {**stored, **self._configured}
        return _Known(version, tuple(merged[name] for name in sorted(merged)))


_VERSION = Query("SELECT value FROM counters WHERE name = 'budgets'")
_CHANGED = Query("UPDATE counters SET value = value + 1 WHERE name = 'budgets'")
_STORED = Query("SELECT name, nanodollars, rule FROM budgets")


def _configured(settings: Settings) -> dict[str, Budget]:
    return {
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
        for name, table in settings.budgets.items()
    }
