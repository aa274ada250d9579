"""The codec of OpenAI's chat completions, which Azure OpenAI and most other vendors speak as well."""

from __future__ import annotations

import re

import msgspec

from farthing.core.calls import Head, Tally
from farthing.core.chat import ChatRequest, Completion
from farthing.core.errors import FarthingError
from farthing.core.models import Kind
from farthing.wire.codec import Encoded, StreamReader, StreamWriter
from farthing.wire.dialects import openai_chat_answer, openai_chat_request, openai_errors
from farthing.wire.dialects._fields import decode_head
from farthing.wire.dialects.openai_chat_content import NAME
from farthing.wire.dialects.openai_chat_stream import Reader, Writer
from farthing.wire.spans import with_model

#: Content part types that need a capability. Quotes inside texts are escaped in JSON, so prose never
#: matches.
_PARTS = re.compile(rb'"type"\s*:\s*"(image_url|input_audio|file)"')
_FEATURES = {b"image_url": "images", b"input_audio": "audio", b"file": "files"}


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Format(msgspec.Struct):
    type: str | None = None


class _Head(msgspec.Struct):
    """The routed fields. messages is only seen to be an array. model is absent on Azure's classic paths."""

    messages: list[msgspec.Raw]
    model: str = ""
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    service_tier: str | None = None
    temperature: float | None = None
    tools: list[msgspec.Raw] | None = None
    functions: list[msgspec.Raw] | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None


_HEAD = msgspec.json.Decoder(_Head)


class OpenAIChat:
    """The chat completions dialect. Stateless."""

    name = NAME
    kind: Kind = "chat"

    def head(self, body: bytes) -> Head:
        """The routed fields. Raises BadRequestError."""
        found = decode_head(body, _HEAD)
        features = {_FEATURES[kind] for kind in set(_PARTS.findall(body))}
        if found.tools or found.functions:
            features.add("tools")
        if found.response_format is not None and found.response_format.type == "json_schema":
            features.add("json_schema")
        if found.reasoning_effort not in (None, "none"):
            features.add("reasoning")
        # Vendors differ in which of the two counts when both are there: the larger one bounds the cost.
        given = (found.max_tokens, found.max_completion_tokens)
        bounds = [bound for bound in given if bound is not None]
        return Head(
            model=found.model,
            stream=found.stream or False,
            include_usage=bool(found.stream_options and found.stream_options.include_usage),
            max_output_tokens=max(bounds) if bounds else None,
            n=found.n or 1,
            service_tier=found.service_tier,
            temperature=found.temperature,
            input_bytes=len(body),
            features=frozenset(features),
        )

    def with_model(self, body: bytes, model: str) -> bytes:
        """The body with another model name and every other byte as it was."""
        return with_model(body, model)

    def decode_request(self, body: bytes) -> ChatRequest:
        """The request in core words. Raises BadRequestError."""
        return openai_chat_request.decode_request(body)

    def encode_request(self, request: ChatRequest) -> Encoded:
        """A body for a provider. Raises UntranslatableError."""
        return openai_chat_request.encode_request(request)

    def decode_response(self, body: bytes) -> Completion:
        """A whole answer. Raises UpstreamProtocolError."""
        return openai_chat_answer.decode_response(body)

    def tally(self, body: bytes) -> Tally:
        """What accounting reads of a whole answer. Raises UpstreamProtocolError."""
        return openai_chat_answer.tally(body)

    def encode_response(self, completion: Completion) -> Encoded:
        """A body for a client."""
        return openai_chat_answer.encode_response(completion)

    def reader(self, *, want_deltas: bool) -> StreamReader:
        """A reader of one stream."""
        return Reader(want_deltas=want_deltas)

    def writer(self, head: Head, *, call_id: str, created: int) -> StreamWriter:
        """A writer of one stream."""
        return Writer(head, call_id=call_id, created=created)

    def encode_error(self, error: FarthingError) -> bytes:
        """An error body for a client."""
        return openai_errors.encode_error(error)

    def decode_error(self, status: int, headers: dict[str, str], body: bytes) -> FarthingError:
        """A provider's error answer as one of ours."""
        return openai_errors.decode_error(status, headers, body)


CODEC = OpenAIChat()
