"""Errors of Google's APIs, both ways: `{"error": {"code", "message", "status", "details"}}`."""

from __future__ import annotations

import re

import msgspec

from farthing.core.errors import ContextTooLongError, FarthingError
from farthing.wire.dialects._upstream import identifier, upstream_error
from farthing.wire.retry_after import duration_s, retry_after_s

#: The status word by HTTP status (google.rpc.Code; ai.google.dev/gemini-api/docs/troubleshooting,
#: 2026-11-24).
STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_TOO_LONG = re.compile(r"exceeds the maximum number of (input )?tokens", re.IGNORECASE)


class _Detail(msgspec.Struct):
    type: str = msgspec.field(name="@type", default="")
    reason: str | None = None
    retry_delay: str | None = msgspec.field(name="retryDelay", default=None)


class ErrorInfo(msgspec.Struct):
    """The `error` object of an answer or of a chunk."""

    code: int | None = None
    message: str | None = None
    status: str | None = None
    details: list[_Detail] = []


class _Body(msgspec.Struct):
    error: ErrorInfo = msgspec.field(default_factory=ErrorInfo)


def error_json(error: FarthingError) -> dict[str, object]:
    """The body for a client. Its `code` is the status that the face answers with."""
    shown: dict[str, object] = {
        "code": error.status,
        "message": str(error),
        "status": STATUS.get(
            error.status, "INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT"
        ),
    }
    if error.retry_after_s is not None:
        shown["details"] = [{"@type": _RETRY_INFO, "retryDelay": f"{error.retry_after_s:g}s"}]
    return {"error": shown}


def encode_error(error: FarthingError) -> bytes:
    """The body of an error answer."""
    return msgspec.json.encode(error_json(error))


def decode_error(status: int, headers: dict[str, str], body: bytes) -> FarthingError:
    """The provider's error answer as one of ours. A stream's error comes as an array of one."""
    try:
        parsed = msgspec.json.decode(body, type=_Body | list[_Body])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        parsed = _Body()
    first = (parsed[0] if parsed else _Body()) if isinstance(parsed, list) else parsed
    return error_of(first.error, status, headers)


def error_of(told: ErrorInfo, status: int | None, headers: dict[str, str]) -> FarthingError:
    """The error that `error` tells of. status None: it came inside a stream and its code decides."""
    if status is None:
        status = told.code if told.code is not None and 400 <= told.code < 600 else 500
    # A wrong key is reported as a bad argument; only its detail tells the two apart.
    if any(detail.reason == "API_KEY_INVALID" for detail in told.details):
        return upstream_error(401, code="API_KEY_INVALID")
    if status == 400 and told.message and _TOO_LONG.search(told.message):
        return ContextTooLongError(
            "The input is longer than the model's context.",
            hint="Shorten it, or choose a model with a larger context.",
            upstream_status=status,
            upstream_code=identifier(told.status),
        )
    delays = [duration_s(detail.retry_delay) for detail in told.details if detail.retry_delay]
    wait = next((delay for delay in delays if delay is not None), retry_after_s(headers))
    return upstream_error(status, code=told.status, retry_after_s=wait)
