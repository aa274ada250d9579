"""Spans and metrics reach a real OTLP/HTTP receiver in the GenAI conventions' words, without content."""

from __future__ import annotations

import builtins
import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType

import msgspec
import pytest

from farthing.base.config.settings import Provider, Settings, Telemetry
from farthing.base.telemetry.otel import open_otel
from farthing.base.telemetry.semconv import ESTABLISHED, LATEST, vocabulary
from farthing.core.calls import AttemptRecord, CallRecord
from farthing.core.errors import ConfigError
from farthing.core.usage import Usage

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the otel extra is absent")

AT = 1_800_000_000.0
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALL = CallRecord(
    call_id="call_1",
    at_s=AT,
    key_id="key_1",
    face="openai",
    dialect="openai-chat",
    model="chat",
    team="sales",
    is_stream=True,
    latency_s=2.0,
    traceparent=f"00-{TRACE}-b7ad6b7169203331-01",
    attempts=(
        AttemptRecord(
            deployment="eu",
            provider="swedish",
            model="gpt-4o",
            outcome="upstream_timeout",
            started_s=AT,
            latency_s=1.0,
        ),
        AttemptRecord(
            deployment="us",
            provider="openai",
            model="gpt-4o",
            outcome="ok",
            status=200,
            usage=Usage(
                input_tokens=100, output_tokens=20, cached_input_tokens=60, input_audio_tokens=10
            ),
            nanodollars=777,
            started_s=AT + 1.0,
            latency_s=0.9,
            time_to_first_token_s=0.25,
        ),
    ),
)


