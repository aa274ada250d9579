"""What aggregations measure: `log_metric` of prompt flow, read by whoever runs the flow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Metrics = dict[str, float]

_METRICS: ContextVar[Metrics | None] = ContextVar("farthing_flow_metrics", default=None)


def log_metric(key: str, value: float, variant_id: str | None = None) -> None:
    """Keep a metric for the run; the last value of a key counts. Outside of a run it goes nowhere.

    variant_id: of the old kind of runs with several variants; prompt flow takes it and does nothing with it.
    """
    metrics = _METRICS.get()
    if metrics is not None:
        metrics[key] = value


@contextmanager
def collecting() -> Iterator[Metrics]:
    """The metrics that are logged in the block, in threads with a copy of its context too."""
    metrics: Metrics = {}
    token = _METRICS.set(metrics)
    try:
        yield metrics
    finally:
        _METRICS.reset(token)


def numbers(metrics: Mapping[str, Any]) -> Metrics:
    """The metrics that are numbers; a function may log anything."""
    found = {}
    for name, value in metrics.items():
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError):
            continue
    return found
