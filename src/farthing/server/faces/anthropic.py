"""Anthropic's face: messages, token counts, models."""

from __future__ import annotations

from collections.abc import Awaitable

import msgspec

from farthing.core.errors import BadRequestError
from farthing.server.faces.counting import count_input
from farthing.server.faces.face import (
    Face,
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

_DIALECT = "anthropic-messages"
#: The vendor's list shows a date for each model; we know none, and the field may not be missing.
_UNKNOWN_DATE = "1970-01-01T00:00:00Z"


def messages(visit: Visit) -> Awaitable[None]:
    """POST /v1/messages"""
    return answer_call(visit, _DIALECT)


async def count_tokens(visit: Visit) -> None:
    """POST /v1/messages/count_tokens"""
    await count_input(
        visit,
        _DIALECT,
        lambda tokens: {"input_tokens": tokens},
        defaults={"max_tokens": msgspec.Raw(b"1")},
    )


async def models(visit: Visit) -> None:
    """GET /v1/models, when the request names an `anthropic-version`"""
    caller = await identify(visit)
    rows = list_models(visit.gateway, caller, visit.face.name)
    after, before = visit.exchange.query("after_id"), visit.exchange.query("before_id")
    names = [row.name for row in rows]
    start = names.index(after) + 1 if after in names else 0
    stop = names.index(before) if before in names else len(rows)
    limit = _limit(visit.exchange.query("limit"))
    page = rows[start:stop][:limit]
    await send_json(
        visit,
        {
            "data": [_row(row) for row in page],
            "first_id": page[0].name if page else None,
            "last_id": page[-1].name if page else None,
            "has_more": len(rows[start:stop]) > limit,
        },
    )


async def model(visit: Visit) -> None:
    """GET /v1/models/{model}, when the request names an `anthropic-version`"""
    caller = await identify(visit)
    await send_json(
        visit, _row(find_model(visit.gateway, caller, visit.parameters["model"], visit.face.name))
    )


def _limit(text: str | None) -> int:
    if text is None:
        return 20
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:5]) <= 1000):
        raise BadRequestError(
            "The query parameter limit is not a number from 1 to 1000.", param="limit"
        )
    return int(text)


def _row(listed: Listed) -> dict[str, object]:
    return {
        "type": "model",
        "id": listed.name,
        "display_name": f"{listed.name} (simulated)" if listed.is_simulated else listed.name,
        "created_at": _UNKNOWN_DATE,
    }


def _read_key(exchange: Exchange) -> str | None:
    return exchange.header("x-api-key") or bearer(exchange)


def _is_anthropic(exchange: Exchange) -> bool:
    return exchange.header("anthropic-version") is not None


FACE = Face(
    name="anthropic",
    read_key=_read_key,
    error_body=errors_of(_DIALECT),
    operations=(
        Operation(
            method="POST",
            path="/v1/messages",
            handle=messages,
            summary="Messages, whole or streamed",
        ),
        Operation(
            method="POST",
            path="/v1/messages/count_tokens",
            handle=count_tokens,
            summary="Count the input tokens of a request (free)",
        ),
        Operation(
            method="GET",
            path="/v1/models",
            handle=models,
            summary="List the models that this key may call",
            when=_is_anthropic,
        ),
        Operation(
            method="GET",
            path="/v1/models/{model}",
            handle=model,
            summary="One model",
            when=_is_anthropic,
        ),
    ),
    passed_headers=("anthropic-version", "anthropic-beta"),
    request_id_header=b"request-id",
)
