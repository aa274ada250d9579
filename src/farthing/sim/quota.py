"""Quota as the vendors judge it: minute windows, refilling buckets, and provisioned throughput."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import msgspec

#: Seconds added to a window's Retry-After, so that a punctual client lands behind the reset.
_PAST_RESET_S = 0.01
#: The shortest Retry-After of a bucket, seconds.
_SHORTEST_WAIT_S = 0.05


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a quota has left at a moment. Limits and remainders are tokens and requests; resets seconds."""

    limit_tokens: int
    remaining_tokens: int
    reset_tokens_s: float
    limit_requests: int
    remaining_requests: int
    reset_requests_s: float


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a call is admitted; if not, what was short and when to come back."""

    is_admitted: bool
    short_of: Literal["", "tokens", "requests"] = ""
    retry_after_s: float = 0.0


class Quota(Protocol):
    """Tokens and requests per minute of one deployment. `now`: seconds on any steady scale."""

    def admit(self, now: float, charge: int) -> Ruling:
        """Judge a call of `charge` tokens (prompt estimate + most output); never refunded."""
        ...

    def room(self, now: float) -> Room:
        """What is left, for the response headers."""
        ...

    def reduce(self, factor: float) -> None:
        """Shrink the limit (temporary reduction on a shared pool); 1 restores it."""
        ...


class WindowQuota:
    """Azure's standard deployments: a token counter that resets each minute, requests in short slices.

    phase_s: where in the minute the reset lies (clients cannot know). slice_s: 1 or 10; a slice admits
    requests_per_minute × slice_s / 60. A rejected call uses neither tokens nor requests.
    """

    def __init__(
        self, tokens_per_minute: int, requests_per_minute: int, *, phase_s: float, slice_s: int = 10
    ) -> None:
        self._configured = tokens_per_minute
        self._limit = tokens_per_minute
        self._per_slice = max(1, requests_per_minute * slice_s // 60)
        self._slice_s = slice_s
        self._phase_s = phase_s
        self._window = self._slice = -1
        self._tokens = self._requests = 0

    def admit(self, now: float, charge: int) -> Ruling:
        self._roll(now)
        if self._tokens + charge > self._limit:
            wait = self._until(now, 60) + _PAST_RESET_S
            return Ruling(is_admitted=False, short_of="tokens", retry_after_s=wait)
        if self._requests >= self._per_slice:
            wait = self._until(now, self._slice_s) + _PAST_RESET_S
            return Ruling(is_admitted=False, short_of="requests", retry_after_s=wait)
        self._tokens += charge
        self._requests += 1
        return Ruling(is_admitted=True)

    def room(self, now: float) -> Room:
        self._roll(now)
        return Room(
            limit_tokens=self._limit,
            remaining_tokens=max(0, self._limit - self._tokens),
            reset_tokens_s=self._until(now, 60),
            limit_requests=self._per_slice,
            remaining_requests=self._per_slice - self._requests,
            reset_requests_s=self._until(now, self._slice_s),
        )

    def reduce(self, factor: float) -> None:
        self._limit = int(self._configured * factor)

    def _roll(self, now: float) -> None:
        window = math.floor((now + self._phase_s) / 60)
        part = math.floor((now + self._phase_s) / self._slice_s)
        if window != self._window:
            self._window, self._tokens = window, 0
        if part != self._slice:
            self._slice, self._requests = part, 0

    def _until(self, now: float, length: int) -> float:
        return length - ((now + self._phase_s) % length)


class BucketQuota:
    """OpenAI's manner: tokens and requests refill continuously, one minute's worth at most.

    A rejected call still uses one request when there is one.
    """

    def __init__(self, tokens_per_minute: int, requests_per_minute: int) -> None:
        self._configured = tokens_per_minute
        self._limit = float(tokens_per_minute)
        self._rpm = float(requests_per_minute)
        self._tokens, self._requests = self._limit, self._rpm
        self._at: float | None = None

    def admit(self, now: float, charge: int) -> Ruling:
        self._refill(now)
        if self._tokens >= charge and self._requests >= 1:
            self._tokens -= charge
            self._requests -= 1
            return Ruling(is_admitted=True)
        lacks_tokens = self._tokens < charge
        if self._requests >= 1:
            self._requests -= 1
        wait = max(
            (charge - self._tokens) / (self._limit / 60) if self._limit else 60.0,
            (1 - self._requests) / (self._rpm / 60),
            _SHORTEST_WAIT_S,
        )
        short_of: Literal["tokens", "requests"] = "tokens" if lacks_tokens else "requests"
        return Ruling(is_admitted=False, short_of=short_of, retry_after_s=wait)

    def room(self, now: float) -> Room:
        self._refill(now)
        return Room(
            limit_tokens=int(self._limit),
            remaining_tokens=int(self._tokens),
            reset_tokens_s=(self._limit - self._tokens) / max(self._limit / 60, 1e-9),
            limit_requests=int(self._rpm),
            remaining_requests=int(self._requests),
            reset_requests_s=(self._rpm - self._requests) / (self._rpm / 60),
        )

    def reduce(self, factor: float) -> None:
        self._limit = self._configured * factor
        self._tokens = min(self._tokens, self._limit)

    def _refill(self, now: float) -> None:
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._tokens = min(self._limit, self._tokens + passed * self._limit / 60)
        self._requests = min(self._rpm, self._requests + passed * self._rpm / 60)


class Provisioned:
    """Provisioned throughput: a leaky bucket on utilisation, in input-token equivalents.

    units: PTUs. input_tokens_per_minute: what one unit carries. output_weight: input tokens that one
    output token costs. window_s: seconds of full throughput that make 100 %; the vendor does not publish
    it. (azure-ai-docs, concepts/provisioned-throughput.md.)
    """

    def __init__(
        self,
        units: int,
        input_tokens_per_minute: int,
        *,
        output_weight: float,
        window_s: float = 60.0,
    ) -> None:
        self._rate = units * input_tokens_per_minute / 60
        self._full = self._rate * window_s
        self.output_weight = output_weight
        self._level = 0.0
        self._at: float | None = None

    def weigh(self, *, prompt: int, cached: int, output: int) -> float:
        """The cost of a call: cached tokens are free once 1,024 of them are cached."""
        discount = cached if cached >= 1024 else 0
        return max(0, prompt - discount) + output * self.output_weight

    def admit(self, now: float, estimate: float) -> Ruling:
        """Admit below 100 % and add the estimate, however large; else say when it is below again."""
        self._drain(now)
        if self._level >= self._full:
            wait = (self._level - self._full) / self._rate + 0.001
            return Ruling(is_admitted=False, short_of="tokens", retry_after_s=wait)
        self._level += estimate
        return Ruling(is_admitted=True)

    def correct(self, now: float, estimate: float, actual: float) -> None:
        """A call ended: replace its estimate by its actual cost, whichever is larger."""
        self._drain(now)
        self._level = max(0.0, self._level + actual - estimate)

    def utilisation(self, now: float) -> float:
        """Per cent."""
        self._drain(now)
        return 100 * self._level / self._full

    def _drain(self, now: float) -> None:
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._level = max(0.0, self._level - passed * self._rate)
