"""Budgets: limits of money in calendar windows, checked and held in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from farthing.base.storage import Query, Row, Work
from farthing.core.calls import Caller
from farthing.core.errors import BudgetExceededError
from farthing.core.money import format_dollars

Span = Literal["day", "week", "month", "total"]
_DAY_S = 86_400
_WINDOW_NAMES = {"day": "today", "week": "this week", "month": "this month", "total": "in all"}


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A limit. key, team, model, tag: None means any; all that are given must match.

    alert_at: percentages of the limit that raise an alert. is_configured: it stands in the settings file,
    so it is changed there.
    """

    name: str
    nanodollars: int
    window: Span = "month"
    key: str | None = None
    team: str | None = None
    model: str | None = None
    tag: str | None = None
    alert_at: tuple[int, ...] = (80, 100)
    is_configured: bool = False

    def matches(self, caller: Caller, model: str, tags: Iterable[str]) -> bool:
        """Whether a call counts against this budget."""
        return (
            (self.key is None or self.key in (caller.key_id, caller.name))
            and (self.team is None or self.team == caller.team)
            and (self.model is None or self.model == model)
            and (self.tag is None or self.tag in tags)
        )


class Window(msgspec.Struct, frozen=True, array_like=True):
    """One budget's window: the budget's name, and its first second (unix, UTC)."""

    budget: str
    start_at: int


class BudgetState(msgspec.Struct, frozen=True, kw_only=True):
    """A budget in its present window. reserved: held for calls under way and unsettled ones."""

    budget: Budget
    spent: int
    reserved: int

    @property
    def left(self) -> int:
        """What new calls may still cost."""
        return self.budget.nanodollars - self.spent - self.reserved


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A budget passed one of its marks."""

    budget: str
    percent: int
    spent: int
    limit: int
    window: str
    start_at: int


def window_start(span: Span, at_s: float) -> int:
    """The first second of the UTC calendar window that holds `at_s`; weeks begin on Monday."""
    if span == "total":
        return 0
    moment = datetime.fromtimestamp(at_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if span == "week":
        moment -= timedelta(days=moment.weekday())
    if span == "month":
        moment = moment.replace(day=1)
    return int(moment.timestamp())


def window_end(span: Span, start_at: int) -> int | None:
    """The first second after the window that begins at `start_at`; None: it has no end."""
    if span == "total":
        return None
    if span == "month":  # the 1st plus 32 days is in the next month, whichever it is
        return window_start("month", start_at + 32 * _DAY_S)
    return start_at + (7 if span == "week" else 1) * _DAY_S


#: What counts for a budget's new window (by its first second) already: nanodollars spent, and those held
#: by calls under way, whose holds join the window; asked once for each new window.
Spent = Callable[[Budget, int], Work[tuple[int, int]]]


def hold(
    budgets: Iterable[Budget], nanodollars: int, at_s: float, spent: Spent
) -> Work[list[Window]]:
    """Hold the amount in every budget. All or nothing. Raises BudgetExceededError.

    Windows are taken in the order of their budgets' names, so that two units never wait for each other.
    """
    windows = []
    for budget in sorted(budgets, key=lambda each: each.name):
        window = Window(budget.name, window_start(budget.window, at_s))
        if not (yield from _take(budget, window, nanodollars)):
            is_new = yield from begin(budget, window, spent)
            if not is_new or not (yield from _take(budget, window, nanodollars)):
                raise (yield from _refusal(budget, window, nanodollars))
        windows.append(window)
    return windows


def hold_more(budgets: Iterable[Budget], windows: Iterable[Window], nanodollars: int) -> Work[None]:
    """Hold more in windows that hold already. Raises BudgetExceededError.

    A window whose budget has changed since is begun anew by the next call; there is nothing to ask it.
    """
    by_name = {budget.name: budget for budget in budgets}
    for window in windows:
        budget = by_name.get(window.budget)
        rows = yield Query(
            "SELECT scope FROM budget_windows WHERE budget = ? AND start_at = ?", window_key(window)
        )
        if budget is None or not rows or rows[0][0] != scope_of(budget):
            yield from move([window], reserved=nanodollars, spent=0)
        elif not (yield from _take(budget, window, nanodollars)):
            raise (yield from _refusal(budget, window, nanodollars))


def move(windows: Iterable[Window], *, reserved: int, spent: int) -> Work[None]:
    """Change what the windows hold and have spent."""
    for window in windows:
        yield Query(
            "UPDATE budget_windows SET reserved = reserved + ?, spent = spent + ? "
            "WHERE budget = ? AND start_at = ?",
            (reserved, spent, window.budget, window.start_at),
        )


def alerts(budgets: Iterable[Budget], windows: Iterable[Window]) -> Work[list[Alert]]:
    """The marks that were passed since the last time; each is told once per window."""
    by_name = {budget.name: budget for budget in budgets}
    found = []
    for window in windows:
        budget = by_name.get(window.budget)
        if budget is None or not budget.alert_at or not budget.nanodollars:
            continue
        rows = yield Query(
            "SELECT spent, alerted FROM budget_windows WHERE budget = ? AND start_at = ?",
            window_key(window),
        )
        if not rows:
            continue  # the budget has changed: its window is begun anew by the next call
        spent, alerted = rows[0]
        passed = [
            p for p in budget.alert_at if alerted < p and spent * 100 >= p * budget.nanodollars
        ]
        if passed:
            yield Query(
                "UPDATE budget_windows SET alerted = ? WHERE budget = ? AND start_at = ?",
                (max(passed), *window_key(window)),
            )
            found += [
                Alert(
                    budget=budget.name,
                    percent=percent,
                    spent=spent,
                    limit=budget.nanodollars,
                    window=budget.window,
                    start_at=window.start_at,
                )
                for percent in sorted(passed)
            ]
    return found


def window_key(window: Window) -> tuple[str, int]:
    """The primary key of a window's row."""
    return (window.budget, window.start_at)


