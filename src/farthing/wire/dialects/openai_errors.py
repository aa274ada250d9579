"""Errors of OpenAI's APIs and Azure's, both ways: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import msgspec

from farthing.core.errors import ContentFilteredError, ContextTooLongError, FarthingError
from farthing.wire.dialects._upstream import identifier, upstream_error
from farthing.wire.retry_after import retry_after_s

#: The error type by HTTP status. Clients of the vendor go by the status; the words are from memory,
#: unverified.
_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
#: The status that an error inside a 200 stream would have had, by its code or type.
_STATUS = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
}
_FILTERED = frozenset(
    {"content_filter", "ResponsibleAIPolicyViolation", "content_policy_violation"}
)
_TOO_LONG = frozenset({"context_length_exceeded", "string_above_max_length"})
#: A rate limit that waiting does not lift: the account has no credit.
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


class _Inner(msgspec.Struct):
    code: str | None = None


class ErrorFields(msgspec.Struct):
    """The object behind `error`. code is a number with some compatible vendors."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None
    innererror: _Inner | None = None


class ErrorBody(msgspec.Struct):
    """An error answer."""

    error: ErrorFields | str | None = None


def encode_error(error: FarthingError) -> bytes:
    """The body for a client."""
    return msgspec.json.encode({"error": error_json(error)})


def error_json(error: FarthingError) -> dict[str, str | None]:
    """What stands behind `error`."""
    name = _TYPES.get(error.status)
    if name is None:
        name = "server_error" if error.status >= 500 else "invalid_request_error"
    return {"message": str(error), "type": name, "param": error.param, "code": error.code}


def decode_error(status: int, headers: dict[str, str], body: bytes) -> FarthingError:
    """The provider's error answer as one of ours."""
    try:
        told = msgspec.json.decode(body, type=ErrorBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        told = None
    request_id = headers.get("x-request-id") or headers.get("apim-request-id")
    fields = told if isinstance(told, ErrorFields) else ErrorFields()
    return error_of(fields, status, request_id=request_id, wait=retry_after_s(headers))


def error_of(
    told: ErrorFields,
    status: int | None = None,
    *,
    request_id: str | None = None,
    wait: float | None = None,
) -> FarthingError:
    """The error that an error object tells of. status None: it came inside a stream."""
    words = {str(told.code), told.type, told.innererror.code if told.innererror else None}
    code = str(told.code) if told.code is not None else told.type
    if status is None:
        named = next((_STATUS[word] for word in words if word in _STATUS), 500)
        status = told.code if isinstance(told.code, int) and 400 <= told.code < 600 else named
    place = {"request_id": identifier(request_id), "upstream_status": status}
    if words & _FILTERED:
        return ContentFilteredError(
            "The provider's content filter refused the prompt.",
            hint="Change the prompt; the provider's own policy decides.",
            upstream_code=identifier(code),
            param=identifier(told.param),
            **place,  # type: ignore[arg-type]
        )
    if words & _TOO_LONG:
        return ContextTooLongError(
            "The input is longer than the model's context.",
            hint="Shorten it, or choose a model with a larger context.",
            upstream_code=identifier(code),
            param=identifier(told.param),
            **place,  # type: ignore[arg-type]
        )
    error = upstream_error(
        status, code=code, param=told.param, request_id=request_id, retry_after_s=wait
    )
    if words & _NO_CREDIT:
        error.retryable = False
        error.hint = "The account at the provider has no credit left; waiting does not help."
    return error
