"""The Responses API's words as data: how answers end or fail, usage."""

from __future__ import annotations

import msgspec

from farthing.core.chat import FinishReason
from farthing.core.errors import FarthingError
from farthing.core.usage import Usage
from farthing.wire.dialects.openai_errors import ErrorFields, error_of
from farthing.wire.dialects.openai_responses_items import Json

#: Why an answer is incomplete, in core words.
_INCOMPLETE: dict[str, FinishReason] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}
_REASONS: dict[FinishReason, str] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
#: Ends after which the answer is whole. Every other one is shown as incomplete.
_WHOLE = ("stop", "tool_calls")

#: Codes of a failed answer that blame the request (openai 2.54.0, types/responses/response_error.py,
#: 2026-11-24); the others blame the provider.
_BLAMES_POLICY = frozenset({"bio_policy", "image_content_policy_violation"})
_BLAMES_PROVIDER = frozenset({"rate_limit_exceeded", "server_error", "vector_store_timeout"})
_BLAMES_REQUEST = ("invalid_", "image_", "unsupported_", "empty_", "failed_to_download")


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class Action(msgspec.Struct):
    """What a vendor's own tool did."""

    type: str | None = None


def is_paid_search(kind: str | None, action: Action | None) -> bool:
    """Whether an output item is a web search that is billed; opening a found page is not.

    OpenAI bills each call whose action is `search` (platform.openai.com/docs/pricing, "Web search"; the
    prices are the catalogue's).
    """
    return kind == "web_search_call" and (action is None or action.type in (None, "search"))


class WireUsage(msgspec.Struct):
    """The `usage` object. Totals include their parts, as in core."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    def to_core(self, *, web_searches: int = 0) -> Usage:
        """In core words. Parts that contradict their total are cut to what it allows.

        web_searches: counted from the output's items, since this object leaves them out.
        """
        details = self.input_tokens_details or _InputDetails()
        spoken = self.output_tokens_details or _OutputDetails()
        total_in, total_out = max(0, self.input_tokens or 0), max(0, self.output_tokens or 0)
        cached = min(max(0, details.cached_tokens or 0), total_in)
        return Usage(
            input_tokens=total_in,
            output_tokens=total_out,
            cached_input_tokens=cached,
            cache_write_tokens=min(max(0, details.cache_write_tokens or 0), total_in - cached),
            reasoning_tokens=min(max(0, spoken.reasoning_tokens or 0), total_out),
            web_search_requests=web_searches,
        )


def usage_json(usage: Usage) -> Json:
    """`usage` for a client."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def finish_of(status: str, reason: str | None, *, has_calls: bool) -> FinishReason | None:
    """How the answer ended; None while it has not."""
    if status == "completed":
        return "tool_calls" if has_calls else "stop"
    if status == "incomplete":
        return _INCOMPLETE.get(reason or "", "other")
    return None


def failure_of(told: ErrorFields) -> FarthingError:
    """The error of a failed answer or of an `error` event."""
    code = str(told.code or "")
    if code in _BLAMES_POLICY:
        told = ErrorFields(code="content_policy_violation")
    elif code not in _BLAMES_PROVIDER and code.startswith(_BLAMES_REQUEST):
        told = ErrorFields(code=told.code, type="invalid_request_error", param=told.param)
    return error_of(told)


def ending(finish: FinishReason | None, raw: str | None) -> Json:
    """`status` and `incomplete_details`. An end that is not known to be whole is shown as incomplete."""
    if finish in _WHOLE:
        return {"status": "completed", "incomplete_details": None}
    if finish is None and raw in ("queued", "in_progress", "cancelled"):
        return {"status": raw, "incomplete_details": None}
    reason = None if finish is None else _REASONS.get(finish)
    return {"status": "incomplete", "incomplete_details": {"reason": reason} if reason else None}
