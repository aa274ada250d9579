"""The Prometheus series: filled from call records, bounded in labels, rendered as text."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from farthing.base.config.settings import Telemetry
from farthing.base.telemetry.series import SPECS, Spec
from farthing.core.calls import AttemptRecord, CallRecord
from farthing.core.money import NANO_PER_DOLLAR

__all__ = ["CONTENT_TYPE", "SPECS", "Metrics", "served_model"]

#: What `/metrics` says of its body.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Label value for everything beyond the bound.
OTHER = "other"
#: Combinations of labels per series; one more and it is counted under `other` everywhere.
MAX_COMBINATIONS = 10_000
_MAX_VALUE_CHARACTERS = 100

_BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}
#: Outcomes without an attempt after which the model's name is known to be a configured one. Any other
#: refused call may name anything, and a name that a caller makes up belongs neither in a label nor a log.
_RESOLVED = frozenset(
    {
        "budget_exceeded",
        "context_length_exceeded",
        "no_capacity",
        "rate_limit_exceeded",
        "unknown_price",
    }
)
_PARTS = {
    "cached_input": "cached_input_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
    "input_audio": "input_audio_tokens",
    "output_audio": "output_audio_tokens",
}


#: A Counter, Gauge or Histogram, as the series' line in the table says.
_Child = Any


class Metrics:
    """All series of one process, in a registry of its own. A `CallSink`.

    Nothing here raises or blocks; money is exact in the ledger and a float only here. Gauges that are
    cheaper to read than to keep are filled by callbacks just before rendering (`before_render`).
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._families = {spec.name: _family(spec, self._registry) for spec in SPECS}
        self._children: dict[str, dict[tuple[str, ...], _Child]] = {spec.name: {} for spec in SPECS}
        self._labels = {spec.name: spec.labels for spec in SPECS}
        self._known: dict[str, set[str]] = {}
        self._max_values = telemetry.max_label_values
        self._callbacks: list[Callable[[], None]] = []
        ProcessCollector(registry=self._registry)
        self._child("farthing_build_info", _version(), platform.python_version()).set(1)
        for name in ("farthing_unrecorded_calls_total", "farthing_in_flight"):
            self._child(name)  # series without labels exist from the start, at zero

    # --- Calls ----------------------------------------------------------------------------------

    def record(self, call: CallRecord) -> None:
        """Count a finished call with its tries."""
        model = served_model(call) or OTHER
        served = call.served_by
        status = str(call.status)
        self._child("farthing_requests_total", call.face, model, status, call.outcome).inc()
        self._child("farthing_request_duration_seconds", call.face, model).observe(call.latency_s)
        self._child("farthing_overhead_seconds", call.face).observe(call.overhead_s)
        if call.time_to_first_token_s is not None and served is not None:
            child = self._child("farthing_time_to_first_token_seconds", model, served.deployment)
            child.observe(call.time_to_first_token_s)
        if call.cache != "off":
            self._child("farthing_cache_total", call.cache).inc()
        if call.outcome == "unknown_price":
            self._child("farthing_unknown_price_total", model, "refused").inc()
        for attempt in call.attempts:
            self._attempt(call, model, attempt)
        for attempt, following in pairwise(call.attempts):
            if following.deployment != attempt.deployment:
                labels = (attempt.deployment, attempt.outcome)
                self._child("farthing_failovers_total", *labels).inc()

    def _attempt(self, call: CallRecord, model: str, attempt: AttemptRecord) -> None:
        place = attempt.deployment
        self._child("farthing_attempts_total", place, attempt.outcome).inc()
        self._child("farthing_attempt_duration_seconds", place).observe(attempt.latency_s)
        whose = (call.team or "", model, place, "true" if attempt.is_simulated else "false")
        dollars = max(0, attempt.nanodollars) / NANO_PER_DOLLAR
        self._child("farthing_cost_usd_total", *whose).inc(dollars)
        usage = attempt.usage
        for direction, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if tokens:
                self._child("farthing_tokens_total", direction, *whose).inc(tokens)
        for part, field in _PARTS.items():
            if tokens := getattr(usage, field):
                self._child("farthing_token_details_total", part, model, place).inc(tokens)
        if usage.is_estimated:
            self._child("farthing_estimated_usage_total", place).inc()
        if not attempt.is_price_known:
            self._child("farthing_unknown_price_total", model, "zero").inc()
        if attempt.spilled_from is not None:
            self._child("farthing_spillover_total", attempt.spilled_from).inc()

    # --- States and events that no call record tells ---------------------------------------------

    def set_in_flight(self, calls: int) -> None:
        """Calls in flight now."""
        self._child("farthing_in_flight").set(calls)

    def set_breaker(self, deployment: str, state: Literal["closed", "half_open", "open"]) -> None:
        """A deployment's circuit breaker."""
        self._child("farthing_breaker_state", deployment).set(_BREAKER_STATES[state])

    def set_budget(self, budget: str, *, limit: int, remaining: int) -> None:
        """A budget in its current window, nanodollars; remaining may be negative."""
        self._child("farthing_budget_limit_usd", budget).set(limit / NANO_PER_DOLLAR)
        self._child("farthing_budget_remaining_usd", budget).set(remaining / NANO_PER_DOLLAR)

    def set_quota(self, deployment: str, *, tokens_remaining: int) -> None:
        """What the provider says is left of this minute's tokens."""
        self._child("farthing_quota_tokens_remaining", deployment).set(tokens_remaining)

    def set_open_reservations(self, count: int) -> None:
        """Reservations that are not settled yet."""
        self._child("farthing_open_reservations").set(count)

    def count_budget_alert(self, budget: str, threshold: int) -> None:
        """A budget crossed a threshold, percent."""
        self._child("farthing_budget_alerts_total", budget, str(threshold)).inc()

    def count_ledger_failure(self, operation: str) -> None:
        """The ledger could not be written: `reserve`, `settle` or `release`."""
        self._child("farthing_ledger_failures_total", operation).inc()

    def count_unrecorded_call(self) -> None:
        """A call was served although the ledger could not be written."""
        self._child("farthing_unrecorded_calls_total").inc()

    def count_config_reload(self, *, is_ok: bool) -> None:
        """The settings were read again while running."""
        self._child("farthing_config_reload_total", "ok" if is_ok else "error").inc()

    def before_render(self, callback: Callable[[], None]) -> None:
        """Call `callback` before each rendering, to set gauges. It must be quick and must not raise."""
        self._callbacks.append(callback)

    def render(self) -> bytes:
        """All series in the Prometheus text format 0.0.4 (`CONTENT_TYPE`)."""
        for callback in self._callbacks:
            callback()
        return generate_latest(_WithoutCreated(self._registry))

    def _child(self, name: str, *values: str) -> _Child:
        children = self._children[name]
        bounded = tuple(map(self._bounded, self._labels[name], values))
        child = children.get(bounded)
        if child is None:
            if len(children) >= MAX_COMBINATIONS:
                bounded = (OTHER,) * len(bounded)
            family = self._families[name]
            child = children[bounded] = family.labels(*bounded) if bounded else family
        return child

    def _bounded(self, label: str, value: str) -> str:
        known = self._known.setdefault(label, set())
        if value in known:
            return value
        if len(known) >= self._max_values:
            return OTHER
        value = value[:_MAX_VALUE_CHARACTERS]
        known.add(value)
        return value


def served_model(call: CallRecord) -> str | None:
    """The model that the caller asked for, when it is a name of ours; None for a name nobody serves."""
    is_ours = bool(call.attempts) or call.cache == "hit" or call.outcome in _RESOLVED
    return call.model if is_ours else None


class _WithoutCreated(Collector):
    """The registry without `_created` series, which the text format 0.0.4 has no use for.

    prometheus-client turns them off for the whole process only; that is not ours to do in a library.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric


def _family(spec: Spec, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if spec.kind == "counter":
        return Counter(spec.name, spec.help, spec.labels, registry=registry)
    if spec.kind == "gauge":
        return Gauge(spec.name, spec.help, spec.labels, registry=registry)
    return Histogram(spec.name, spec.help, spec.labels, registry=registry, buckets=spec.buckets)


def _version() -> str:
    try:
        return version("farthing")
    except PackageNotFoundError:
        return "unknown"
