"""The codec of OpenAI's chat completions, which Azure OpenAI and most other vendors speak as well."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Head, Tally
from farthing.core.chat import ChatRequest, Completion
from farthing.core.errors import FarthingError
from farthing.core.models import Kind
from farthing.wire.codec import Encoded, StreamReader, StreamWriter
from farthing.wire.dialects import openai_chat_answer, openai_chat_request, openai_errors
from farthing.wire.dialects._fields import decode_head
from farthing.wire.dialects.openai_chat_content import NAME
from farthing.wire.dialects.openai_chat_sight import look
from farthing.wire.dialects.openai_chat_stream import Reader, Writer
from farthing.wire.spans import model_span, with_model


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Format(msgspec.Struct):
    type: str | None = None


class _Head(msgspec.Struct):
    """The routed fields. model is absent on Azure's classic paths."""

    messages: msgspec.Raw
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
    web_search_options: msgspec.Raw | None = None


class _Messages(msgspec.Struct):
    messages: list[msgspec.Raw]


_TOOLS, _JSON_SCHEMA, _REASONING = map(frozenset, (["tools"], ["json_schema"], ["reasoning"]))
_HEAD = msgspec.json.Decoder(_Head)
_MESSAGES = msgspec.json.Decoder(_Messages)


class OpenAIChat:
    """The chat completions dialect. Stateless."""

    name = NAME
    kind: Kind = "chat"

    def head(self, body: bytes) -> Head:
        """The routed fields. Raises BadRequestError."""
        found = decode_head(body, _HEAD)
        messages = bytes(found.messages)
        if not messages.startswith(b"["):
            decode_head(body, _MESSAGES)  # raises: it is no array
        is_searching = found.web_search_options is not None
        features, size = look(body, messages, found.tools, is_open=is_searching)
        if found.tools or found.functions:
            features |= _TOOLS
        if found.response_format is not None and found.response_format.type == "json_schema":
            features |= _JSON_SCHEMA
        if found.reasoning_effort not in (None, "none"):
            features |= _REASONING
        # Vendors differ in which of the two counts when both are there: the larger one bounds the cost.
        given, also = found.max_tokens, found.max_completion_tokens
        if given is None or (also is not None and also > given):
            given = also
        options = found.stream_options
        return Head(
            model=found.model,
            stream=found.stream or False,
            include_usage=bool(options and options.include_usage),
            max_output_tokens=given,
            n=found.n or 1,
            service_tier=found.service_tier,
            temperature=found.temperature,
            input_bytes=len(body),
            features=features,
            input=size,
            model_span=model_span(body, messages) if found.model else None,
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
