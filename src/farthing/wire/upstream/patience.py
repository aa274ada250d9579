"""Waiting with one timer: who waits for what, since when, and when it has taken too long."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from math import inf

#: uvloop's clock has steps of a millisecond, so a timer may fire that much before its time, seconds.
_TIMER_SLACK_S = 0.002


class Patience:
    """The waiting half of a connection. At most one task waits at a time.

    Nobody waits longer than `patience_s` after `_since`, nor beyond `_deadline` (the loop's clock). The
    timer is set again only when it fires too early or a nearer limit comes: a connection that carries many
    short exchanges sets it about once in `patience_s`.
    """

    __slots__ = (
        "_deadline", "_idle_until", "_is_held", "_loop", "_since", "_timer", "_timer_at", "_waiter",
        "is_asked", "patience_s",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._idle_until = inf
        self._since = self._deadline = self.patience_s = 0.0
        #: Whether an exchange is under way.
        self.is_asked = False
        self._is_held = False

    @abstractmethod
    def _ran_out(self, *, is_total: bool) -> None:
        """It has taken too long: what was waited for, or (nothing being asked) the idle time."""

    def _wait(self) -> asyncio.Future[None]:
        """A future that `_wake` completes; the time counts from `_since`."""
        self._waiter = waiter = self._loop.create_future()
        # Nearly always a timer is set that fires sooner: it was set for an exchange before this one.
        if self._timer_at > self._since + self.patience_s or self._timer_at > self._deadline:
            self._arm(self._due())
        return waiter

    def _wait_on(self) -> asyncio.Future[None]:
        """The same, the time counting from now."""
        self._since = self._loop.time()
        return self._wait()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        # A cancelled one belongs to a task that is leaving already.
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _due(self) -> float:
        """When what is waited for now has taken too long."""
        if not self.is_asked:
            return self._idle_until
        if self._waiter is None:
            return inf
        if self._is_held:
            return self._deadline
        return min(self._since + self.patience_s, self._deadline)

    def _arm(self, due: float) -> None:
        """See to it that `_on_timer` runs at `due` or before."""
        if due < self._timer_at:
            self._disarm()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, inf

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, inf
        due = self._due()
        if due <= self._loop.time() + _TIMER_SLACK_S:
            self._ran_out(is_total=due == self._deadline)
        elif due < inf:
            self._arm(due)
