"""The codec of OpenAI's Responses API (`/v1/responses`), which Azure OpenAI speaks as well."""

from __future__ import annotations

import re

import msgspec

from farthing.core.calls import Head, Tally
from farthing.core.chat import ChatRequest, Completion
from farthing.core.errors import BadRequestError, FarthingError
from farthing.core.models import Kind
from farthing.wire.codec import Encoded, StreamReader, StreamWriter
from farthing.wire.dialects import openai_errors, openai_responses_answer, openai_responses_request
from farthing.wire.dialects._fields import decode_head
from farthing.wire.dialects.openai_responses_items import NAME
from farthing.wire.dialects.openai_responses_stream import Reader
from farthing.wire.dialects.openai_responses_writer import Writer
from farthing.wire.spans import with_model

#: Content part types that need a capability. Quotes inside texts are escaped in JSON, so prose never
#: matches.
_PARTS = re.compile(rb'"type"\s*:\s*"(input_image|input_audio|input_file)"')
_FEATURES = {b"input_image": "images", b"input_audio": "audio", b"input_file": "files"}

#: A value that the body does not have (`Raw | None` would read only null).
_ABSENT = msgspec.Raw(b"")


class _Format(msgspec.Struct):
    type: str | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Head(msgspec.Struct):
    """The routed fields. Items are only seen to be an array. model is absent on Azure's classic paths."""

    model: str = ""
    input: str | list[msgspec.Raw] | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    service_tier: str | None = None
    temperature: float | None = None
    tools: list[msgspec.Raw] | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    previous_response_id: msgspec.Raw = _ABSENT
    conversation: msgspec.Raw = _ABSENT
    prompt: msgspec.Raw = _ABSENT


_HEAD = msgspec.json.Decoder(_Head)


class OpenAIResponses:
    """The responses dialect. Stateless."""

    name = NAME
    kind: Kind = "chat"

    def head(self, body: bytes) -> Head:
        """The routed fields. Raises BadRequestError. Streams always end with their usage."""
        found = decode_head(body, _HEAD)
        goes_on = (found.previous_response_id, found.conversation, found.prompt)
        if found.input is None and all(bytes(raw) in (b"", b"null") for raw in goes_on):
            raise BadRequestError("The field 'input' is missing.", param="input")
        features = {_FEATURES[kind] for kind in set(_PARTS.findall(body))}
        if found.tools:
            features.add("tools")
        form = found.text.format if found.text is not None else None
        if form is not None and form.type == "json_schema":
            features.add("json_schema")
        if found.reasoning is not None and found.reasoning.effort not in (None, "none"):
            features.add("reasoning")
        return Head(
            model=found.model,
            stream=found.stream or False,
            include_usage=True,
            max_output_tokens=found.max_output_tokens,
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
        return openai_responses_request.decode_request(body)

    def encode_request(self, request: ChatRequest) -> Encoded:
        """A body for a provider. Raises UntranslatableError."""
        return openai_responses_request.encode_request(request)

    def decode_response(self, body: bytes) -> Completion:
        """A whole answer. Raises UpstreamProtocolError, and the vendor's error for a failed one."""
        return openai_responses_answer.decode_response(body)

    def tally(self, body: bytes) -> Tally:
        """What accounting reads of a whole answer. Raises as `decode_response` does."""
        return openai_responses_answer.tally(body)

    def encode_response(self, completion: Completion) -> Encoded:
        """A body for a client."""
        return openai_responses_answer.encode_response(completion)

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


CODEC = OpenAIResponses()
