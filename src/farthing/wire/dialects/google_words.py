"""generateContent's words as data: finish reasons, spellings, tiers, usage."""

from __future__ import annotations

import msgspec

from farthing.core.chat import FinishReason
from farthing.core.usage import Usage

NAME = "google-generate"

#: Ids of tool calls that the vendor left without one start so; they are never sent back to it.
SYNTHETIC = "call_farthing_"

#: Our finish reason for each of theirs (google-genai 2.34.0, types.FinishReason, 2026-11-24). A `STOP`
#: after a function call is `tool_calls`.
FINISH: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "pause",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "LANGUAGE": "other",
    "MALFORMED_FUNCTION_CALL": "other",
    "UNEXPECTED_TOOL_CALL": "other",
    "TOO_MANY_TOOL_CALLS": "other",
    "NO_IMAGE": "other",
    "IMAGE_OTHER": "other",
    "OTHER": "other",
}

_WORDS: dict[FinishReason, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "pause": "CONTINUATION",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "other": "OTHER",
}

#: The tier that a call was served in, by `usageMetadata.trafficType` (types.TrafficType, 2026-11-24).
TRAFFIC = {"ON_DEMAND": "standard", "ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}

#: Our tiers in `serviceTier`; those it cannot ask for are dropped.
TIERS = {
    "auto": None,
    "default": "standard",
    "standard": "standard",
    "flex": "flex",
    "priority": "priority",
}

#: Models that think by `thinkingBudget` and reject `thinkingLevel`: everything before Gemini 3
#: (ai.google.dev/gemini-api/docs/thinking, as quoted in spring-ai issue 4983, read 2026-11-24).
BUDGET_MODELS = ("gemini-1", "gemini-2", "models/gemini-1", "models/gemini-2")

#: Models among those that cannot stop thinking; the figure is their least budget (from memory,
#: unverified). Others accept 0 (hexdocs.pm/gemini_ex, ThinkingConfig, read 2026-11-24).
LEAST_BUDGETS = {"gemini-2.5-pro": 128, "models/gemini-2.5-pro": 128}

#: The largest budget of the other ones (github.com/docker/docker-agent pull request 473, 2026-11-24).
MOST_BUDGET = 24576

#: `thinkingLevel` for an effort word. There is no way to turn thinking off since Gemini 3; the least is
#: taken and the field listed as dropped. LOW is the least that every model knows.
LEVELS = {
    "none": "LOW",
    "minimal": "LOW",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}

#: Models that know the level MINIMAL too: 3.6 Flash and 3.5 Flash-Lite by docs.cloud.google.com/
#: gemini-enterprise-agent-platform/models/thinking, 3 Flash by hexdocs.pm/gemini_ex, 3.5 Flash by
#: doc.starrise.tech. 3 Pro (gemini_ex), 3.1 Pro, 3.7 and 3.8 Flash (a mirror of Google's guide to
#: 3.8 Flash) do not. Excerpts, read 2026-11-24.
MINIMAL_MODELS = (
    "gemini-3-flash",
    "gemini-3.5-flash",
    "gemini-3.6-flash",
)

#: Accepted in place of a real signature on function calls that another model made; without one, Gemini 3
#: rejects the history (ai.google.dev/gemini-api/docs/thought-signatures, 2026-11-24).
NO_SIGNATURE = "skip_thought_signature_validator"


def camel(name: str) -> str:
    """`maxOutputTokens` for `max_output_tokens`; other names as they are."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest) if head else name


def finish_of(reason: str | None, *, has_calls: bool) -> FinishReason | None:
    """Our word; `other` for one that is new; None while the candidate goes on."""
    if reason is None or reason == "FINISH_REASON_UNSPECIFIED":
        return None
    finish = FINISH.get(reason, "other")
    return "tool_calls" if finish == "stop" and has_calls else finish


def reason_of(finish: FinishReason | None, raw: str | None) -> str | None:
    """Their word. raw: kept when it is theirs and means the same."""
    if finish is None:
        return None
    known = FINISH.get(raw or "")
    if raw is not None and (known == finish or (known == "stop" and finish == "tool_calls")):
        return raw
    return _WORDS[finish]


class Modality(msgspec.Struct):
    """Tokens of one modality."""

    modality: str = "TEXT"
    tokenCount: int = 0  # noqa: N815 - the vendor's spelling


class WireUsage(msgspec.Struct, rename="camel"):
    """`usageMetadata`. The prompt includes cached tokens; candidates leave out thoughts."""

    prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    cached_content_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    prompt_tokens_details: list[Modality] = []
    candidates_tokens_details: list[Modality] = []
    cache_tokens_details: list[Modality] = []
    tool_use_prompt_tokens_details: list[Modality] = []
    traffic_type: str | None = None
    service_tier: str | None = None

    @property
    def tier(self) -> str | None:
        """The tier that the call was served in, when told."""
        return self.service_tier or TRAFFIC.get(self.traffic_type or "")

    def to_core(self, *, searches: int = 0) -> Usage:
        """Our usage: totals include thoughts and tool-use prompts.

        Each token stands in one kind: a cached image token is cached input, so it is taken out of image
        input; cached audio has a kind of its own.
        """
        fresh = [*self.prompt_tokens_details, *self.tool_use_prompt_tokens_details]
        cached_image = _of(self.cache_tokens_details, "IMAGE")
        return Usage(
            input_tokens=self.prompt_token_count + self.tool_use_prompt_token_count,
            output_tokens=self.candidates_token_count + self.thoughts_token_count,
            cached_input_tokens=self.cached_content_token_count,
            reasoning_tokens=self.thoughts_token_count,
            input_audio_tokens=_of(fresh, "AUDIO"),
            cached_input_audio_tokens=_of(self.cache_tokens_details, "AUDIO"),
            output_audio_tokens=_of(self.candidates_tokens_details, "AUDIO"),
            input_image_tokens=max(_of(fresh, "IMAGE") - cached_image, 0),
            output_image_tokens=_of(self.candidates_tokens_details, "IMAGE"),
            web_search_requests=searches,
        )


def usage_json(usage: Usage) -> dict[str, object]:
    """`usageMetadata` for a client."""
    shown: dict[str, object] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.total_tokens,
    }
    if usage.cached_input_tokens:
        shown["cachedContentTokenCount"] = usage.cached_input_tokens
    if usage.reasoning_tokens:
        shown["thoughtsTokenCount"] = usage.reasoning_tokens
    _put_details(
        shown,
        "promptTokensDetails",
        usage.input_tokens,
        usage.input_audio_tokens,
        usage.input_image_tokens,
    )
    cached_audio = usage.cached_input_audio_tokens
    _put_details(shown, "cacheTokensDetails", usage.cached_input_tokens, cached_audio, 0)
    spoken = usage.output_tokens - usage.reasoning_tokens
    audio, image = usage.output_audio_tokens, usage.output_image_tokens
    _put_details(shown, "candidatesTokensDetails", spoken, audio, image)
    return shown


def _put_details(shown: dict[str, object], name: str, total: int, audio: int, image: int) -> None:
    if not (audio or image):
        return
    counts = (("TEXT", total - audio - image), ("AUDIO", audio), ("IMAGE", image))
    shown[name] = [{"modality": kind, "tokenCount": count} for kind, count in counts if count > 0]


def _of(details: list[Modality], kind: str) -> int:
    return sum(detail.tokenCount for detail in details if detail.modality == kind)
