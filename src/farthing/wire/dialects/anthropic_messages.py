"""The codec of Anthropic's Messages API (`/v1/messages`), as of anthropic-version 2023-06-01."""

from __future__ import annotations

import re

import msgspec

from farthing.core.calls import Head, Tally
from farthing.core.chat import ChatRequest, Completion
from farthing.core.errors import FarthingError
from farthing.core.models import Kind
from farthing.wire.codec import Encoded, StreamReader, StreamWriter
from farthing.wire.dialects import anthropic_answer, anthropic_errors, anthropic_request
from farthing.wire.dialects._fields import decode_head
from farthing.wire.dialects.anthropic_stream import Reader
from farthing.wire.dialects.anthropic_words import NAME
from farthing.wire.dialects.anthropic_writer import Writer
from farthing.wire.spans import with_model

#: Block types that need a capability. Quotes inside texts are escaped in JSON, so prose never matches.
_BLOCKS = re.compile(rb'"type"\s*:\s*"(image|document)"')
_FEATURES = {b"image": "images", b"document": "files"}

#: A value that the body does not have (`Raw | None` would read only null).
_ABSENT = msgspec.Raw(b"")


class _OutputConfig(msgspec.Struct):
    format: msgspec.Raw = _ABSENT


class _Thinking(msgspec.Struct):
    type: str = ""


class _Head(msgspec.Struct):
    """The routed fields. messages is only seen to be an array."""

    model: str
    messages: list[msgspec.Raw]
    max_tokens: int | None = None
    stream: bool | None = None
    service_tier: str | None = None
    temperature: float | None = None
    tools: list[msgspec.Raw] | None = None
    output_config: _OutputConfig | None = None
    output_format: msgspec.Raw = _ABSENT
    thinking: _Thinking | None = None


_HEAD = msgspec.json.Decoder(_Head)


def _is_given(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in (b"", b"null")


class AnthropicMessages:
    """The Messages dialect. Stateless."""

    name = NAME
    kind: Kind = "chat"

    def head(self, body: bytes) -> Head:
        """The routed fields. Raises BadRequestError."""
        found = decode_head(body, _HEAD)
        features = {_FEATURES[kind] for kind in set(_BLOCKS.findall(body))}
        if found.tools:
            features.add("tools")
        if _is_given(found.output_format) or (
            found.output_config and _is_given(found.output_config.format)
        ):
            features.add("json_schema")
        if found.thinking is not None and found.thinking.type not in ("", "disabled"):
            features.add("reasoning")
        return Head(
            model=found.model,
            stream=found.stream or False,
            include_usage=True,
            max_output_tokens=found.max_tokens,
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
        return anthropic_request.decode_request(body)

    def encode_request(self, request: ChatRequest) -> Encoded:
        """A body for this vendor. Raises UntranslatableError."""
        return anthropic_request.encode_request(request)

    def decode_response(self, body: bytes) -> Completion:
        """A whole answer. Raises UpstreamProtocolError."""
        return anthropic_answer.decode_response(body)

    def tally(self, body: bytes) -> Tally:
        """What accounting reads of a whole answer. Raises UpstreamProtocolError."""
        return anthropic_answer.tally(body)

    def encode_response(self, completion: Completion) -> Encoded:
        """A body for a client of this dialect."""
        return anthropic_answer.encode_response(completion)

    def reader(self, *, want_deltas: bool) -> StreamReader:
        """A reader of one stream."""
        return Reader(want_deltas=want_deltas)

    def writer(self, head: Head, *, call_id: str, created: int) -> StreamWriter:
        """A writer of one stream. This dialect states no time of creation."""
        return Writer(head, call_id=call_id)

    def encode_error(self, error: FarthingError) -> bytes:
        """An error body for a client."""
        return anthropic_errors.encode_error(error)

    def decode_error(self, status: int, headers: dict[str, str], body: bytes) -> FarthingError:
        """The vendor's error answer as one of ours."""
        return anthropic_errors.decode_error(status, headers, body)


def encode_token_count(input_tokens: int) -> bytes:
    """The answer of `/v1/messages/count_tokens`, whose request has the shape of a message request."""
    return msgspec.json.encode({"input_tokens": input_tokens})


CODEC = AnthropicMessages()
