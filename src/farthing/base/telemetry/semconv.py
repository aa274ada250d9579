"""The words of OpenTelemetry's GenAI conventions, as tables over call records. Imports no OpenTelemetry.

Source: open-telemetry/semantic-conventions-genai, docs/gen-ai/client-inference.md and
client-embeddings.md, status Development, read 2026-11-24. Two vocabularies stand side by side. ESTABLISHED
is what receivers have understood since 1.37 (one token histogram). LATEST replaces it by a counter per
kind of token, and has a duration for each kind of call. As the conventions ask, the newer one is spoken
when OTEL_SEMCONV_STABILITY_OPT_IN lists `gen_ai_latest_experimental`.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from farthing.core.calls import AttemptRecord, CallRecord

OPT_IN_VARIABLE = "OTEL_SEMCONV_STABILITY_OPT_IN"
OPT_IN = "gen_ai_latest_experimental"
SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai/1.42.0"

#: Our provider types → `gen_ai.provider.name`; any other type is its own name.
PROVIDER_NAMES = {
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
OPERATIONS = {"chat": "chat", "embed": "embeddings"}

_CACHE_WRITE = "gen_ai.usage.cache_creation.input_tokens"
#: Span attribute → field of Usage, in the established words.
USAGE_ATTRIBUTES = {
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cached_input_tokens",
    _CACHE_WRITE: "cache_write_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
}
#: Attributes that a receiver may expect to be there even at zero.
_ALWAYS_SENT = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")

#: Powers of four from 1 to 67,108,864, as the convention prescribes for token counts.
TOKEN_BUCKETS = tuple(float(4**power) for power in range(14))
#: Seconds, as the convention prescribes for durations.
DURATION_BUCKETS = tuple(0.01 * 2**power for power in range(14))

Attributes = dict[str, str | int | float | bool]


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One OpenTelemetry instrument."""

    name: str
    kind: str
    unit: str
    help: str
    buckets: tuple[float, ...] = ()


class Point(msgspec.Struct, frozen=True):
    """One measurement for the instrument called `name`."""

    name: str
    value: float
    attributes: Attributes


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """How calls are timed and tokens counted.

    durations: kind of call → name; first_chunk: its name; histogram: by `gen_ai.token.type`; counters:
    name → field of Usage, for chat; embeddings: a histogram of their input; cache_write: span attribute.
    """

    durations: Mapping[str, str]
    first_chunk: str
    histogram: str | None = None
    counters: Mapping[str, str] = {}
    embeddings: str | None = None
    cache_write: str = _CACHE_WRITE


ESTABLISHED = Vocabulary(
    durations={
        "chat": "gen_ai.client.operation.duration",
        "embed": "gen_ai.client.operation.duration",
    },
    first_chunk="gen_ai.client.operation.time_to_first_chunk",
    histogram="gen_ai.client.token.usage",
)
LATEST = Vocabulary(
    durations={
        "chat": "gen_ai.client.inference.duration",
        "embed": "gen_ai.client.embeddings.duration",
    },
    first_chunk="gen_ai.client.inference.time_to_first_chunk",
    embeddings="gen_ai.client.embeddings.operation.input_tokens",
    cache_write="gen_ai.usage.cache_write.input_tokens",
    counters={
        "gen_ai.client.inference.usage.input_tokens": "input_tokens",
        "gen_ai.client.inference.usage.output_tokens": "output_tokens",
        "gen_ai.client.inference.usage.cache_read.input_tokens": "cached_input_tokens",
        "gen_ai.client.inference.usage.cache_write.input_tokens": "cache_write_tokens",
        "gen_ai.client.inference.usage.reasoning.output_tokens": "reasoning_tokens",
    },
)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a configured provider is: its type, and its host and port when known."""

    type: str
    address: str | None = None
    port: int | None = None


def vocabulary(environ: Mapping[str, str]) -> Vocabulary:
    """The vocabulary that the environment asks for."""
    wanted = environ.get(OPT_IN_VARIABLE, "").split(",")
    return LATEST if OPT_IN in (item.strip() for item in wanted) else ESTABLISHED


def instruments(words: Vocabulary) -> list[Instrument]:
    """Every instrument of a vocabulary."""
    found = [
        Instrument(
            name=name,
            kind="histogram",
            unit="s",
            help="Duration of a try at a provider.",
            buckets=DURATION_BUCKETS,
        )
        for name in dict.fromkeys(words.durations.values())
    ]
    found.append(
        Instrument(
            name=words.first_chunk,
            kind="histogram",
            unit="s",
            help="Time to the first chunk of a streamed answer.",
            buckets=DURATION_BUCKETS,
        )
    )
    found += [
        Instrument(name=name, kind="histogram", unit="{token}", help=text, buckets=TOKEN_BUCKETS)
        for name, text in (
            (words.histogram, "Tokens of a try, input and output."),
            (words.embeddings, "Input tokens of a try at embeddings."),
        )
        if name
    ]
    found += [
        Instrument(name=name, kind="counter", unit="{token}", help=f"Billed {field}.")
        for name, field in words.counters.items()
    ]
    return found


def place(provider_type: str, base_url: str | None) -> Place:
    """What is known of a provider's address; credentials in it are not looked at."""
    try:
        parts = urlsplit(base_url or "")
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return Place(type=provider_type)
    return Place(type=provider_type, address=parts.hostname, port=port if parts.hostname else None)


