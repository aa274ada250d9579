"""Words that OpenAI's dialects share: usage in every variant, finish reasons."""

from __future__ import annotations

import msgspec

from farthing.core.chat import FinishReason
from farthing.core.usage import Usage

#: The vendor's finish reasons in core words; `function_call` is the form before tools.
FINISHES: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    # Mistral's word for a context that ran out (mistralai/client-python, docs/models, 2026-06), and
    # Together's for an end token (from memory, unverified).
    "model_length": "length",
    "eos": "stop",
}
#: Core words for a client of this dialect. What it has no word for is never `stop`: a client would take
#: an answer that was withheld or broken off for a whole one. Clients may not know any fifth word.
_WORDS = {"refusal": "content_filter", "pause": "length", "other": "length"}


def finish_of(raw: str) -> FinishReason:
    """The core word."""
    return FINISHES.get(raw, "other")


def word_of(finish: FinishReason, raw: str | None = None) -> str:
    """The dialect's word for a finish; `raw` is kept when it is this dialect's own."""
    if raw is not None and FINISHES.get(raw) == finish:
        return raw
    return _WORDS.get(finish, finish)


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_audio_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


_NO_INPUT_DETAILS, _NO_OUTPUT_DETAILS = _InputDetails(), _OutputDetails()


class WireUsage(msgspec.Struct):
    """`usage` of chat completions and of vendors that copy it.

    Rejected prediction tokens are part of completion_tokens already. cache_write_tokens is part of the
    prompt beside cached_tokens; since GPT-5.6 it is charged apart (OpenAI, prompt-caching guide, 2026-08).
    prompt_cache_hit_tokens is DeepSeek's form of the cached count, part of prompt_tokens (clients of it, for
    one deepseek-sdk 0.3.0, read 2026-11-24). xAI leaves reasoning out of completion_tokens and counts it in
    total_tokens only (docs.x.ai, consumption and rate limits, 2026-02), which the total tells.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None

    def to_core(self) -> Usage:
        """In core words. Counts that contradict each other are cut to what their total allows."""
        details = self.prompt_tokens_details or _NO_INPUT_DETAILS
        spoken = self.completion_tokens_details or _NO_OUTPUT_DETAILS
        total_in = self.prompt_tokens or 0
        total_in = max(total_in, 0)
        total_out = self.completion_tokens or 0
        total_out = max(total_out, 0)
        if total_out and not (  # only text, fresh or cached: nearly every answer
            details.audio_tokens
            or details.image_tokens
            or details.cached_audio_tokens
            or details.cache_write_tokens
            or spoken.reasoning_tokens
            or spoken.audio_tokens
            or spoken.image_tokens
        ):
            cached = details.cached_tokens or self.prompt_cache_hit_tokens or self.cached_tokens
            return Usage(
                input_tokens=total_in,
                output_tokens=total_out,
                cached_input_tokens=min(cached, total_in) if cached else 0,
            )
        if not total_out and self.total_tokens and self.total_tokens > total_in:
            total_out = self.total_tokens - total_in
        apart = spoken.reasoning_tokens or 0
        if apart > 0 and self.total_tokens == total_in + total_out + apart:
            total_out += apart
        cached = details.cached_tokens or self.prompt_cache_hit_tokens or self.cached_tokens or 0
        cached = min(cached, total_in)
        written = min(details.cache_write_tokens or 0, total_in - cached)
        cached_audio = min(details.cached_audio_tokens or 0, cached, details.audio_tokens or 0)
        fresh = total_in - cached - written
        audio = min(details.audio_tokens or 0, fresh + cached_audio)
        image = min(details.image_tokens or 0, fresh - audio + cached_audio)
        reasoning = min(spoken.reasoning_tokens or 0, total_out)
        audio_out = min(spoken.audio_tokens or 0, total_out - reasoning)
        return Usage(
            input_tokens=total_in,
            output_tokens=total_out,
            cached_input_tokens=cached,
            cache_write_tokens=written,
            cached_input_audio_tokens=cached_audio,
            input_audio_tokens=audio,
            input_image_tokens=image,
            reasoning_tokens=reasoning,
            output_audio_tokens=audio_out,
            output_image_tokens=min(spoken.image_tokens or 0, total_out - reasoning - audio_out),
        )


def usage_json(usage: Usage) -> dict[str, object]:
    """`usage` for a client."""
    details = {
        "cached_tokens": usage.cached_input_tokens,
        "audio_tokens": usage.input_audio_tokens,
    }
    if usage.cache_write_tokens:
        details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
