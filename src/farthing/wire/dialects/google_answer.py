"""Whole answers of generateContent to Completion and back, and the cheap tally."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Tally
from farthing.core.chat import Choice, Completion
from farthing.core.errors import UntranslatableError, UpstreamProtocolError
from farthing.core.messages import Message, OpaquePart, ReasoningPart, ToolCallPart
from farthing.core.private import Extra
from farthing.core.usage import Usage
from farthing.wire.codec import Encoded
from farthing.wire.dialects._fields import Fields
from farthing.wire.dialects._foreign import (
    foreign_answer_fields,
    foreign_message_fields,
    plain_finish,
)
from farthing.wire.dialects._seals import unsealed
from farthing.wire.dialects.google_content import CallIds, Encoder, Json, decode_part
from farthing.wire.dialects.google_words import (
    NAME,
    NO_SIGNATURE,
    WireUsage,
    finish_of,
    reason_of,
    usage_json,
)

#: Characters of a response id that go into made-up call ids: other vendors take ids of up to 40.
STEM = 20


# --- decode -----------------------------------------------------------------------------------------


def decode_response(body: bytes) -> Completion:
    """A whole answer; a blocked prompt is one choice that ended by `content_filter`.

    Raises UpstreamProtocolError, also for an error body with status 200.
    """
    fields = Fields(body, fail=UpstreamProtocolError)
    response_id = fields.string("responseId") or ""
    ids = CallIds(response_id[:STEM])
    choices = [
        _choice(each, number, ids) for number, each in enumerate(fields.objects("candidates"))
    ]
    blocked = _block_reason(fields)
    if blocked is not None and not choices:
        silence = Message(role="assistant", parts=())
        choices = [
            Choice(index=0, message=silence, finish_reason="content_filter", raw_finish=blocked)
        ]
    usage = _usage(fields)
    if not choices and usage is None:
        raise UpstreamProtocolError(
            f"The provider's answer is no {NAME} response: it has no candidates."
        )
    model = fields.string("modelVersion") or ""
    searches = sum(_searches(choice.extra.get("groundingMetadata"), model) for choice in choices)
    return Completion(
        id=response_id,
        model=model,
        choices=tuple(choices),
        usage=usage.to_core(searches=searches) if usage else None,
        service_tier=usage.tier if usage else None,
        dialect=NAME,
        extra=fields.rest(),
    )


def _choice(candidate: Fields, number: int, ids: CallIds) -> Choice:
    content = candidate.object("content")
    parts = [decode_part(part, ids) for part in content.objects("parts")] if content else []
    extra: Extra = {}
    if content is not None:
        content.string("role")
        extra = content.rest()
    reason = candidate.string("finishReason")
    has_calls = any(isinstance(part, ToolCallPart) for part in parts)
    index = candidate.integer("index")
    return Choice(
        index=number if index is None else index,
        message=Message(role="assistant", parts=tuple(parts), extra=extra),
        finish_reason=finish_of(reason, has_calls=has_calls),
        raw_finish=reason,
        extra=candidate.rest(),
    )


def _block_reason(fields: Fields) -> str | None:
    raw = fields.raw("promptFeedback")
    if raw is None:
        return None
    feedback = Fields(raw, path="promptFeedback", fail=UpstreamProtocolError)
    fields.put_back("promptFeedback", feedback.rest())
    return feedback.string("blockReason")


def _usage(fields: Fields) -> WireUsage | None:
    raw = fields.raw("usageMetadata")
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=WireUsage)
    except msgspec.MsgspecError:
        raise fields.fault("usageMetadata", "is not a usage object of this dialect.") from None


class Grounding(msgspec.Struct, rename="camel"):
    """What a grounded answer searched for; only counted."""

    web_search_queries: list[msgspec.Raw] = []


def _searches(raw: msgspec.Raw | None, model: str) -> int:
    if raw is None:
        return 0
    try:
        return billed_searches(msgspec.json.decode(raw, type=Grounding), model)
    except msgspec.MsgspecError:
        return 0


def billed_searches(grounding: Grounding | None, model: str) -> int:
    """Web searches that are billed: every query since Gemini 3, one per grounded prompt before.

    Since Gemini 3, empty queries are free and equal ones count once. Source: ai.google.dev's pricing
    page and search guide, as quoted in the vendor's forum (discuss.ai.google.dev/t/168136, t/134866 and
    t/102927), read 2026-11-24.
    """
    told = {bytes(query) for query in grounding.web_search_queries} if grounding else set()
    queries = len(told - {b'""', b"null"})
    return min(queries, 1) if model.startswith(("gemini-1", "gemini-2")) else queries


# --- encode -----------------------------------------------------------------------------------------


def encode_response(completion: Completion) -> Encoded:
    """The body for a client.

    Raises UpstreamProtocolError when a tool call's arguments are no JSON object: this dialect shows
    them as one, and inventing it would be a lie.
    """
    source = completion.dialect
    dropped: list[str] = []
    body: Json = {}
    if not _is_blocked(completion):
        body["candidates"] = [_candidate(choice, source, dropped) for choice in completion.choices]
    if completion.usage is not None:
        body["usageMetadata"] = usage_json(completion.usage)
    if completion.model:
        body["modelVersion"] = completion.model
    if completion.id:
        body["responseId"] = completion.id
    if source == NAME:
        body.update(completion.extra)
    else:
        dropped += foreign_answer_fields(completion)
    return Encoded(body=msgspec.json.encode(body), dropped=tuple(dropped))


def _is_blocked(completion: Completion) -> bool:
    """Whether the answer is this vendor's refusal of the prompt, which has no candidates."""
    first = completion.choices[0] if len(completion.choices) == 1 else None
    return (
        completion.dialect == NAME
        and "promptFeedback" in completion.extra
        and first is not None
        and first.finish_reason == "content_filter"
        and not first.message.parts
    )


