"""What OpenTelemetry has to do with served flows: the caller's trace and baggage, and feedback as a span.

The flow's own code decides whether spans go anywhere: its tracer provider is used, and without one nothing
is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from farthing.wire.edge.exchange import Exchange

SPAN = "promptflow-feedback"
FIELD = "feedback"
_HEADERS = ("traceparent", "tracestate", "baggage")


@contextmanager
def in_callers_trace(exchange: Exchange) -> Iterator[None]:
    """Spans that are made in the block belong to the trace that the request names, with its baggage."""
    carrier = {name: value for name in _HEADERS if (value := exchange.header(name))}
    if not carrier:
        yield
        return
    try:
        from opentelemetry import context
        from opentelemetry.baggage.propagation import W3CBaggagePropagator
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:  # then nobody here makes spans either
        yield
        return
    found = TraceContextTextMapPropagator().extract(carrier)
    token = context.attach(W3CBaggagePropagator().extract(carrier, context=found))
    try:
        yield
    finally:
        context.detach(token)


def keep_feedback(body: bytes, *, is_flat: bool) -> None:
    """Make a span of what a caller thinks of an answer. is_flat: an attribute for each field of the body."""
    try:
        from opentelemetry import baggage, trace
    except ImportError:
        return
    tracer = trace.get_tracer("farthing.flows")
    with tracer.start_as_current_span(SPAN) as span:
        for name, value in attributes(body, is_flat=is_flat).items():
            span.set_attribute(name, value)
        for name, value in baggage.get_all().items():
            span.set_attribute(name, str(value))


def attributes(body: bytes, *, is_flat: bool) -> dict[str, Any]:
    """The attributes of the span; the text as it is where it is no JSON object to take apart."""
    text = body.decode("utf-8", "replace")
    if is_flat:
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = None
        if isinstance(fields, dict):
            return {name: _attribute(value) for name, value in fields.items()}
    return {FIELD: text}


def _attribute(value: object) -> str | int | float | bool | list[str]:
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list):
        return [each if isinstance(each, str) else json.dumps(each) for each in value]
    return json.dumps(value)
