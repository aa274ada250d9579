"""Google's face: generateContent, streamGenerateContent, countTokens, models."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Head
from farthing.server.faces.counting import count_input
from farthing.server.faces.face import (
    Face,
    Framing,
    Operation,
    Visit,
    answer_call,
    bearer,
    errors_of,
    identify,
    send_json,
)
from farthing.server.faces.listing import Listed, find_model, list_models
from farthing.wire.edge.exchange import Exchange

_DIALECT = "google-generate"


class JsonArray(Framing):
    """Google's stream without `alt=sse`: one JSON array whose elements arrive one by one."""

    is_plain = False
    media = b"application/json"

    def __init__(self) -> None:
        self._opener = b"["

    def frame(self, wire: bytes) -> bytes:
        """The JSON of each `data:` line of the frame, as the next elements of the array."""
        pieces = []
        for line in wire.splitlines():
            if line.startswith(b"data:"):
                pieces.append(self._opener + line[5:].strip())
                self._opener = b",\r\n"
        return b"".join(pieces)

    def end(self) -> bytes:
        """The closing bracket."""
        return b"[]" if self._opener == b"[" else b"]"


async def generate(visit: Visit) -> None:
    """POST /v1beta/models/{model}:generateContent"""
    await answer_call(visit, _DIALECT, fill=lambda head: _fill(visit, head, stream=False))


async def stream_generate(visit: Visit) -> None:
    """POST /v1beta/models/{model}:streamGenerateContent"""
    framing = Framing if visit.exchange.query("alt") == "sse" else JsonArray
    await answer_call(
        visit, _DIALECT, fill=lambda head: _fill(visit, head, stream=True), framing=framing
    )


async def count_tokens(visit: Visit) -> None:
    """POST /v1beta/models/{model}:countTokens"""
    await count_input(
        visit,
        _DIALECT,
        lambda tokens: {"totalTokens": tokens},
        model=visit.parameters["model"],
        wrapper="generateContentRequest",
    )


async def models(visit: Visit) -> None:
    """GET /v1beta/models"""
    caller = await identify(visit)
    rows = [_row(listed) for listed in list_models(visit.gateway, caller, visit.face.name)]
    await send_json(visit, {"models": rows})


async def model(visit: Visit) -> None:
    """GET /v1beta/models/{model}"""
    caller = await identify(visit)
    await send_json(
        visit, _row(find_model(visit.gateway, caller, visit.parameters["model"], visit.face.name))
    )


def _fill(visit: Visit, head: Head, *, stream: bool) -> Head:
    # Google's streams always report usage, so the client expects it.
    return msgspec.structs.replace(
        head, model=visit.parameters["model"], stream=stream, include_usage=stream
    )


def _row(listed: Listed) -> dict[str, object]:
    is_embedder = listed.kind == "embed"
    row: dict[str, object] = {
        "name": f"models/{listed.name}",
        "displayName": f"{listed.name} (simulated)" if listed.is_simulated else listed.name,
        "supportedGenerationMethods": []
        if is_embedder
        else ["generateContent", "streamGenerateContent", "countTokens"],
    }
    if listed.context_tokens is not None:
        row["inputTokenLimit"] = listed.context_tokens
    if listed.max_output_tokens is not None:
        row["outputTokenLimit"] = listed.max_output_tokens
    return row


def _read_key(exchange: Exchange) -> str | None:
    return exchange.header("x-goog-api-key") or exchange.query("key") or bearer(exchange)


def _is_google(exchange: Exchange) -> bool:
    return exchange.header("x-goog-api-key") is not None or exchange.query("key") is not None


def _operations(version: str) -> tuple[Operation, ...]:
    # Both of the vendor's versions; `/v1/models` is OpenAI's as well, unless a Google key comes with it.
    when = _is_google if version == "/v1" else None
    return (
        Operation(
            method="POST",
            path=version + "/models/{model}:generateContent",
            handle=generate,
            summary="Generate content",
        ),
        Operation(
            method="POST",
            path=version + "/models/{model}:streamGenerateContent",
            handle=stream_generate,
            summary="Generate content, streamed (`alt=sse`, else a JSON array)",
        ),
        Operation(
            method="POST",
            path=version + "/models/{model}:countTokens",
            handle=count_tokens,
            summary="Count the input tokens of a request (free)",
        ),
        Operation(
            method="GET",
            path=version + "/models",
            handle=models,
            summary="List the models that this key may call",
            when=when,
        ),
        Operation(
            method="GET",
            path=version + "/models/{model}",
            handle=model,
            summary="One model",
            when=when,
        ),
    )


FACE = Face(
    name="google",
    read_key=_read_key,
    error_body=errors_of(_DIALECT),
    operations=(*_operations("/v1beta"), *_operations("/v1")),
)
