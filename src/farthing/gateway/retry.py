"""When a failed try is repeated, where, and after how long."""

from __future__ import annotations

from collections import deque

from farthing.base.clock import Clock
from farthing.base.config.settings import Retry
from farthing.core.errors import (
    FarthingError,
    UntranslatableError,
    UpstreamAuthError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
)

#: Retries per minute that are always allowed, so that a quiet gateway may retry at all.
FREE_RETRIES_PER_MINUTE = 10
#: How far back the budget looks, seconds.
_SPAN_S = 60.0
#: A provider's 4xx that speaks about its own state and not about the request: another place may differ.
_OF_THE_PLACE = frozenset({404, 408, 409, 410, 423, 425, 429})


def may_go_elsewhere(error: FarthingError) -> bool:
    """Whether another deployment could do better.

    A verdict on the request itself (400, 413, 422, a filtered prompt) holds everywhere and is passed on.
    """
    if isinstance(error, UpstreamRejectedError):
        return error.upstream_status in _OF_THE_PLACE
    return isinstance(error, UpstreamError | UntranslatableError)


def is_fault_of_place(error: FarthingError) -> bool:
    """Whether the deployment's breaker should count it."""
    if isinstance(error, UpstreamRateLimitedError):
        return False
    if isinstance(error, UpstreamRejectedError):
        return error.upstream_status in _OF_THE_PLACE
    return isinstance(error, UpstreamError)


def may_repeat_here(error: FarthingError) -> bool:
    """Whether the same deployment may be asked again."""
    return error.retryable and not isinstance(error, UpstreamAuthError | UpstreamRejectedError)


class RetryBudget:
    """Bounds repeats at the same deployment to a share of the first tries of the last minute.

    Without it a failing provider would be asked `max_tries` times as often as usual, just when it is weak.
    """

    def __init__(self, settings: Retry, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._firsts: deque[float] = deque()
        self._repeats: deque[float] = deque()

    def note_first(self) -> None:
        """A call makes its first try."""
        now = self._clock.monotonic()
        self._firsts.append(now)
        _forget_before(
            now - _SPAN_S, self._firsts
        )  # here too: a gateway that never fails never asks

    def take(self) -> bool:
        """Whether a repeat is allowed now; it then counts."""
        horizon = self._clock.monotonic() - _SPAN_S
        for times in (self._firsts, self._repeats):
            _forget_before(horizon, times)
        allowed = FREE_RETRIES_PER_MINUTE + self._settings.budget_ratio * len(self._firsts)
        if len(self._repeats) >= allowed:
            return False
        self._repeats.append(self._clock.monotonic())
        return True

    def pause_s(self, repeat: int, error: FarthingError) -> float | None:
        """Seconds before repeat number `repeat` (from 1), jittered; None: not worth waiting for."""
        longest = self._settings.max_backoff_s
        if error.retry_after_s is not None:
            return error.retry_after_s if error.retry_after_s <= longest else None
        full = min(self._settings.backoff_s * 2.0 ** (repeat - 1), longest)
        return full * (0.5 + self._clock.random() / 2)


def _forget_before(horizon: float, times: deque[float]) -> None:
    while times and times[0] < horizon:
        times.popleft()
