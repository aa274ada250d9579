"""The codec of OpenAI's legacy completions (`/v1/completions`): one text is continued."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Head, Tally
from farthing.core.chat import ChatRequest, Completion
from farthing.core.errors import FarthingError
from farthing.core.models import Kind
from farthing.wire.codec import Encoded, StreamReader, StreamWriter
from farthing.wire.dialects import (
    openai_chat_answer,
    openai_completions_answer,
    openai_completions_request,
    openai_errors,
)
from farthing.wire.dialects._fields import decode_head
from farthing.wire.dialects.openai_chat_stream import Reader
from farthing.wire.dialects.openai_completions_answer import Writer
from farthing.wire.dialects.openai_completions_request import NAME
from farthing.wire.spans import with_model


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Head(msgspec.Struct):
    """The routed fields. model is absent on Azure's classic paths."""

    prompt: str | list[str | int | list[int]]
    model: str = ""
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None
    temperature: float | None = None


_HEAD = msgspec.json.Decoder(_Head)


class OpenAICompletions:
    """The legacy completions dialect. Stateless."""

    name = NAME
    kind: Kind = "chat"

    def head(self, body: bytes) -> Head:
        """The routed fields. Raises BadRequestError. n counts every answer that is billed."""
        found = decode_head(body, _HEAD)
        options = found.stream_options
        answers = max(found.n or 1, found.best_of or 1)
        return Head(
            model=found.model,
            stream=found.stream or False,
            include_usage=bool(options and options.include_usage),
            max_output_tokens=found.max_tokens,
            n=_prompts(found.prompt) * answers,
            temperature=found.temperature,
            input_bytes=len(body),
        )

    def with_model(self, body: bytes, model: str) -> bytes:
        """The body with another model name and every other byte as it was."""
        return with_model(body, model)

    def decode_request(self, body: bytes) -> ChatRequest:
        """The request in core words. Raises BadRequestError, UntranslatableError."""
        return openai_completions_request.decode_request(body)

    def encode_request(self, request: ChatRequest) -> Encoded:
        """A body for a provider. Raises UntranslatableError."""
        return openai_completions_request.encode_request(request)

    def decode_response(self, body: bytes) -> Completion:
        """A whole answer. Raises UpstreamProtocolError."""
        return openai_completions_answer.decode_response(body)

    def tally(self, body: bytes) -> Tally:
        """What accounting reads of a whole answer. Raises UpstreamProtocolError."""
        return openai_chat_answer.tally(body)

    def encode_response(self, completion: Completion) -> Encoded:
        """A body for a client."""
        return openai_completions_answer.encode_response(completion)

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


def _prompts(prompt: str | list[str | int | list[int]]) -> int:
    """How many texts are continued: tokens that stand alone are one."""
    is_several = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
    return len(prompt) if is_several else 1


CODEC = OpenAICompletions()
