"""The access log tells what happened to a call, in one JSON line, without words of the caller's."""

from __future__ import annotations

import io
import json

from farthing.base.telemetry.access_log import AccessLog
from farthing.core.calls import AttemptRecord, CallRecord
from farthing.core.usage import Usage


def a_call(**changes: object) -> CallRecord:
    fields: dict[str, object] = {
        "call_id": "call_1",
        "at_s": 1_795_000_000.25,
        "key_id": "key_1",
        "face": "openai",
        "dialect": "openai-chat",
        "model": "canary",
        "tags": ("canary",),
    }
    return CallRecord(**{**fields, **changes})  # type: ignore[arg-type]


def lines(*calls: CallRecord) -> list[dict[str, object]]:
    stream = io.StringIO()
    log = AccessLog(stream)
    for call in calls:
        log.record(call)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_counts_names_and_exact_money() -> None:
    attempt = AttemptRecord(
        deployment="eu",
        provider="azure",
        model="gpt-4o",
        outcome="ok",
        usage=Usage(input_tokens=7, output_tokens=2),
        nanodollars=12345,
    )
    (line,) = lines(a_call(model="chat", attempts=(attempt,), latency_s=0.5))
    assert line["at"] == "2026-11-18T11:06:40.250Z"
    assert (line["model"], line["deployment"], line["nanodollars"]) == ("chat", "eu", 12345)
    assert (line["input_tokens"], line["output_tokens"], line["attempts"]) == (7, 2, 1)


def test_names_that_callers_make_up_are_left_out() -> None:
    (line,) = lines(a_call(outcome="model_not_found", status=404))
    assert "canary" not in json.dumps(line)
    assert line["status"] == 404


def test_a_closed_stream_does_not_stop_the_gateway() -> None:
    stream = io.StringIO()
    stream.close()
    AccessLog(stream).record(a_call())
