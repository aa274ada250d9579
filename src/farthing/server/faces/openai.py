"""OpenAI's face: chat, completions, responses, embeddings, models."""

from __future__ import annotations

from collections.abc import Awaitable

from farthing.server.faces.face import (
    Face,
    Handler,
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


def chat(visit: Visit) -> Awaitable[None]:
    """POST /v1/chat/completions"""
    return answer_call(visit, "openai-chat")


def completions(visit: Visit) -> Awaitable[None]:
    """POST /v1/completions"""
    return answer_call(visit, "openai-completions")


def responses(visit: Visit) -> Awaitable[None]:
    """POST /v1/responses"""
    return answer_call(visit, "openai-responses")


def embeddings(visit: Visit) -> Awaitable[None]:
    """POST /v1/embeddings"""
    return answer_call(visit, "openai-embeddings")


async def models(visit: Visit) -> None:
    """GET /v1/models"""
    caller = await identify(visit)
    rows = [_row(listed) for listed in list_models(visit.gateway, caller, visit.face.name)]
    await send_json(visit, {"object": "list", "data": rows})


async def model(visit: Visit) -> None:
    """GET /v1/models/{model}"""
    caller = await identify(visit)
    await send_json(
        visit, _row(find_model(visit.gateway, caller, visit.parameters["model"], visit.face.name))
    )


def _row(listed: Listed) -> dict[str, object]:
    row: dict[str, object] = {
        "id": listed.name,
        "object": "model",
        "created": 0,
        "owned_by": listed.provider,
    }
    if listed.is_simulated:
        row["is_simulated"] = True
    return row


def _read_key(exchange: Exchange) -> str | None:
    return bearer(exchange) or exchange.header("api-key")


def operations(prefix: str) -> tuple[Operation, ...]:
    """The face's operations below a prefix (`/v1`, Azure's `/openai/v1`)."""

    def at(method: str, path: str, handle: Handler, summary: str) -> Operation:
        return Operation(method=method, path=prefix + path, handle=handle, summary=summary)

    return (
        at("POST", "/chat/completions", chat, "Chat, whole or streamed"),
        at("POST", "/completions", completions, "Complete a prompt, whole or streamed"),
        at("POST", "/responses", responses, "Responses, whole or streamed"),
        at("POST", "/embeddings", embeddings, "Embed texts"),
        at("GET", "/models", models, "List the models that this key may call"),
        at("GET", "/models/{model}", model, "One model"),
    )


FACE = Face(
    name="openai",
    read_key=_read_key,
    error_body=errors_of("openai-chat"),
    operations=operations("/v1"),
    passed_headers=("openai-beta",),
)
