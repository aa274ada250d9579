"""Sends spans and metrics of finished calls over OTLP/HTTP, without content. Needs the `otel` extra.

Spans are built after the fact, from the call's record: the record has no text, so nothing here can leak
any, whatever OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from farthing.base.config.secrets import resolve_secret
from farthing.base.config.settings import Settings
from farthing.base.telemetry.metrics import served_model
from farthing.base.telemetry.semconv import (
    OPERATIONS,
    SCHEMA_URL,
    Place,
    attempt_attributes,
    call_attributes,
    instruments,
    place,
    points,
    vocabulary,
)
from farthing.core.calls import AttemptRecord, CallRecord
from farthing.core.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Counter, Histogram
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_NANO = 1_000_000_000
_INSTALL = "pip install 'farthing[otel]'"


def open_otel(
    settings: Settings, environ: Mapping[str, str], *, base_urls: Mapping[str, str] = {}
) -> OtelSink | None:
    """The sink for `telemetry.otlp_endpoint`; None when that is not set.

    base_urls: addresses of providers whose settings name none (the vendors' own). Raises ConfigError
    when the extra is not installed or a header's secret is missing.
    """
    endpoint = settings.telemetry.otlp_endpoint
    if endpoint is None:
        return None
    try:
        tracing, metering = _providers(
            endpoint.rstrip("/"),
            {
                name: resolve_secret(value, environ).reveal()
                for name, value in settings.telemetry.otlp_headers.items()
            },
        )
    except ImportError as error:
        raise ConfigError(
            f"telemetry.otlp_endpoint is set, but the package {error.name} is not installed.",
            hint=f"Run {_INSTALL}, or remove the setting.",
        ) from error
    places = {
        name: place(provider.type, provider.base_url or base_urls.get(name))
        for name, provider in settings.providers.items()
    }
    for name, url in base_urls.items():
        places.setdefault(name, place(name, url))
    return OtelSink(tracing, metering, places, environ)


class OtelSink:
    """A `CallSink`: one span per call, one child per try, and the metrics of each try.

    Export runs in the SDK's own threads, in batches; a receiver that is down costs dropped spans, never
    a call. `aclose` sends what is left.
    """

    def __init__(
        self,
        tracing: TracerProvider,
        metering: MeterProvider,
        places: Mapping[str, Place],
        environ: Mapping[str, str],
    ) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracing = tracing
        self._metering = metering
        self._places = places
        self._is_closed = False
        self._words = vocabulary(environ)
        self._propagator = TraceContextTextMapPropagator()
        self._tracer = tracing.get_tracer("farthing", _version(), schema_url=SCHEMA_URL)
        meter = metering.get_meter("farthing", _version(), schema_url=SCHEMA_URL)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for spec in instruments(self._words):
            if spec.kind == "counter":
                self._counters[spec.name] = meter.create_counter(spec.name, spec.unit, spec.help)
            else:
                self._histograms[spec.name] = meter.create_histogram(
                    spec.name,
                    spec.unit,
                    spec.help,
                    explicit_bucket_boundaries_advisory=list(spec.buckets),
                )

    def record(self, call: CallRecord) -> None:
        """Build and queue the call's spans, and add to the metrics."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        model = served_model(call)
        span = self._tracer.start_span(
            " ".join(filter(None, ["farthing", OPERATIONS[call.kind], model])),
            context=self._parent(call),
            kind=SpanKind.SERVER,
            attributes=call_attributes(call, model),
            start_time=_nanoseconds(call.at_s),
        )
        context = set_span_in_context(span)
        for attempt in call.attempts:
            self._attempt(call, attempt, context)
        _mark(span, call.outcome)
        span.end(_nanoseconds(call.at_s + call.latency_s))

    def serve_process(self) -> None:
        """Take the spans of everybody in this process who has no provider of his own: a flow's, feedback."""
        from opentelemetry import trace

        trace.set_tracer_provider(self._tracing)

    async def aclose(self) -> None:
        """Send what is queued (the SDK waits up to 30 s for a receiver) and stop. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            await asyncio.to_thread(self._shutdown)

    def _attempt(self, call: CallRecord, attempt: AttemptRecord, context: Context) -> None:
        from opentelemetry.trace import SpanKind

        where = self._places.get(attempt.provider) or Place(type=attempt.provider)
        span = self._tracer.start_span(
            f"{OPERATIONS[call.kind]} {attempt.model}",
            context=context,
            kind=SpanKind.CLIENT,
            attributes=attempt_attributes(call, attempt, where, self._words),
            start_time=_nanoseconds(attempt.started_s),
        )
        _mark(span, attempt.outcome)
        span.end(_nanoseconds(attempt.started_s + attempt.latency_s))
        for point in points(call, attempt, where, self._words):
            if point.name in self._counters:
                self._counters[point.name].add(point.value, point.attributes)
            else:
                self._histograms[point.name].record(point.value, point.attributes)

    def _parent(self, call: CallRecord) -> Context | None:
        if call.traceparent is None:
            return None
        return self._propagator.extract({"traceparent": call.traceparent})

    def _shutdown(self) -> None:
        self._tracing.shutdown()
        self._metering.shutdown()


def _providers(endpoint: str, headers: Mapping[str, str]) -> tuple[TracerProvider, MeterProvider]:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME are read by the SDK and win over these.
    resource = Resource.create({"service.name": "farthing", "service.version": _version()})
    own = dict(headers)
    spans = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", headers=own)
    metrics = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics", headers=own)
    # The SDK's exit hooks are left out: the owner of the sink closes it.
    tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracing.add_span_processor(BatchSpanProcessor(spans))
    reader = PeriodicExportingMetricReader(metrics)
    return tracing, MeterProvider([reader], resource=resource, shutdown_on_exit=False)


def _mark(span: Span, outcome: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    # A client that hung up is no failure of the operation.
    if outcome not in ("ok", "aborted"):
        span.set_status(Status(StatusCode.ERROR, outcome))


def _nanoseconds(unix_s: float) -> int:
    return round(unix_s * _NANO)


def _version() -> str:
    try:
        return version("farthing")
    except PackageNotFoundError:
        return "unknown"