def budget_of(row: Row) -> Budget:
    """A budget from its row (name, nanodollars, rule)."""
    rule = msgspec.json.decode(row[2])
    return msgspec.convert({**rule, "name": row[0], "nanodollars": row[1]}, Budget)


def rule_of(budget: Budget) -> str:
    """Everything of a budget beside name and amount, as JSON."""
    rule = msgspec.to_builtins(budget)
    return msgspec.json.encode(
        {k: v for k, v in rule.items() if k not in ("name", "nanodollars")}
    ).decode()


def scope_of(budget: Budget) -> str:
    """Which calls count, as JSON: a window that was counted otherwise is counted anew."""
    return msgspec.json.encode(
        [budget.window, budget.key, budget.team, budget.model, budget.tag]
    ).decode()


def begin(budget: Budget, window: Window, spent: Spent) -> Work[bool]:
    """Count a window up from the ledger and the holds; False when it is counted already."""
    scope = scope_of(budget)
    present = yield Query(
        "SELECT scope FROM budget_windows WHERE budget = ? AND start_at = ?", window_key(window)
    )
    if present and present[0][0] == scope:
        return False
    yield Query(
        "DELETE FROM budget_windows WHERE budget = ? AND start_at = ? AND scope <> ?",
        (*window_key(window), scope),
    )
    so_far, held = yield from spent(budget, window.start_at)
    yield Query(
        "INSERT INTO budget_windows (budget, start_at, scope, spent, reserved, alerted) "
        "VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT (budget, start_at) DO NOTHING",
        (*window_key(window), scope, so_far, held),
    )
    return True


def _take(budget: Budget, window: Window, nanodollars: int) -> Work[bool]:
    rows = yield Query(
        "UPDATE budget_windows SET reserved = reserved + ? WHERE budget = ? AND start_at = ? "
        "AND scope = ? AND spent + reserved + ? <= ? RETURNING spent",
        (nanodollars, *window_key(window), scope_of(budget), nanodollars, budget.nanodollars),
    )
    return bool(rows)


def _refusal(budget: Budget, window: Window, nanodollars: int) -> Work[BudgetExceededError]:
    rows = yield Query(
        "SELECT spent, reserved FROM budget_windows WHERE budget = ? AND start_at = ?",
        window_key(window),
    )
    return exceeded(budget, rows[0][0], rows[0][1], nanodollars)


def exceeded(budget: Budget, spent: int, reserved: int, nanodollars: int) -> BudgetExceededError:
    """The refusal of a call that could cost `nanodollars`."""
    left = max(0, budget.nanodollars - spent - reserved)
    held = f" ({format_dollars(reserved)} of it is held for other calls)" if reserved else ""
    where = (
        "in the settings file"
        if budget.is_configured
        else f"with `farthing budget set {budget.name} DOLLARS`"
    )
    return BudgetExceededError(
        f"Budget '{budget.name}' has {format_dollars(left)} left of {format_dollars(budget.nanodollars)} "
        f"{_WINDOW_NAMES[budget.window]}{held} and this request could cost up to "
        f"{format_dollars(nanodollars)}.",
        left_nanodollars=left,
        remedy=f"raise the budget {where}",
    )
