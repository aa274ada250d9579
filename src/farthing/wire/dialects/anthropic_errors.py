"""Errors of the Messages API, both ways: `{"type": "error", "error": {"type", "message"}}`."""

from __future__ import annotations

import re

import msgspec

from farthing.core.errors import ContextTooLongError, FarthingError
from farthing.wire.dialects._upstream import identifier, upstream_error
from farthing.wire.retry_after import retry_after_s

#: The error type by HTTP status (platform.claude.com/docs/en/api/errors, 2026-11-24).
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}

#: The status that an error inside a 200 stream would have had.
_STATUS = {name: status for status, name in TYPES.items()}

#: How the vendor says that the input is too long; it gives this no type of its own.
_TOO_LONG = re.compile(r"prompt is too long|exceed(s|ed)? context (limit|window)", re.IGNORECASE)


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class ErrorBody(msgspec.Struct):
    """The body of an error answer, and the data of an `error` event."""

    error: _Error | None = None
    request_id: str | None = None


def encode_error(error: FarthingError) -> bytes:
    """The body for a client. The type follows the status that the face answers with."""
    name = TYPES.get(error.status)
    if name is None:
        name = "api_error" if error.status >= 500 else "invalid_request_error"
    body = {
        "type": "error",
        "error": {"type": name, "message": str(error)},
        "request_id": error.request_id,
    }
    return msgspec.json.encode(body)


def decode_error(status: int, headers: dict[str, str], body: bytes) -> FarthingError:
    """The provider's error answer as one of ours."""
    try:
        parsed = msgspec.json.decode(body, type=ErrorBody)
    except msgspec.MsgspecError:
        parsed = ErrorBody()
    wait = retry_after_s(headers)
    return error_of(parsed, status, request_id=headers.get("request-id"), retry_after_s=wait)


def error_of(
    body: ErrorBody,
    status: int | None = None,
    *,
    request_id: str | None = None,
    retry_after_s: float | None = None,
) -> FarthingError:
    """The error that a body tells of. status None: it came inside a stream and its type decides."""
    told = body.error or _Error()
    if status is None:
        status = _STATUS.get(told.type or "", 500)
    request_id = identifier(request_id or body.request_id)
    if status == 400 and told.message and _TOO_LONG.search(told.message):
        return ContextTooLongError(
            "The input is longer than the model's context.",
            hint="Shorten it, or choose a model with a larger context.",
            request_id=request_id,
            upstream_status=status,
            upstream_code=identifier(told.type),
        )
    return upstream_error(
        status, code=told.type, request_id=request_id, retry_after_s=retry_after_s
    )
