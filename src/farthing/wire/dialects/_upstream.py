"""A provider's error status as one of our errors, told without a word of the provider's text."""

from __future__ import annotations

import re

from farthing.core.errors import (
    UpstreamAuthError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamServerError,
    UpstreamTimeoutError,
)

#: What may be repeated of an error body: short identifiers. A sentence might quote the prompt.
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")


def identifier(value: str | None) -> str | None:
    """`value` when it looks like a code (`overloaded_error`), else None."""
    return value if value and _IDENTIFIER.fullmatch(value) else None


def upstream_error(
    status: int,
    *,
    code: str | None = None,
    param: str | None = None,
    request_id: str | None = None,
    retry_after_s: float | None = None,
) -> UpstreamError:
    """The error for a provider's status.

    code, param: the vendor's own word, and the field that it blames; left out of the message when they
    are no identifiers. request_id: the vendor's. Our answer to the caller keeps a 4xx verdict on the
    request; a complaint about our key or our bill becomes 502, since the caller can do nothing about it.
    """
    code = identifier(code)
    param = identifier(param)
    said = f"{status} {code}" if code else str(status)
    if param:
        said += f", field '{param}'"
    kind, message, hint, answer = _reading(status)
    return kind(
        f"{message} ({said}).",
        hint=hint,
        param=param,
        status=answer,
        request_id=identifier(request_id),
        retry_after_s=retry_after_s,
        upstream_status=status,
        upstream_code=code,
    )


def _reading(status: int) -> tuple[type[UpstreamError], str, str | None, int | None]:
    """Class, message, hint and the status of our own answer (None: the class's)."""
    if status in (401, 403):
        return (
            UpstreamAuthError,
            "The provider rejected the key that this gateway uses",
            "The operator should check the provider's key and its permissions.",
            None,
        )
    if status == 402:
        return (
            UpstreamAuthError,
            "The provider refused this gateway's account for its bill",
            "The operator should check credit and billing at the provider.",
            None,
        )
    if status == 429:
        return (
            UpstreamRateLimitedError,
            "The provider's rate limit is reached",
            "Wait for the time in Retry-After, or add a deployment.",
            None,
        )
    if status in (408, 504):
        return (
            UpstreamTimeoutError,
            "The provider gave up waiting for its model",
            "Try again.",
            None,
        )
    if status >= 500:
        return UpstreamServerError, "The provider failed", "Try again, or add a fallback.", None
    if status == 404:
        return (
            UpstreamRejectedError,
            "The provider does not know this model or path",
            "Check the deployment's remote name and what its key may use.",
            404,
        )
    if status == 410:
        # Azure's answer for a retired model; told as 404, for which every vendor's client has a class.
        return (
            UpstreamRejectedError,
            "The provider has retired this model",
            "Deploy its successor and name it in the deployment.",
            404,
        )
    return (
        UpstreamRejectedError,
        "The provider rejected the request",
        "Compare it with the vendor's reference; the vendor's own words are not repeated here, since they"
        " may quote the prompt.",
        status if 400 <= status < 500 else None,
    )
