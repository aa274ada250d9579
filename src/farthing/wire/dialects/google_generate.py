"""The codec of Google's generateContent and streamGenerateContent (Gemini API v1beta and Vertex AI)."""

from __future__ import annotations

import re

import msgspec

from farthing.core.calls import Head, Tally
from farthing.core.chat import ChatRequest, Completion
from farthing.core.errors import BadRequestError, FarthingError
from farthing.core.models import Kind
from farthing.wire.codec import Encoded, StreamReader, StreamWriter
from farthing.wire.dialects import google_answer, google_errors, google_request
from farthing.wire.dialects._fields import decode_head
from farthing.wire.dialects.google_stream import Reader, Writer
from farthing.wire.dialects.google_words import NAME

#: Media types of inline and linked data. Quotes inside texts are escaped in JSON: prose never matches.
_MEDIA = re.compile(rb'"mime_?[tT]ype"\s*:\s*"(image|audio|application|video)/')
_FEATURES = {b"image": "images", b"audio": "audio", b"application": "files", b"video": "files"}

#: A value that the body does not have (`Raw | None` would read only null).
_ABSENT = msgspec.Raw(b"")


class _Config(msgspec.Struct, rename="camel"):
    max_output_tokens: int | None = None
    candidate_count: int | None = None
    temperature: float | None = None
    response_schema: msgspec.Raw = _ABSENT
    response_json_schema: msgspec.Raw = _ABSENT
    thinking_config: msgspec.Raw = _ABSENT


class _SnakeConfig(msgspec.Struct):
    max_output_tokens: int | None = None
    candidate_count: int | None = None
    temperature: float | None = None
    response_schema: msgspec.Raw = _ABSENT
    response_json_schema: msgspec.Raw = _ABSENT
    thinking_config: msgspec.Raw = _ABSENT


class _Head(msgspec.Struct):
    """The routed fields, in both spellings. contents is only seen to be an array."""

    contents: list[msgspec.Raw]
    model: str = ""
    tools: list[msgspec.Raw] | None = None
    camel_config: _Config | None = msgspec.field(name="generationConfig", default=None)
    snake_config: msgspec.Raw = msgspec.field(name="generation_config", default=_ABSENT)
    camel_tier: str | None = msgspec.field(name="serviceTier", default=None)
    snake_tier: str | None = msgspec.field(name="service_tier", default=None)


_HEAD = msgspec.json.Decoder(_Head)
_SNAKE = msgspec.json.Decoder(_SnakeConfig)


def _is_given(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in (b"", b"null")


class GoogleGenerate:
    """The generateContent dialect. Stateless. Model and stream flag are in the URL: faces fill them in."""

    name = NAME
    kind: Kind = "chat"

    def head(self, body: bytes) -> Head:
        """The routed fields; `model` empty and `stream` False. Raises BadRequestError."""
        found = decode_head(body, _HEAD)
        config: _Config | _SnakeConfig = found.camel_config or _Config()
        if found.camel_config is None and _is_given(found.snake_config):
            config = decode_head(bytes(found.snake_config), _SNAKE)
        if config.candidate_count is not None and config.candidate_count < 1:
            raise BadRequestError(
                "The field 'generationConfig.candidateCount' must be at least 1.",
                param="generationConfig.candidateCount",
            )
        features = {_FEATURES[kind] for kind in set(_MEDIA.findall(body))}
        if found.tools:
            features.add("tools")
        if _is_given(config.response_schema) or _is_given(config.response_json_schema):
            features.add("json_schema")
        if _is_given(config.thinking_config):
            features.add("reasoning")
        return Head(
            model=found.model,
            include_usage=True,
            max_output_tokens=config.max_output_tokens,
            n=config.candidate_count or 1,
            service_tier=found.camel_tier or found.snake_tier,
            temperature=config.temperature,
            input_bytes=len(body),
            features=frozenset(features),
        )

    def with_model(self, body: bytes, model: str) -> bytes:
        """The body as it is: the model stands in the URL."""
        return body

    def decode_request(self, body: bytes) -> ChatRequest:
        """The request in core words. Raises BadRequestError."""
        return google_request.decode_request(body)

    def encode_request(self, request: ChatRequest) -> Encoded:
        """A body for this vendor. Raises UntranslatableError."""
        return google_request.encode_request(request)

    def decode_response(self, body: bytes) -> Completion:
        """A whole answer. Raises UpstreamProtocolError."""
        return google_answer.decode_response(body)

    def tally(self, body: bytes) -> Tally:
        """What accounting reads of a whole answer. Raises UpstreamProtocolError."""
        return google_answer.tally(body)

    def encode_response(self, completion: Completion) -> Encoded:
        """A body for a client of this dialect."""
        return google_answer.encode_response(completion)

    def reader(self, *, want_deltas: bool) -> StreamReader:
        """A reader of one `alt=sse` stream."""
        return Reader(want_deltas=want_deltas)

    def writer(self, head: Head, *, call_id: str, created: int) -> StreamWriter:
        """A writer of one `alt=sse` stream. This dialect states no time of creation."""
        return Writer(head, call_id=call_id)

    def encode_error(self, error: FarthingError) -> bytes:
        """An error body for a client."""
        return google_errors.encode_error(error)

    def decode_error(self, status: int, headers: dict[str, str], body: bytes) -> FarthingError:
        """The vendor's error answer as one of ours."""
        return google_errors.decode_error(status, headers, body)


CODEC = GoogleGenerate()