class Receiver:
    """An OTLP/HTTP receiver on loopback that keeps what it decoded."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

        self.spans: dict[str, object] = {}
        self.metrics: dict[str, object] = {}
        self.headers: list[Mapping[str, str]] = []
        self.raw = b""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.raw += body
                receiver.headers.append(dict(self.headers))
                if self.path == "/v1/traces":
                    for resource in traces.ExportTraceServiceRequest.FromString(
                        body
                    ).resource_spans:
                        for scope in resource.scope_spans:
                            receiver.spans |= {span.name: span for span in scope.spans}
                else:
                    request = metrics.ExportMetricsServiceRequest.FromString(body)
                    for resource in request.resource_metrics:
                        for scope in resource.scope_metrics:
                            receiver.metrics |= {metric.name: metric for metric in scope.metrics}
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def settings(url: str) -> Settings:
    return Settings(
        telemetry=Telemetry(
            otlp_endpoint=url, otlp_headers={"dd-api-key": "env:DD", "dd-otlp-source": "llmobs"}
        ),
        providers={
            "swedish": Provider(type="azure", base_url="https://eu.example.com"),
            "openai": Provider(type="openai"),
        },
    )


async def export(receiver: Receiver, environ: Mapping[str, str]) -> None:
    urls = {"openai": "https://api.openai.com/v1"}
    sink = open_otel(settings(receiver.url), {"DD": "secret", **environ}, base_urls=urls)
    assert sink is not None
    sink.record(CALL)
    await sink.aclose()
    await sink.aclose()


def attributes(thing: object) -> dict[str, object]:
    found = {}
    for pair in thing.attributes:  # type: ignore[attr-defined]
        kind = pair.value.WhichOneof("value")
        found[pair.key] = getattr(pair.value, kind)
    return found


async def test_a_call_is_a_span_with_one_child_per_try_under_the_clients_trace(
    receiver: Receiver,
) -> None:
    await export(receiver, {})
    call, attempt = receiver.spans["farthing chat chat"], receiver.spans["chat gpt-4o"]
    assert call.trace_id.hex() == TRACE  # type: ignore[attr-defined]
    assert call.parent_span_id.hex() == "b7ad6b7169203331"  # type: ignore[attr-defined]
    assert attempt.parent_span_id == call.span_id  # type: ignore[attr-defined]
    assert call.start_time_unix_nano == AT * 10**9  # type: ignore[attr-defined]
    assert call.end_time_unix_nano == (AT + 2) * 10**9  # type: ignore[attr-defined]
    assert attempt.start_time_unix_nano == (AT + 1) * 10**9  # type: ignore[attr-defined]


async def test_spans_speak_the_conventions_words(receiver: Receiver) -> None:
    await export(receiver, {})
    found = attributes(receiver.spans["chat gpt-4o"])
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.provider.name"] == "openai"
    assert found["gen_ai.request.model"] == found["gen_ai.response.model"] == "gpt-4o"
    assert found["gen_ai.usage.input_tokens"] == 100
    assert found["gen_ai.usage.output_tokens"] == 20
    assert found["gen_ai.usage.cache_read.input_tokens"] == 60
    assert (found["server.address"], found["server.port"]) == ("api.openai.com", 443)
    assert found["farthing.cost.nanodollars"] == 777
    outer = attributes(receiver.spans["farthing chat chat"])
    assert not any(name.startswith("gen_ai.usage") for name in outer)
    assert outer["farthing.call.id"] == "call_1"


async def test_the_secret_header_reaches_the_receiver_and_no_message_attribute_exists(
    receiver: Receiver,
) -> None:
    await export(receiver, {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT"})
    sent = {name.lower(): value for headers in receiver.headers for name, value in headers.items()}
    assert (sent["dd-api-key"], sent["dd-otlp-source"]) == ("secret", "llmobs")
    assert b"messages" not in receiver.raw


async def test_metrics_use_the_established_token_histogram_by_default(receiver: Receiver) -> None:
    await export(receiver, {})
    points = receiver.metrics["gen_ai.client.token.usage"].histogram.data_points  # type: ignore[attr-defined]
    sums = {attributes(point)["gen_ai.token.type"]: point.sum for point in points}
    assert sums == {"input": 100, "output": 20}
    durations = receiver.metrics["gen_ai.client.operation.duration"]
    errors = {
        attributes(point).get("error.type"): attributes(point)["gen_ai.provider.name"]
        for point in durations.histogram.data_points  # type: ignore[attr-defined]
    }
    assert errors == {"upstream_timeout": "azure.ai.openai", None: "openai"}


async def test_the_opt_in_switches_to_the_new_counters_by_modality(receiver: Receiver) -> None:
    await export(receiver, {"OTEL_SEMCONV_STABILITY_OPT_IN": "http, gen_ai_latest_experimental"})
    assert "gen_ai.client.token.usage" not in receiver.metrics
    assert "gen_ai.client.inference.duration" in receiver.metrics
    assert "gen_ai.client.operation.duration" not in receiver.metrics
    points = receiver.metrics["gen_ai.client.inference.usage.input_tokens"].sum.data_points  # type: ignore[attr-defined]
    counted = {
        (attributes(p)["gen_ai.token.modality"], attributes(p).get("error.type")): p.as_int
        for p in points
    }
    assert counted == {
        ("text", None): 90,
        ("audio", None): 10,
        ("unknown", "upstream_timeout"): 0,
    }


async def test_the_opt_in_gives_embeddings_metrics_of_their_own(receiver: Receiver) -> None:
    sink = open_otel(
        settings(receiver.url),
        {"DD": "x", "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"},
    )
    assert sink is not None
    sink.record(msgspec.structs.replace(CALL, kind="embed"))
    await sink.aclose()
    assert "gen_ai.client.embeddings.duration" in receiver.metrics
    assert "gen_ai.client.embeddings.operation.input_tokens" in receiver.metrics
    assert "gen_ai.client.inference.usage.input_tokens" not in receiver.metrics


def test_the_opt_in_is_one_item_of_a_list() -> None:
    assert vocabulary({}) is ESTABLISHED
    assert vocabulary({"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest"}) is ESTABLISHED
    assert vocabulary({"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}) is LATEST


def test_without_an_endpoint_there_is_no_sink() -> None:
    assert open_otel(Settings(), {}) is None


def test_without_the_extra_the_error_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def absent(name: str, *rest: object, **more: object) -> ModuleType:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return original(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match=r"pip install 'farthing\[otel\]'"):
        open_otel(settings("http://127.0.0.1:1"), {"DD": "x"})


async def test_a_call_for_a_name_that_nobody_serves_is_told_without_the_name(
    receiver: Receiver,
) -> None:
    sink = open_otel(settings(receiver.url), {"DD": "x"})
    assert sink is not None
    sink.record(
        msgspec.structs.replace(CALL, model="canary", attempts=(), outcome="model_not_found")
    )
    await sink.aclose()
    assert "farthing chat" in receiver.spans
    assert b"canary" not in receiver.raw


_FLOW = """
import asyncio, sys
from farthing.base.config.settings import Settings, Telemetry
from farthing.base.telemetry.otel import open_otel
from opentelemetry import trace

async def main():
    sink = open_otel(Settings(telemetry=Telemetry(otlp_endpoint=sys.argv[1])), {})
    sink.serve_process()
    with trace.get_tracer("a flow").start_as_current_span("step"):
        pass
    await sink.aclose()

asyncio.run(main())
"""


def test_spans_of_a_flows_own_code_go_the_same_way(receiver: Receiver) -> None:
    # In a process of its own: the provider of a process is set once.
    subprocess.run([sys.executable, "-c", _FLOW, receiver.url], check=True, timeout=30)
    assert "step" in receiver.spans
