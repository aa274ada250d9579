"""The access log: one JSON line per finished call, counts and names only."""

from __future__ import annotations

import sys
from typing import TextIO

import msgspec

from farthing.base.telemetry.metrics import served_model
from farthing.core.calls import CallRecord


class AccessLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. at: RFC 3339, UTC. model None: the caller asked for a name that nobody serves.

    Money is integer nanodollars, as in the ledger. Tags and session are left out: callers write them.
    """

    at: str
    call_id: str
    key_id: str
    face: str
    kind: str
    status: int
    outcome: str
    model: str | None = None
    team: str | None = None
    stream: bool = False
    deployment: str | None = None
    provider: str | None = None
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    nanodollars: int = 0
    cache: str = "off"
    latency_s: float = 0.0
    time_to_first_token_s: float | None = None
    overhead_s: float = 0.0
    simulated: bool = False


class AccessLog:
    """A `CallSink` that writes to standard error (or `stream`). A stream that is gone silences it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._encoder = msgspec.json.Encoder()

    def record(self, call: CallRecord) -> None:
        """Write the call's line."""
        try:
            stream = self._stream or sys.stderr
            stream.write(self._encoder.encode(access_line(call)).decode() + "\n")
            stream.flush()
        except (OSError, ValueError):
            # The reader of the pipe left, or the stream is closed; serving calls goes on.
            return


def access_line(call: CallRecord) -> AccessLine:
    """What is told of a call."""
    served, usage = call.served_by, call.usage
    return AccessLine(
        at=_rfc3339(call.at_s),
        call_id=call.call_id,
        key_id=call.key_id,
        face=call.face,
        kind=call.kind,
        status=call.status,
        outcome=call.outcome,
        model=served_model(call),
        team=call.team,
        stream=call.is_stream,
        deployment=served.deployment if served else None,
        provider=served.provider if served else None,
        attempts=len(call.attempts),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        nanodollars=call.nanodollars,
        cache=call.cache,
        latency_s=round(call.latency_s, 6),
        time_to_first_token_s=_rounded(call.time_to_first_token_s),
        overhead_s=round(call.overhead_s, 6),
        simulated=served.is_simulated if served else False,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _rfc3339(unix_s: float) -> str:
    from datetime import UTC, datetime

    return (
        datetime.fromtimestamp(unix_s, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
