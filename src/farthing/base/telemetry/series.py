"""The table of Prometheus series: names, labels, buckets, meaning. The reference page is made from it."""

from __future__ import annotations

from typing import Literal

import msgspec

#: Seconds. From a cached answer to a reasoning model's ten minutes.
_DURATION = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
#: Seconds. Time to first token: dense where people begin to wait.
_FIRST_TOKEN = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60)
#: Seconds. Farthing's own share: the design's bound is half a millisecond.
_OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One series. buckets: upper bounds in the series' unit, histograms only."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Spec:
    return Spec(name=name, kind="counter", help=text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> Spec:
    return Spec(name=name, kind="gauge", help=text, labels=labels)


def _seconds(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Spec:
    return Spec(name=name, kind="histogram", help=text, labels=labels, buckets=buckets)


SPECS: tuple[Spec, ...] = (
    _counter(
        "farthing_requests_total",
        "Finished calls by their answer to the client; outcome is ok, aborted or an error code.",
        *("face", "model", "status", "outcome"),
    ),
    _seconds(
        "farthing_request_duration_seconds",
        "Whole call, from arrival to the last byte.",
        _DURATION,
        *("face", "model"),
    ),
    _seconds(
        "farthing_time_to_first_token_seconds",
        "From arrival to the first content event, streamed calls.",
        _FIRST_TOKEN,
        *("model", "deployment"),
    ),
    _seconds(
        "farthing_overhead_seconds", "Time a call spent in Farthing itself.", _OVERHEAD, "face"
    ),
    _counter(
        "farthing_cost_usd_total",
        "Dollars charged, as booked in the ledger (float; the ledger is exact).",
        *("team", "model", "deployment", "simulated"),
    ),
    _counter(
        "farthing_tokens_total",
        "Tokens billed; direction is input or output.",
        *("direction", "team", "model", "deployment", "simulated"),
    ),
    _counter(
        "farthing_token_details_total",
        "Parts of farthing_tokens_total: cached_input, cache_write, reasoning, input_audio, output_audio.",
        *("part", "model", "deployment"),
    ),
    _counter(
        "farthing_estimated_usage_total",
        "Tries that ended without the vendor's usage and were charged by estimate.",
        "deployment",
    ),
    _counter(
        "farthing_attempts_total",
        "Tries at a deployment; outcome is ok, aborted or an error code.",
        *("deployment", "outcome"),
    ),
    _seconds(
        "farthing_attempt_duration_seconds", "One try at a deployment.", _DURATION, "deployment"
    ),
    _counter(
        "farthing_failovers_total",
        "Calls that went on elsewhere after a try here failed.",
        *("deployment", "outcome"),
    ),
    _counter(
        "farthing_spillover_total",
        "Tries that spilled from this provisioned deployment to metered capacity.",
        "deployment",
    ),
    _gauge(
        "farthing_breaker_state",
        "Circuit breaker: 0 closed, 1 half open, 2 open (out of rotation).",
        "deployment",
    ),
    _gauge("farthing_in_flight", "Calls in flight."),
    _gauge(
        "farthing_quota_tokens_remaining",
        "Tokens per minute left at a deployment, as last reported.",
        "deployment",
    ),
    _gauge(
        "farthing_budget_limit_usd", "A budget's limit in its current window, dollars.", "budget"
    ),
    _gauge(
        "farthing_budget_remaining_usd",
        "What a budget has left in its current window, reservations taken off, dollars.",
        "budget",
    ),
    _counter(
        "farthing_budget_alerts_total",
        "Alerts raised because a budget crossed a threshold (percent).",
        *("budget", "threshold"),
    ),
    _counter("farthing_cache_total", "Cache look-ups; result is hit or miss.", "result"),
    _counter(
        "farthing_ledger_failures_total",
        "Ledger writes that failed; operation is reserve, settle or release.",
        "operation",
    ),
    _counter(
        "farthing_unrecorded_calls_total",
        'Calls served although the ledger could not be written (ledger.on_failure = "serve_unrecorded").',
    ),
    _gauge("farthing_open_reservations", "Reservations that are not settled yet."),
    _counter(
        "farthing_unknown_price_total",
        "Calls without a known price; action is refused or zero.",
        *("model", "action"),
    ),
    _counter(
        "farthing_config_reload_total", "Reloads of the settings; result is ok or error.", "result"
    ),
    _gauge("farthing_build_info", "Always 1; the labels say what is running.", "version", "python"),
)
