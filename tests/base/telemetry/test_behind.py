"""A slow sink delays nobody, loses nothing that it has room for, and says what it lost."""

from __future__ import annotations

import logging
from threading import Event

import pytest

from farthing.base.telemetry import behind
from farthing.base.telemetry.behind import Behind
from farthing.core.calls import CallRecord
from tests.base.telemetry.test_access_log import a_call


class Slow:
    """Takes its first record only when it is told to go on."""

    def __init__(self) -> None:
        self.gate = Event()
        self.started = Event()
        self.taken: list[str] = []

    def record(self, call: CallRecord) -> None:
        self.started.set()
        self.gate.wait(10)
        self.taken.append(call.call_id)


def test_all_records_arrive_in_order_before_it_closes() -> None:
    sink = Slow()
    sink.gate.set()
    queue = Behind(sink)
    for number in range(500):
        queue.record(a_call(call_id=f"call_{number}"))
    queue.close()
    queue.close()
    assert sink.taken == [f"call_{number}" for number in range(500)]


def test_records_beyond_the_bound_are_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(behind, "MAX_WAITING", 3)
    sink = Slow()
    queue = Behind(sink)
    queue.record(a_call(call_id="first"))
    assert sink.started.wait(10)
    for number in range(5):
        queue.record(a_call(call_id=f"call_{number}"))
    with caplog.at_level(logging.WARNING):
        sink.gate.set()
        queue.close()
    assert sink.taken == ["first", "call_0", "call_1", "call_2"]
    assert "too slow: 2" in caplog.text


def test_a_sink_that_fails_gets_the_next_record() -> None:
    taken: list[str] = []

    class Failing:
        def record(self, call: CallRecord) -> None:
            if not taken:
                taken.append("failed")
                raise ZeroDivisionError
            taken.append(call.call_id)

    queue = Behind(Failing())
    queue.record(a_call())
    queue.record(a_call(call_id="second"))
    queue.close()
    assert taken == ["failed", "second"]
