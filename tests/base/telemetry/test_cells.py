"""The numbers of several processes add up to what one process would have counted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.base.config.settings import Telemetry
from farthing.base.telemetry.cells import Histogram, Snapshot, decode, encode, summed
from farthing.base.telemetry.metrics import Metrics
from farthing.core.calls import CallRecord
from tests.base.telemetry.test_metrics import a_call

CALLS = st.builds(
    a_call,
    face=st.sampled_from(["openai", "anthropic"]),
    team=st.sampled_from([None, "sales"]),
    outcome=st.sampled_from(["ok", "aborted"]),
    latency_s=st.sampled_from([0.005, 0.5, 7.0, 5000.0]),
    cache=st.sampled_from(["off", "hit"]),
)


def counted(calls: Sequence[CallRecord]) -> Metrics:
    metrics = Metrics(Telemetry())
    for call in calls:
        metrics.record(call)
    return metrics


def samples(rendered: bytes) -> dict[str, float]:
    """Series with its labels to value, without what is each process's own."""
    own = ("#", "process_", "farthing_build_info")
    kept = [line for line in rendered.decode().splitlines() if not line.startswith(own)]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in kept}


@given(st.lists(CALLS, max_size=8), st.lists(CALLS, max_size=8), st.lists(CALLS, max_size=8))
def test_a_scrape_shows_the_sum_over_all_processes(
    mine: list[CallRecord], theirs: list[CallRecord], ended: list[CallRecord]
) -> None:
    others = [decode(encode(counted(calls).snapshot())) for calls in (theirs, ended)]
    together = samples(counted(mine).render([summed(others)]))
    assert together == pytest.approx(samples(counted(mine).render(others)))
    assert together == pytest.approx(samples(counted([*mine, *theirs, *ended]).render()))


def test_states_that_all_see_are_not_added_up() -> None:
    metrics, other = Metrics(Telemetry()), Metrics(Telemetry())
    for each in (metrics, other):
        each.set_budget("all", limit=10**9, remaining=5 * 10**8)
        each.set_in_flight(3)
    text = metrics.render([other.snapshot()]).decode()
    assert 'farthing_budget_limit_usd{budget="all"} 1.0' in text
    assert "farthing_in_flight 6.0" in text


def test_a_row_of_another_versions_buckets_is_left_out() -> None:
    first: Snapshot = {"h": [(("a",), [1.0, 2.0, 3.0])]}
    other: Snapshot = {"h": [(("a",), [1.0, 2.0]), (("b",), [1.0])]}
    assert summed([first, other]) == {"h": [(("a",), [1.0, 2.0, 3.0]), (("b",), [1.0])]}


def test_buckets_are_told_as_prometheus_wants_them() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)
    assert histogram.cumulative() == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]


def test_bytes_that_are_no_snapshot_are_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(b"\xc1")
