"""The Messages API's words as data: stop reasons, service tiers, models that count thinking, usage."""

from __future__ import annotations

import msgspec

from farthing.core.chat import FinishReason
from farthing.core.usage import Usage

NAME = "anthropic-messages"

#: `max_tokens` is required there. Without a bound from the caller this one is sent: Claude 3 Haiku's
#: limit, the lowest of all models of the vendor (from memory, unverified). An answer cut by it ends with
#: finish reason `length`, never silently.
DEFAULT_MAX_TOKENS = 4096

#: The least thinking budget that the vendor accepts, in tokens (as several clients of it check, for one
#: docs.getbifrost.ai/providers/reasoning, read 2026-11-24; the vendor's own guide was not read).
LEAST_BUDGET = 1024

#: Our finish reason for each stop reason (anthropic 0.125.0, types/stop_reason.py, 2026-11-24).
FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}

_STOP: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "pause": "pause_turn",
    "refusal": "refusal",
    "content_filter": "refusal",
}

#: Their word for a service tier (anthropic 0.125.0, types/message_create_params.py); others (flex, batch)
#: cannot be asked for in a request and are dropped.
TIERS = {
    "auto": "auto",
    "priority": "auto",
    "default": "standard_only",
    "standard": "standard_only",
    "standard_only": "standard_only",
}

#: Models that think by a budget in tokens and reject adaptive thinking: everything before 4.6. All others
#: get adaptive thinking and effort (docs.aws.amazon.com/bedrock, "Adaptive thinking", and
#: vercel.com/docs/ai-gateway, "Anthropic Reasoning", read 2026-11-24).
BUDGET_MODELS = (
    "claude-3",
    "claude-haiku-4-5",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-opus-4-2",
    "claude-opus-4-5",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2",
    "claude-sonnet-4-5",
)
#: Models that cannot stop thinking and answer `disabled` with an error; least is adaptive at low effort
#: (platform.claude.com/docs/en/models/opus-5-5/whats-new-opus-5-5, and Fabric 1.4.553's release notes for
#: Fable 5 and Mythos, read 2026-11-24).
ALWAYS_THINKING = ("claude-opus-5-5", "claude-fable-", "claude-mythos-")
#: Models whose least is `between_tools` in place of `disabled` (the same release notes, 2026-11-24).
BETWEEN_TOOLS = ("claude-sonnet-5-5",)


def finish_of(stop_reason: str | None) -> FinishReason | None:
    """Our word for a stop reason; `other` for one that is new; None while there is none."""
    return None if stop_reason is None else FINISH.get(stop_reason, "other")


def stop_reason_of(
    finish: FinishReason | None, raw: str | None, stop_sequence: str | None
) -> str | None:
    """Their word for how an answer ended.

    raw: the vendor's own word, kept when it is one of theirs or has no common word; so an unknown end
    is never shown as `end_turn`.
    """
    if finish is None:
        return None
    if raw is not None and FINISH.get(raw, "other") == finish:
        return raw
    if finish == "stop" and stop_sequence is not None:
        return "stop_sequence"
    return _STOP.get(finish, "other")


class CacheCreation(msgspec.Struct, omit_defaults=True):
    """Cache writes by how long they are kept, in tokens."""

    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class ServerToolUse(msgspec.Struct, omit_defaults=True):
    """Requests that the vendor's own tools made."""

    web_search_requests: int | None = None


class OutputDetails(msgspec.Struct):
    """Parts of the output, in tokens."""

    thinking_tokens: int = 0


class WireUsage(msgspec.Struct, omit_defaults=True):
    """The `usage` object. input_tokens leaves out cache reads and writes; output includes thinking."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    server_tool_use: ServerToolUse | None = None
    output_tokens_details: OutputDetails | None = None
    service_tier: str | None = None

    def over(self, earlier: WireUsage | None) -> WireUsage:
        """These figures where present, else the earlier ones: counts in a stream are cumulative."""
        if earlier is None:
            return self
        names = self.__struct_fields__
        merged = {
            n: getattr(self, n) if getattr(self, n) is not None else getattr(earlier, n)
            for n in names
        }
        return WireUsage(**merged)

    def to_core(self) -> Usage:
        """Our usage: totals include their parts."""
        written = self.cache_creation_input_tokens or 0
        read = self.cache_read_input_tokens or 0
        split = self.cache_creation
        if split is not None:
            written = max(
                written, split.ephemeral_5m_input_tokens + split.ephemeral_1h_input_tokens
            )
        searches = self.server_tool_use.web_search_requests if self.server_tool_use else None
        return Usage(
            input_tokens=(self.input_tokens or 0) + written + read,
            output_tokens=self.output_tokens or 0,
            cached_input_tokens=read,
            cache_write_tokens=written,
            cache_write_1h_tokens=split.ephemeral_1h_input_tokens if split else 0,
            reasoning_tokens=self.output_tokens_details.thinking_tokens
            if self.output_tokens_details
            else 0,
            web_search_requests=searches or 0,
        )


def usage_json(usage: Usage | None) -> dict[str, object]:
    """The `usage` object of an answer. The vendor's clients require it: unknown counts are shown as 0."""
    known = usage or Usage()
    plain = known.input_tokens - known.cached_input_tokens - known.cache_write_tokens
    shown: dict[str, object] = {
        "input_tokens": max(plain, 0),
        "cache_creation_input_tokens": known.cache_write_tokens,
        "cache_read_input_tokens": known.cached_input_tokens,
        "output_tokens": known.output_tokens,
    }
    if known.cache_write_tokens:
        shown["cache_creation"] = {
            "ephemeral_5m_input_tokens": known.cache_write_tokens - known.cache_write_1h_tokens,
            "ephemeral_1h_input_tokens": known.cache_write_1h_tokens,
        }
    if known.reasoning_tokens:
        shown["output_tokens_details"] = {"thinking_tokens": known.reasoning_tokens}
    if known.web_search_requests:
        shown["server_tool_use"] = {"web_search_requests": known.web_search_requests}
    return shown
