"""Refusals in each vendor's shape."""

from __future__ import annotations

from farthing.sim.asks import RefusedError
from farthing.sim.faces.shape import Json, encode
from farthing.sim.filters import inner_error
from farthing.sim.scenario import Flavour

_OPENAI_TYPES = {
    401: "invalid_request_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "requests",
    500: "server_error",
    503: "service_unavailable_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    410: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    410: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def error_body(flavour: Flavour, refused: RefusedError, request_id: str) -> bytes:
    """The JSON body of an error answer."""
    if flavour == "anthropic":
        kind = _ANTHROPIC_TYPES.get(refused.status, "api_error")
        error: Json = {"type": kind, "message": refused.message}
        return encode({"type": "error", "error": error, "request_id": request_id})
    if flavour == "google":
        return encode({"error": _google(refused)})
    if flavour == "azure":
        return encode({"error": _azure(refused)})
    kind = _OPENAI_TYPES.get(refused.status, "invalid_request_error")
    if refused.status == 429:
        kind = "tokens" if refused.code == "tokens" else "requests"
    code = "rate_limit_exceeded" if refused.status == 429 else refused.code
    return encode(
        {"error": {"message": refused.message, "type": kind, "param": refused.param, "code": code}}
    )


def _azure(refused: RefusedError) -> Json:
    code = "429" if refused.status == 429 else refused.code
    body: Json = {"code": code, "message": refused.message}
    if refused.screening is not None and refused.screening.prompt is not None:
        body |= {"param": "prompt", "type": None, "status": refused.status}
        body["innererror"] = inner_error(refused.screening.prompt)
    elif refused.status == 400:
        body |= {"param": refused.param, "type": "invalid_request_error"}
    return body


def _google(refused: RefusedError) -> Json:
    body: Json = {
        "code": refused.status,
        "message": refused.message,
        "status": _GOOGLE_STATUSES.get(refused.status, "UNKNOWN"),
    }
    if refused.retry_after_s is not None:
        retry = f"{refused.retry_after_s:.3f}s"
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        body["details"] = [{"@type": kind, "retryDelay": retry}]
    return body
