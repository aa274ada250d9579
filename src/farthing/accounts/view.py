"""The view: which budgets and rates a call meets, and where they stand on the board."""

from __future__ import annotations

from collections.abc import Sequence

from farthing.accounts.budgets import Budget, Window, scope_of, window_end, window_start
from farthing.accounts.holds import Hold, windows_to
from farthing.accounts.rates import Limit
from farthing.base.storage.board import USED, Board, key_of

#: Different kinds of calls (key, team, model and tags together) of which the budgets are remembered.
_MOST_PLANS = 4_096
_FOR_EVER = 1 << 62


class Line:
    """A budget's window on the board. at: its `spent`; `held` follows. key: the slot's first word.

    marks: what is spent when an alert is due, nanodollars, the next one last.
    """

    __slots__ = ("at", "budget", "key", "limit", "marks", "window")

    def __init__(self, budget: Budget, window: Window, at: int, key: int, spent: int) -> None:
        self.budget = budget
        self.window = window
        self.at = at
        self.key = key
        self.limit = budget.nanodollars
        marks = (-(-percent * budget.nanodollars // 100) for percent in budget.alert_at)
        self.marks = sorted((mark for mark in marks if mark > spent), reverse=True)


class Plan:
    """What calls of one kind meet between two moments, unix seconds."""

    __slots__ = ("limits", "lines", "packed", "since", "until")

    def __init__(self, lines: Sequence[Line], limits: Sequence[Limit], at_s: float) -> None:
        self.lines = tuple(lines)
        self.packed = windows_to([line.window for line in lines])
        self.limits = tuple(limits)
        starts = [line.window.start_at for line in lines]
        ends = [window_end(line.budget.window, line.window.start_at) for line in lines]
        self.since = max(starts, default=0)
        self.until = min((end for end in ends if end is not None), default=_FOR_EVER)
        assert self.since <= at_s < self.until


class View:
    """The budgets of one generation of the board, as this process knows them."""

    def __init__(
        self,
        board: Board,
        budgets: Sequence[Budget],
        limits: Sequence[Limit],
        *,
        generation: int,
        version: int,
    ) -> None:
        self._board = board
        self._budgets = sorted(budgets, key=lambda each: each.name)
        self._limits = limits
        self._slots = board.slots()
        self._seen = board.words[USED]
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._scopes = {budget.name: scope_of(budget) for budget in budgets}
        self.generation = generation
        self.version = version

    def plan(self, wish: Hold) -> Plan | None:
        """What this call meets; None while a window of it is not on the board."""
        caller = wish.caller
        kind = (caller.key_id, caller.name, caller.team, wish.model, wish.tags)
        plan = self._plans.get(kind)
        if plan is None or not plan.since <= wish.at_s < plan.until:
            plan = self._made(wish)
            if plan is not None:
                if len(self._plans) >= _MOST_PLANS:
                    self._plans.clear()
                self._plans[kind] = plan
        return plan

    def matching(self, wish: Hold) -> list[Budget]:
        """The budgets that count this call, by name."""
        return [b for b in self._budgets if b.matches(wish.caller, wish.model, wish.tags)]

    def _made(self, wish: Hold) -> Plan | None:
        words = self._board.words
        lines = []
        for budget in self.matching(wish):
            window = Window(budget.name, window_start(budget.window, wish.at_s))
            key = key_of(budget.name, self._scopes[budget.name], window.start_at)
            at = self._slot(key)
            if at is None:
                return None
            lines.append(Line(budget, window, at, key[0], words[at]))
        limits = [each for each in self._limits if each.matches(wish.caller, wish.model, wish.tags)]
        return Plan(lines, limits, wish.at_s)

    def _slot(self, key: tuple[int, int]) -> int | None:
        at = self._slots.get(key)
        used = self._board.words[USED]
        if at is None and used > self._seen:  # another process has added some
            self._slots.update(self._board.slots(self._seen))
            self._seen = used
            at = self._slots.get(key)
        return at
