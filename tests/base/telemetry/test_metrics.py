"""Series are filled from call records, and stay bounded whatever callers send."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from farthing.base.config.settings import Telemetry
from farthing.base.telemetry import metrics as module
from farthing.base.telemetry.metrics import SPECS, Metrics
from farthing.core.calls import AttemptRecord, CallRecord
from farthing.core.usage import Usage


def a_call(**changes: object) -> CallRecord:
    attempts = (
        AttemptRecord(
            deployment="eu", provider="azure", model="gpt-4o", outcome="upstream_timeout"
        ),
        AttemptRecord(
            deployment="us",
            provider="openai",
            model="gpt-4o",
            outcome="ok",
            usage=Usage(input_tokens=1000, output_tokens=50, cached_input_tokens=400),
            nanodollars=2_500_000,
            latency_s=0.8,
        ),
    )
    fields: dict[str, object] = {
        "call_id": "call_1",
        "at_s": 1_800_000_000.0,
        "key_id": "key_1",
        "face": "openai",
        "dialect": "openai-chat",
        "model": "chat",
        "team": "sales",
        "attempts": attempts,
        "latency_s": 1.2,
        "time_to_first_token_s": 0.4,
        "overhead_s": 0.0004,
    }
    return CallRecord(**{**fields, **changes})  # type: ignore[arg-type]


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.render().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


def test_a_call_is_counted_with_its_money_tokens_and_times() -> None:
    metrics = Metrics(Telemetry())
    metrics.record(a_call())
    whose = {"team": "sales", "model": "chat", "deployment": "us", "simulated": "false"}
    assert value(metrics, "farthing_cost_usd_total", **whose) == 0.0025
    assert value(metrics, "farthing_tokens_total", direction="input", **whose) == 1000
    assert value(metrics, "farthing_tokens_total", direction="output", **whose) == 50
    details = {"part": "cached_input", "model": "chat", "deployment": "us"}
    assert value(metrics, "farthing_token_details_total", **details) == 400
    request = {"face": "openai", "model": "chat", "status": "200", "outcome": "ok"}
    assert value(metrics, "farthing_requests_total", **request) == 1
    first = {"model": "chat", "deployment": "us"}
    assert value(metrics, "farthing_time_to_first_token_seconds_sum", **first) == 0.4


def test_a_try_that_failed_and_went_on_elsewhere_is_a_failover() -> None:
    metrics = Metrics(Telemetry())
    metrics.record(a_call())
    left = {"deployment": "eu", "outcome": "upstream_timeout"}
    assert value(metrics, "farthing_failovers_total", **left) == 1
    assert value(metrics, "farthing_attempts_total", **left) == 1
    assert value(metrics, "farthing_attempts_total", deployment="us", outcome="ok") == 1


def test_a_made_up_model_name_never_becomes_a_label() -> None:
    metrics = Metrics(Telemetry())
    metrics.record(a_call(model="canary", attempts=(), outcome="model_not_found", status=404))
    metrics.record(a_call(model="canary", attempts=(), outcome="invalid_request", status=400))
    assert b"canary" not in metrics.render()
    metrics.record(a_call(attempts=(), outcome="budget_exceeded", status=402))
    request = {"face": "openai", "model": "chat", "status": "402", "outcome": "budget_exceeded"}
    assert value(metrics, "farthing_requests_total", **request) == 1


def test_label_values_beyond_the_bound_are_counted_as_other() -> None:
    metrics = Metrics(Telemetry(max_label_values=3))
    for number in range(10):
        metrics.record(a_call(model=f"m{number}", attempts=(), cache="hit"))
    models = {
        dict(labels)["model"]: count
        for (name, labels), count in samples(metrics).items()
        if name == "farthing_requests_total"
    }
    assert models == {"m0": 1, "m1": 1, "m2": 1, "other": 7}


def test_combinations_of_labels_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COMBINATIONS", 20)
    metrics = Metrics(Telemetry())
    for number in range(25):
        metrics.count_budget_alert(f"b{number}", 80)
    found = [name for name, _ in samples(metrics) if name == "farthing_budget_alerts_total"]
    assert len(found) == 21
    assert value(metrics, "farthing_budget_alerts_total", budget="other", threshold="other") == 5


def test_an_unknown_price_is_counted_whether_refused_or_booked_as_zero() -> None:
    metrics = Metrics(Telemetry())
    metrics.record(a_call(attempts=(), outcome="unknown_price", status=400))
    free = AttemptRecord(
        deployment="d", provider="p", model="m", outcome="ok", is_price_known=False
    )
    metrics.record(a_call(attempts=(free,)))
    name = "farthing_unknown_price_total"
    assert value(metrics, name, model="chat", action="refused") == 1
    assert value(metrics, name, model="chat", action="zero") == 1


def test_states_and_events_are_shown() -> None:
    metrics = Metrics(Telemetry())
    metrics.set_breaker("eu", "open")
    metrics.set_budget("all", limit=10**10, remaining=-(10**9))
    metrics.set_quota("eu", tokens_remaining=77)
    metrics.set_open_reservations(2)
    metrics.count_ledger_failure("settle")
    metrics.count_unrecorded_call()
    metrics.count_config_reload(is_ok=False)
    metrics.before_render(lambda: metrics.set_in_flight(3))
    assert value(metrics, "farthing_breaker_state", deployment="eu") == 2
    assert value(metrics, "farthing_budget_remaining_usd", budget="all") == -1
    assert value(metrics, "farthing_quota_tokens_remaining", deployment="eu") == 77
    assert value(metrics, "farthing_open_reservations") == 2
    assert value(metrics, "farthing_ledger_failures_total", operation="settle") == 1
    assert value(metrics, "farthing_unrecorded_calls_total") == 1
    assert value(metrics, "farthing_config_reload_total", result="error") == 1
    assert value(metrics, "farthing_in_flight") == 3


def test_two_gateways_in_one_process_do_not_share_series() -> None:
    one, other = Metrics(Telemetry()), Metrics(Telemetry())
    one.set_in_flight(5)
    assert value(other, "farthing_in_flight") == 0


def test_the_table_is_well_formed() -> None:
    assert len({spec.name for spec in SPECS}) == len(SPECS)
    for spec in SPECS:
        assert spec.name.startswith("farthing_")
        assert spec.name.endswith("_total") == (spec.kind == "counter")
        assert bool(spec.buckets) == (spec.kind == "histogram")
        assert spec.buckets == tuple(sorted(spec.buckets))
        assert spec.help.endswith(".")


def test_no_created_series_double_the_page() -> None:
    metrics = Metrics(Telemetry())
    metrics.record(a_call())
    assert b"_created" not in metrics.render()
