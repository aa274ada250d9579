"""The codec of OpenAI's embeddings (`/v1/embeddings`): read for routing and billing, passed on as it is."""

from __future__ import annotations

from typing import NoReturn

import msgspec

from farthing.core.calls import Head, Tally
from farthing.core.chat import ChatRequest, Completion, EmbedRequest
from farthing.core.errors import (
    BadRequestError,
    FarthingError,
    UntranslatableError,
    UpstreamProtocolError,
)
from farthing.core.models import Kind
from farthing.core.usage import Usage
from farthing.wire.codec import Encoded, StreamReader, StreamWriter
from farthing.wire.dialects import openai_errors
from farthing.wire.dialects._fields import Fields, decode_head
from farthing.wire.spans import with_model

NAME = "openai-embeddings"

#: The most inputs of one call (platform.openai.com/docs/api-reference/embeddings, 2026-11-24).
MAX_INPUTS = 2048

_FORMS = "must be a text, an array of texts, an array of tokens, or an array of token arrays."


class _Head(msgspec.Struct):
    """The routed fields. model is absent on Azure's classic paths."""

    input: str | list[str | int | list[int]]
    model: str = ""
    dimensions: int | None = None
    encoding_format: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw]
    model: str | None = None
    usage: _Usage | None = None


_HEAD = msgspec.json.Decoder(_Head)
_ANSWER = msgspec.json.Decoder(_Answer)


class OpenAIEmbeddings:
    """The embeddings dialect. Stateless. Embeddings have no chat form and no stream."""

    name = NAME
    kind: Kind = "embed"

    def head(self, body: bytes) -> Head:
        """The routed fields. Raises BadRequestError for an input of no known form."""
        found = decode_head(body, _HEAD)
        _count(found.input)
        if found.dimensions is not None and found.dimensions < 1:
            raise BadRequestError("The field 'dimensions' must be at least 1.", param="dimensions")
        if found.encoding_format not in (None, "float", "base64"):
            raise BadRequestError(
                "The field 'encoding_format' must be 'float' or 'base64'.", param="encoding_format"
            )
        return Head(model=found.model, kind="embed", input_bytes=len(body))

    def with_model(self, body: bytes, model: str) -> bytes:
        """The body with another model name and every other byte as it was."""
        return with_model(body, model)

    def decode_request(self, body: bytes) -> ChatRequest:
        """Raises UntranslatableError; `decode_embed` reads an embedding request."""
        _refuse()

    def encode_request(self, request: ChatRequest) -> Encoded:
        """Raises UntranslatableError."""
        _refuse()

    def decode_response(self, body: bytes) -> Completion:
        """Raises UntranslatableError."""
        _refuse()

    def tally(self, body: bytes) -> Tally:
        """The tokens that were embedded. Raises UpstreamProtocolError."""
        try:
            answer = _ANSWER.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UpstreamProtocolError(
                "The provider's answer is no list of embeddings: broken JSON, or fields missing."
            ) from None
        usage = None
        if answer.usage is not None:
            tokens = answer.usage.prompt_tokens
            tokens = answer.usage.total_tokens if tokens is None else tokens
            usage = Usage(input_tokens=max(0, tokens or 0))
        return Tally(usage=usage, model=answer.model, is_complete=bool(answer.data))

    def encode_response(self, completion: Completion) -> Encoded:
        """Raises UntranslatableError."""
        _refuse()

    def reader(self, *, want_deltas: bool) -> StreamReader:
        """Raises UntranslatableError."""
        _refuse()

    def writer(self, head: Head, *, call_id: str, created: int) -> StreamWriter:
        """Raises UntranslatableError."""
        _refuse()

    def encode_error(self, error: FarthingError) -> bytes:
        """An error body for a client."""
        return openai_errors.encode_error(error)

    def decode_error(self, status: int, headers: dict[str, str], body: bytes) -> FarthingError:
        """A provider's error answer as one of ours."""
        return openai_errors.decode_error(status, headers, body)


def decode_embed(body: bytes) -> EmbedRequest:
    """An embedding request in core words. Raises BadRequestError naming the field."""
    CODEC.head(body)
    fields = Fields(body, fail=BadRequestError)
    given = fields.raw("input")
    assert given is not None  # The head was read, so the input is there.
    inputs = [given]
    if bytes(given).startswith(b"["):
        members = msgspec.json.decode(given, type=list[msgspec.Raw])
        # Tokens that stand alone are one input, not one input each.
        inputs = [given] if _is_token(members[0]) else [member.copy() for member in members]
    return EmbedRequest(
        model=fields.string("model") or "",
        inputs=tuple(inputs),
        dimensions=fields.integer("dimensions"),
        encoding_format=fields.string("encoding_format"),
        user=fields.string("user"),
        extra=fields.rest(),
    )


def _is_token(raw: msgspec.Raw) -> bool:
    return bytes(raw)[:1] not in (b'"', b"[")


def _count(given: str | list[str | int | list[int]]) -> None:
    if not given:
        raise BadRequestError("The field 'input' is empty.", param="input")
    if isinstance(given, str):
        return
    kinds = {type(member) for member in given}
    if len(kinds) > 1:
        raise BadRequestError(f"The field 'input' {_FORMS}", param="input")
    if kinds != {int} and len(given) > MAX_INPUTS:
        raise BadRequestError(
            f"The field 'input' has {len(given):,} members; one call embeds {MAX_INPUTS:,} at most.",
            hint="Split it over several calls.",
            param="input",
        )
    for number, member in enumerate(given):
        if member in ("", []):
            raise BadRequestError(f"The field 'input[{number}]' is empty.", param="input")


def _refuse() -> NoReturn:
    raise UntranslatableError(
        "Embeddings have no chat form: this call cannot be said in another dialect.",
        hint="Choose a model that is served with embeddings.",
    )


CODEC = OpenAIEmbeddings()
