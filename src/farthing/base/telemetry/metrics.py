"""The Prometheus series: filled from call records, bounded in labels, rendered as text."""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import Literal

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from farthing.base.config.settings import Telemetry
from farthing.base.telemetry.cells import Cell, Histogram, Snapshot, summed
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
_PARTS = (
    ("cached_input", "cached_input_tokens"),
    ("cache_write", "cache_write_tokens"),
    ("reasoning", "reasoning_tokens"),
    ("input_audio", "input_audio_tokens"),
    ("output_audio", "output_audio_tokens"),
)


class _Ways(msgspec.Struct):
    """The cells to which every call of one sort adds: looked up once, not once per call."""

    requests: Cell
    duration: Histogram
    overhead: Histogram
    first_token: Histogram
    attempts: Cell
    attempt_duration: Histogram
    cost: Cell
    input_tokens: Cell
    output_tokens: Cell


class Metrics:
    """All series of one process, in a registry of its own. A `CallSink`.

    Nothing here raises or blocks; money is exact in the ledger and a float only here. Gauges that are
    cheaper to read than to keep are filled by callbacks just before rendering (`before_render`).
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._specs = {spec.name: spec for spec in SPECS}
        self._cells: dict[str, dict[tuple[str, ...], Cell]] = {}
        self._histograms: dict[str, dict[tuple[str, ...], Histogram]] = {}
        for spec in SPECS:
            (self._histograms if spec.kind == "histogram" else self._cells)[spec.name] = {}
        self._ways: dict[tuple[object, ...], _Ways] = {}
        self._known: dict[str, set[str]] = {}
        self._max_values = telemetry.max_label_values
        self._callbacks: list[Callable[[], None]] = []
        self._cell("farthing_build_info", _version(), platform.python_version()).set(1)
        for name in ("farthing_unrecorded_calls_total", "farthing_in_flight"):
            self._cell(name)  # series without labels exist from the start, at zero

    # --- Calls ----------------------------------------------------------------------------------

    def record(self, call: CallRecord) -> None:
        """Count a finished call with its tries."""
        attempts = call.attempts
        if len(attempts) == 1:
            self._count_plain(call, attempts[0])
        else:
            self._count_tries(call)
        if call.cache != "off":
            self._cell("farthing_cache_total", call.cache).add()

    def _count_plain(self, call: CallRecord, attempt: AttemptRecord) -> None:
        """A call of one try, which nearly all are: its cells are found by one look-up."""
        key = (
            call.face,
            call.model,
            call.status,
            call.outcome,
            call.team,
            attempt.deployment,
            attempt.outcome,
            attempt.is_simulated,
        )
        ways = self._ways.get(key)
        if ways is None:
            ways = self._ways_of(call, attempt)
            if len(self._ways) < MAX_COMBINATIONS:
                self._ways[key] = ways
        ways.requests.value += 1
        ways.attempts.value += 1
        for histogram, seconds in (
            (ways.duration, call.latency_s),
            (ways.overhead, call.overhead_s),
            (ways.first_token, call.time_to_first_token_s),
            (ways.attempt_duration, attempt.latency_s),
        ):
            if seconds is not None:  # `Histogram.observe`, written out
                histogram.counts[bisect_left(histogram.bounds, seconds)] += 1
                histogram.total += seconds
        if attempt.nanodollars > 0:
            ways.cost.value += attempt.nanodollars / NANO_PER_DOLLAR
        usage = attempt.usage
        ways.input_tokens.value += usage.input_tokens
        ways.output_tokens.value += usage.output_tokens
        if (
            usage.cached_input_tokens
            or usage.cache_write_tokens
            or usage.reasoning_tokens
            or usage.input_audio_tokens
            or usage.output_audio_tokens
            or usage.is_estimated
            or not attempt.is_price_known
            or attempt.spilled_from is not None
        ):
            self._count_rare(attempt, served_model(call) or OTHER)

    def _count_tries(self, call: CallRecord) -> None:
        model = served_model(call) or OTHER
        served = call.served_by
        status = str(call.status)
        self._cell("farthing_requests_total", call.face, model, status, call.outcome).add()
        duration = self._histogram("farthing_request_duration_seconds", call.face, model)
        duration.observe(call.latency_s)
        self._histogram("farthing_overhead_seconds", call.face).observe(call.overhead_s)
        if call.time_to_first_token_s is not None and served is not None:
            first = ("farthing_time_to_first_token_seconds", model, served.deployment)
            self._histogram(*first).observe(call.time_to_first_token_s)
        if call.outcome == "unknown_price":
            self._cell("farthing_unknown_price_total", model, "refused").add()
        for attempt in call.attempts:
            self._count_try(call, model, attempt)
        for attempt, following in pairwise(call.attempts):
            if following.deployment != attempt.deployment:
                labels = (attempt.deployment, attempt.outcome)
                self._cell("farthing_failovers_total", *labels).add()

    def _count_try(self, call: CallRecord, model: str, attempt: AttemptRecord) -> None:
        place = attempt.deployment
        self._cell("farthing_attempts_total", place, attempt.outcome).add()
        self._histogram("farthing_attempt_duration_seconds", place).observe(attempt.latency_s)
        whose = _whose(call, model, attempt)
        dollars = max(0, attempt.nanodollars) / NANO_PER_DOLLAR
        self._cell("farthing_cost_usd_total", *whose).add(dollars)
        usage = attempt.usage
        for direction, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            self._cell("farthing_tokens_total", direction, *whose).add(tokens)
        self._count_rare(attempt, model)

    def _count_rare(self, attempt: AttemptRecord, model: str) -> None:
        place, usage = attempt.deployment, attempt.usage
        for part, field in _PARTS:
            if tokens := getattr(usage, field):
                self._cell("farthing_token_details_total", part, model, place).add(tokens)
        if usage.is_estimated:
            self._cell("farthing_estimated_usage_total", place).add()
        if not attempt.is_price_known:
            self._cell("farthing_unknown_price_total", model, "zero").add()
        if attempt.spilled_from is not None:
            self._cell("farthing_spillover_total", attempt.spilled_from).add()

    def _ways_of(self, call: CallRecord, attempt: AttemptRecord) -> _Ways:
        model, place = served_model(call) or OTHER, attempt.deployment
        whose = _whose(call, model, attempt)
        return _Ways(
            requests=self._cell(
                "farthing_requests_total", call.face, model, str(call.status), call.outcome
            ),
            duration=self._histogram("farthing_request_duration_seconds", call.face, model),
            overhead=self._histogram("farthing_overhead_seconds", call.face),
            first_token=self._histogram("farthing_time_to_first_token_seconds", model, place),
            attempts=self._cell("farthing_attempts_total", place, attempt.outcome),
            attempt_duration=self._histogram("farthing_attempt_duration_seconds", place),
            cost=self._cell("farthing_cost_usd_total", *whose),
            input_tokens=self._cell("farthing_tokens_total", "input", *whose),
            output_tokens=self._cell("farthing_tokens_total", "output", *whose),
        )

    # --- States and events that no call record tells ---------------------------------------------

    def set_in_flight(self, calls: int) -> None:
        """Calls in flight now."""
        self._cell("farthing_in_flight").set(calls)

    def set_breaker(self, deployment: str, state: Literal["closed", "half_open", "open"]) -> None:
        """A deployment's circuit breaker."""
        self._cell("farthing_breaker_state", deployment).set(_BREAKER_STATES[state])

    def set_budget(self, budget: str, *, limit: int, remaining: int) -> None:
        """A budget in its current window, nanodollars; remaining may be negative."""
        self._cell("farthing_budget_limit_usd", budget).set(limit / NANO_PER_DOLLAR)
        self._cell("farthing_budget_remaining_usd", budget).set(remaining / NANO_PER_DOLLAR)

    def set_quota(self, deployment: str, *, tokens_remaining: int) -> None:
        """What the provider says is left of this minute's tokens."""
        self._cell("farthing_quota_tokens_remaining", deployment).set(tokens_remaining)

    def set_open_reservations(self, count: int) -> None:
        """Reservations that are not settled yet."""
        self._cell("farthing_open_reservations").set(count)

    def count_budget_alert(self, budget: str, threshold: int) -> None:
        """A budget crossed a threshold, percent."""
        self._cell("farthing_budget_alerts_total", budget, str(threshold)).add()

    def count_ledger_failure(self, operation: str) -> None:
        """The ledger could not be written: `reserve`, `settle` or `release`."""
        self._cell("farthing_ledger_failures_total", operation).add()

    def count_unrecorded_call(self) -> None:
        """A call was served although the ledger could not be written."""
        self._cell("farthing_unrecorded_calls_total").add()

    def count_config_reload(self, *, is_ok: bool) -> None:
        """The settings were read again while running."""
        self._cell("farthing_config_reload_total", "ok" if is_ok else "error").add()

    def before_render(self, callback: Callable[[], None]) -> None:
        """Call `callback` before each rendering, to set gauges. It must be quick and must not raise."""
        self._callbacks.append(callback)

    def snapshot(self) -> Snapshot:
        """All numbers of this process, for another one to add to its own."""
        families: dict[str, Mapping[tuple[str, ...], Cell | Histogram]] = {
            **self._cells,
            **self._histograms,
        }
        return {
            name: [(labels, each.numbers()) for labels, each in rows.items()]
            for name, rows in families.items()
        }

    def render(self, others: Sequence[Snapshot] = ()) -> bytes:
        """All series in the Prometheus text format 0.0.4 (`CONTENT_TYPE`).

        others: snapshots of the processes that serve beside this one; counts and what is in flight are
        summed, states that all of them see (budgets, breakers) are this process's.
        """
        for callback in self._callbacks:
            callback()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(self._specs, self._added(others)))
        ProcessCollector(registry=registry)
        return generate_latest(registry)

    def _added(self, others: Sequence[Snapshot]) -> Snapshot:
        counted = [
            {name: rows for name, rows in other.items() if self._is_summed(name)}
            for other in others
        ]
        return summed([self.snapshot(), *counted])

    def _is_summed(self, name: str) -> bool:
        spec = self._specs.get(name)
        return spec is not None and (spec.kind != "gauge" or name == "farthing_in_flight")

    def _cell(self, name: str, *values: str) -> Cell:
        cells = self._cells[name]
        labels = self._labels(name, values, cells)
        cell = cells.get(labels)
        if cell is None:
            cell = cells[labels] = Cell()
        return cell

    def _histogram(self, name: str, *values: str) -> Histogram:
        histograms = self._histograms[name]
        labels = self._labels(name, values, histograms)
        histogram = histograms.get(labels)
        if histogram is None:
            histogram = histograms[labels] = Histogram(self._specs[name].buckets)
        return histogram

    def _labels(
        self, name: str, values: tuple[str, ...], present: Mapping[tuple[str, ...], object]
    ) -> tuple[str, ...]:
        bounded = tuple(map(self._bounded, self._specs[name].labels, values))
        if bounded not in present and len(present) >= MAX_COMBINATIONS:
            return (OTHER,) * len(bounded)
        return bounded

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


class _Families(Collector):
    """The numbers as the library's metric families, which it then writes as text."""

    def __init__(self, specs: Mapping[str, Spec], snapshot: Snapshot) -> None:
        self._specs = specs
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        for name, spec in self._specs.items():
            rows = self._snapshot.get(name, ())
            if spec.kind == "histogram":
                family = HistogramMetricFamily(name, spec.help, labels=spec.labels)
                for labels, numbers in rows:
                    histogram = Histogram(spec.buckets)
                    histogram.merge(numbers)
                    if any(histogram.counts):
                        family.add_metric(labels, histogram.cumulative(), histogram.total)
                yield family
                continue
            kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
            plain = kind(name, spec.help, labels=spec.labels)
            for labels, numbers in rows:
                if numbers[0] or not labels or spec.kind == "gauge":
                    plain.add_metric(labels, numbers[0])
            yield plain


def _whose(call: CallRecord, model: str, attempt: AttemptRecord) -> tuple[str, str, str, str]:
    simulated = "true" if attempt.is_simulated else "false"
    return (call.team or "", model, attempt.deployment, simulated)


def _version() -> str:
    try:
        return version("farthing")
    except PackageNotFoundError:
        return "unknown"
