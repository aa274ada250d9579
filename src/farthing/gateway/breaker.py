"""Circuit breakers: a deployment that fails leaves rotation and comes back by a probe."""

from __future__ import annotations

from typing import Literal

from farthing.base.clock import Clock
from farthing.base.config.settings import Breaker as BreakerSettings
from farthing.core.models import Deployment, Offer

State = Literal["closed", "open", "half_open"]


class Breaker:
    """One deployment's breaker, with the pause that a 429 asked for.

    closed: calls pass. open: none until `open_s` has passed, doubled at each failed probe. half_open: one
    probe at a time. A 429 is no failure; it only rests the deployment until its Retry-After.
    """

    def __init__(self, settings: BreakerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._failures = 0
        self._open_s = settings.open_s
        self._until = 0.0
        self._is_open = False
        self._is_probing = False
        self._rests_until = 0.0
        self.last_error: str | None = None
        self.last_error_at_s: float | None = None
        self.in_flight = 0

    @property
    def state(self) -> State:
        """`half_open` means that the next call is a probe."""
        if not self._is_open:
            return "closed"
        return "half_open" if self._clock.monotonic() >= self._until else "open"

    @property
    def admits(self) -> bool:
        """Whether a call may go there now."""
        if not self._is_open:
            return True
        state = self.state
        return state == "closed" or (state == "half_open" and not self._is_probing)

    @property
    def rest_s(self) -> float:
        """Seconds until the deployment wants to be asked again after a 429."""
        if not self._rests_until:
            return 0.0
        return max(0.0, self._rests_until - self._clock.monotonic())

    def offer(self, deployment: Deployment) -> Offer:
        """The deployment as the policy sees it now."""
        if not self._is_open and not self._rests_until:
            return Offer(deployment=deployment, in_flight=self.in_flight)
        rest_s = self.rest_s
        if not rest_s:
            self._rests_until = 0.0
        return Offer(
            deployment=deployment,
            is_open=self.admits,
            in_flight=self.in_flight,
            retry_after_s=rest_s,
        )

    def configure(self, settings: BreakerSettings) -> None:
        """Take new settings from the next failure or success on."""
        self._settings = settings

    def start(self) -> bool:
        """A call goes there. True: it is the probe of an open breaker; say so to `leave`."""
        self.in_flight += 1
        is_probe = self._is_open and not self._is_probing
        self._is_probing = self._is_probing or is_probe
        return is_probe

    def leave(self, *, was_probe: bool) -> None:
        """The call is over, however it went. Only the probe's end lets another probe through."""
        self.in_flight -= 1
        if was_probe:
            self._is_probing = False

    def succeed(self) -> None:
        """A complete answer."""
        self._failures = 0
        self._is_open = False
        self._open_s = self._settings.open_s

    def fail(self, code: str) -> None:
        """The deployment's own failure: unreachable, silent, broken, 5xx, our key refused."""
        self._note(code)
        self._failures += 1
        if self.state == "open":
            return  # under way since before it opened, or asked as the last resort: it was no probe
        if self._is_open:
            self._open_s = min(self._open_s * 2, self._settings.max_open_s)
        elif self._failures < self._settings.failures:
            return
        self._is_open = True
        self._until = self._clock.monotonic() + self._open_s

    def rest(self, seconds: float, code: str) -> None:
        """A 429: leave it alone for as long as it asked."""
        self._note(code)
        self._rests_until = max(self._rests_until, self._clock.monotonic() + seconds)

    def _note(self, code: str) -> None:
        self.last_error = code
        self.last_error_at_s = self._clock.now()
