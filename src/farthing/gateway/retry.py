"""When a failed try is repeated, where, and after how long."""

from __future__ import annotations

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
_SPAN_S = 60
#: A provider's 4xx that may speak about its own state and not about the request: another place may differ.
_OF_THE_PLACE = frozenset({404, 408, 409, 410, 423, 425, 429})
#: Vendors' words for a model or deployment that is not there. Any other 404 may be about a file or a stored
#: answer that the caller named, and one caller's slip must not rest a deployment for all.
_MODEL_IS_GONE = frozenset(
    {"model_not_found", "DeploymentNotFound", "deployment_not_found", "model_not_available"}
)


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
        return error.upstream_code in _MODEL_IS_GONE or error.upstream_status in (408, 410)
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
        self._firsts = _LastMinute(clock)
        self._repeats = _LastMinute(clock)

    def note_first(self) -> None:
        """A call makes its first try."""
        self._firsts.add()

    def take(self) -> bool:
        """Whether a repeat is allowed now; it then counts."""
        allowed = FREE_RETRIES_PER_MINUTE + self._settings.budget_ratio * self._firsts.count()
        if self._repeats.count() >= allowed:
            return False
        self._repeats.add()
        return True

    def pause_s(self, repeat: int, error: FarthingError) -> float | None:
        """Seconds before repeat number `repeat` (from 1), jittered; None: not worth waiting for."""
        longest = self._settings.max_backoff_s
        if error.retry_after_s is not None:
            return error.retry_after_s if error.retry_after_s <= longest else None
        full = min(self._settings.backoff_s * 2.0 ** (repeat - 1), longest)
        return full * (0.5 + self._clock.random() / 2)


class _LastMinute:
    """How often something happened in the last minute, counted by the second in constant memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts = [0] * _SPAN_S
        self._total = 0
        self._second = 0

    def add(self) -> None:
        if self._clock.monotonic() >= self._second + 1:
            self.count()
        self._counts[self._second % _SPAN_S] += 1
        self._total += 1

    def count(self) -> int:
        now = int(self._clock.monotonic())
        if now > self._second:
            for second in range(self._second + 1, min(now, self._second + _SPAN_S) + 1):
                self._total -= self._counts[second % _SPAN_S]
                self._counts[second % _SPAN_S] = 0
            self._second = now
        return self._total