def _candidate(choice: Choice, source: str, dropped: list[str]) -> Json:
    place = f"choices[{choice.index}]"
    if source != NAME:
        dropped += foreign_message_fields(choice.message, f"{place}.message", NAME)
        dropped += [f"{place}.{name}" for name in choice.extra]
        if choice.logprobs is not None:
            dropped.append(f"{place}.logprobs")
    own = choice.message.extra if source == NAME else {}
    shown: Json = {
        "content": {
            "role": "model",
            "parts": _parts(choice.message, place, source, dropped),
            **own,
        },
        "index": choice.index,
    }
    reason = reason_of(plain_finish(choice), choice.raw_finish)
    if reason is not None:
        shown["finishReason"] = reason
    return {**shown, **(choice.extra if source == NAME else {})}


def _parts(
    message: Message, place: str, source: str, dropped: list[str]
) -> list[Json | msgspec.Raw]:
    """Parts for a client, who sees any vendor's thinking and no placeholder signatures."""
    encoder = Encoder(source, dropped)
    found: list[Json | msgspec.Raw] = []
    for number, part in enumerate(message.parts):
        path = f"{place}.message.content[{number}]"
        if source != NAME and isinstance(part, OpaquePart):
            continue
        if source != NAME and isinstance(part, ReasoningPart):
            if part.text:
                found.append(_thought(part))
            else:
                dropped.append(path)
            continue
        try:
            shown = encoder.parts((part,), path)
        except UntranslatableError as error:
            raise UpstreamProtocolError(
                f"The model's answer cannot be shown in {NAME}: {error.message}", param=path
            ) from None
        for each in shown:
            if isinstance(each, dict) and each.get("thoughtSignature") == NO_SIGNATURE:
                del each["thoughtSignature"]
        found += shown
    return found


def _thought(part: ReasoningPart) -> Json:
    shown: Json = {"text": part.text, "thought": True}
    signature = unsealed(part.encrypted) or unsealed(part.signature)
    return shown if signature is None else {**shown, "thoughtSignature": signature}


# --- tally ------------------------------------------------------------------------------------------


class _Call(msgspec.Struct):
    args: msgspec.Raw = msgspec.Raw(b"")


class _Part(msgspec.Struct, rename="camel"):
    text: str = ""
    function_call: _Call | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] = []


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    grounding_metadata: Grounding | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Answer(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] = []
    usage_metadata: WireUsage | None = None
    model_version: str | None = None
    prompt_feedback: _Feedback | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def tally(body: bytes) -> Tally:
    """Usage, finish and size of a whole answer."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise UpstreamProtocolError(f"The provider's answer is no {NAME} response.") from None
    blocked = answer.prompt_feedback.block_reason if answer.prompt_feedback else None
    if not (answer.candidates or answer.usage_metadata or blocked):
        raise UpstreamProtocolError(
            f"The provider's answer is no {NAME} response: it has no candidates."
        )
    parts = [part for each in answer.candidates if each.content for part in each.content.parts]
    finishes = [_finish(each) for each in answer.candidates]
    if blocked and not finishes:
        finishes = ["content_filter"]
    model = answer.model_version or ""
    searches = sum(billed_searches(each.grounding_metadata, model) for each in answer.candidates)
    usage: Usage | None = None
    if answer.usage_metadata is not None:
        usage = answer.usage_metadata.to_core(searches=searches)
    calls = sum(len(bytes(part.function_call.args)) for part in parts if part.function_call)
    return Tally(
        usage=usage,
        finish_reasons=tuple(finish for finish in finishes if finish),
        model=model or None,
        service_tier=answer.usage_metadata.tier if answer.usage_metadata else None,
        is_complete=bool(finishes) and all(finishes),
        output_characters=sum(len(part.text) for part in parts) + calls,
    )


def _finish(candidate: _Candidate) -> str | None:
    parts = candidate.content.parts if candidate.content else []
    return finish_of(candidate.finish_reason, has_calls=any(part.function_call for part in parts))