def call_attributes(call: CallRecord, model: str | None) -> Attributes:
    """The outer span: the call as its client saw it. model: None for a name that nobody serves.

    It carries no `gen_ai.usage`: receivers sum usage over spans, and the tries carry it.
    """
    found: Attributes = {
        "farthing.call.id": call.call_id,
        "farthing.face": call.face,
        "farthing.key.id": call.key_id,
        "farthing.cache": call.cache,
        "farthing.cost.nanodollars": call.nanodollars,
        "farthing.overhead_s": call.overhead_s,
        "http.response.status_code": call.status,
    }
    if model is not None:
        found["gen_ai.request.model"] = model
    if call.team is not None:
        found["farthing.team"] = call.team
    if call.outcome != "ok":
        found["error.type"] = call.outcome
    return found


def attempt_attributes(
    call: CallRecord, attempt: AttemptRecord, where: Place, words: Vocabulary = ESTABLISHED
) -> Attributes:
    """An inner span: one try at one deployment, with what the vendor bills for it."""
    found = _dimensions(call, attempt, where)
    found["farthing.deployment"] = attempt.deployment
    found["farthing.cost.nanodollars"] = attempt.nanodollars
    found["farthing.simulated"] = attempt.is_simulated
    found["gen_ai.request.stream"] = call.is_stream
    if attempt.outcome == "ok":
        found["gen_ai.response.model"] = attempt.model
    if attempt.status is not None:
        found["http.response.status_code"] = attempt.status
    if attempt.time_to_first_token_s is not None:
        found["gen_ai.response.time_to_first_chunk"] = attempt.time_to_first_token_s
    for name, field in USAGE_ATTRIBUTES.items():
        tokens: int = getattr(attempt.usage, field)
        if tokens or name in _ALWAYS_SENT:
            found[words.cache_write if name == _CACHE_WRITE else name] = tokens
    return found


def points(
    call: CallRecord, attempt: AttemptRecord, where: Place, words: Vocabulary
) -> list[Point]:
    """The measurements of one try."""
    attributes = _dimensions(call, attempt, where)
    found = [Point(words.durations[call.kind], attempt.latency_s, attributes)]
    if attempt.time_to_first_token_s is not None:
        found.append(Point(words.first_chunk, attempt.time_to_first_token_s, attributes))
    usage = attempt.usage
    if words.histogram and (usage.input_tokens or usage.output_tokens):
        for direction, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            typed = {**attributes, "gen_ai.token.type": direction}
            found.append(Point(words.histogram, tokens, typed))
    if call.kind == "chat":
        for name, field in words.counters.items():
            found += _by_modality(name, field, attempt, attributes)
    elif words.embeddings and usage.input_tokens:
        found.append(Point(words.embeddings, usage.input_tokens, attributes))
    return found


def _by_modality(
    name: str, field: str, attempt: AttemptRecord, attributes: Attributes
) -> list[Point]:
    usage = attempt.usage
    total: int = getattr(usage, field)
    parts = {"audio": 0, "image": 0}
    if field == "input_tokens":
        parts = {"audio": usage.input_audio_tokens, "image": usage.input_image_tokens}
    elif field == "output_tokens":
        parts = {"audio": usage.output_audio_tokens, "image": usage.output_image_tokens}
    if not total:
        # The convention wants billable tokens reported even where the vendor reported none.
        is_base = field in ("input_tokens", "output_tokens")
        unknown = {**attributes, "gen_ai.token.modality": "unknown"}
        return [Point(name, 0, unknown)] if is_base else []
    parts["text"] = total - sum(parts.values())
    return [
        Point(name, tokens, {**attributes, "gen_ai.token.modality": modality})
        for modality, tokens in parts.items()
        if tokens
    ]


def _dimensions(call: CallRecord, attempt: AttemptRecord, where: Place) -> Attributes:
    found: Attributes = {
        "gen_ai.operation.name": OPERATIONS[call.kind],
        "gen_ai.provider.name": PROVIDER_NAMES.get(where.type, where.type),
        "gen_ai.request.model": attempt.model,
    }
    if where.address is not None:
        found["server.address"] = where.address
    if where.port is not None:
        found["server.port"] = where.port
    if attempt.outcome != "ok":
        found["error.type"] = attempt.outcome
    return found
