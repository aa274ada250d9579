"""Whole answers of chat completions to Completion and back, and the cheap tally."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Tally
from farthing.core.chat import Choice, Completion
from farthing.core.errors import UpstreamProtocolError
from farthing.core.messages import (
    Message,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from farthing.core.prices import tier_name
from farthing.wire.codec import Encoded
from farthing.wire.dialects._fields import Fields
from farthing.wire.dialects._foreign import foreign_answer_fields, foreign_message_fields
from farthing.wire.dialects.openai_chat_content import NAME, Json, decode_message
from farthing.wire.dialects.openai_chat_spoken import ContentPiece, spoken
from farthing.wire.dialects.openai_words import (
    WireUsage,
    finish_of,
    usage_json,
    word_of,
)


def decode_response(body: bytes) -> Completion:
    """A whole answer. Raises UpstreamProtocolError."""
    fields = Fields(body, fail=UpstreamProtocolError)
    choices = tuple(
        _choice(choice, number) for number, choice in enumerate(fields.objects("choices"))
    )
    if not choices:
        raise fields.fault("choices", "is missing or empty.")
    usage = fields.raw("usage")
    fields.string("object")
    return Completion(
        id=fields.string("id") or "",
        model=fields.string("model") or "",
        choices=choices,
        usage=None if usage is None else _usage(usage).to_core(),
        created=fields.integer("created"),
        service_tier=fields.string("service_tier"),
        dialect=NAME,
        extra=fields.rest(),
    )


def _choice(choice: Fields, number: int) -> Choice:
    message = choice.object("message")
    if message is None:
        raise choice.fault("message", "is missing.")
    finish = choice.string("finish_reason")
    index = choice.integer("index")
    return Choice(
        index=number if index is None else index,
        message=decode_message(message),
        finish_reason=None if finish is None else finish_of(finish),
        raw_finish=finish,
        logprobs=choice.raw("logprobs"),
        extra=choice.rest(),
    )


def _usage(raw: msgspec.Raw) -> WireUsage:
    try:
        return msgspec.json.decode(raw, type=WireUsage)
    except msgspec.MsgspecError:
        raise UpstreamProtocolError("The provider's usage is not one of this dialect.") from None


def encode_response(completion: Completion) -> Encoded:
    """The body for a client of this dialect."""
    dropped: list[str] = []
    is_own = completion.dialect == NAME
    if not is_own:
        dropped += foreign_answer_fields(completion)
        for choice in completion.choices:
            path = f"choices[{choice.index}].message"
            dropped += foreign_message_fields(choice.message, path, NAME)
    body: Json = {
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created or 0,
        "model": completion.model,
        "choices": [_choice_json(choice, is_own=is_own) for choice in completion.choices],
    }
    if completion.usage is not None:
        body["usage"] = usage_json(completion.usage)
    if completion.service_tier is not None:
        tier = completion.service_tier
        body["service_tier"] = tier if is_own else _tier(tier)
    if is_own:
        body.update(completion.extra)
    return Encoded(body=msgspec.json.encode(body), dropped=tuple(dropped))


def _tier(tier: str) -> str:
    name = tier_name(tier)
    return "default" if name == "standard" else name


def _choice_json(choice: Choice, *, is_own: bool) -> Json:
    finish: str | None = None
    if choice.finish_reason is not None:
        # A compatible vendor's own word (DeepSeek's `insufficient_system_resource`) stays as it was.
        own = choice.raw_finish if is_own else None
        finish = own or word_of(choice.finish_reason, choice.raw_finish)
    shown: Json = {
        "index": choice.index,
        "message": _message_json(choice.message, is_own=is_own),
        "finish_reason": finish,
        "logprobs": choice.logprobs,
    }
    if is_own:
        shown.update(choice.extra)
    return shown


def _message_json(message: Message, *, is_own: bool) -> Json:
    """Text parts are joined: an assistant's content is one string in this dialect."""
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    refusals = [part.text for part in message.parts if isinstance(part, RefusalPart)]
    thoughts = "".join(part.text for part in message.parts if isinstance(part, ReasoningPart))
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    shown: Json = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    if thoughts:
        shown["reasoning_content"] = thoughts
    if calls:
        shown["tool_calls"] = [_call_json(call, is_own=is_own) for call in calls]
    if not (texts or refusals or calls):
        shown["content"] = ""
    if is_own:
        shown.update(message.extra)
    return shown


def _call_json(call: ToolCallPart, *, is_own: bool) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    shown: Json = {"id": call.id, "type": "function", "function": function}
    return {**shown, **call.extra} if is_own else shown


# --- the cheap tally --------------------------------------------------------------------------------


class _Function(msgspec.Struct):
    arguments: str | None = None


class _Call(msgspec.Struct):
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | list[ContentPiece] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None


class _TallyChoice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_TallyChoice]
    model: str | None = None
    usage: WireUsage | None = None
    service_tier: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def tally(body: bytes) -> Tally:
    """What accounting reads, of chat and of legacy completions. Raises UpstreamProtocolError."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpstreamProtocolError(
            "The provider's answer is no chat completion: broken JSON, or fields missing."
        ) from None
    finishes: tuple[str, ...] = ()
    characters = 0
    for choice in answer.choices:
        if choice.finish_reason:
            finishes += (finish_of(choice.finish_reason),)
        if choice.text:
            characters += len(choice.text)
        if choice.message is not None:
            characters += _characters(choice.message)
    return Tally(
        usage=answer.usage.to_core() if answer.usage else None,
        finish_reasons=finishes,
        model=answer.model,
        service_tier=answer.service_tier,
        is_complete=bool(answer.choices),
        output_characters=characters,
    )


def _characters(message: _Message) -> int:
    if type(message.content) is str and not (
        message.refusal or message.reasoning_content or message.tool_calls
    ):
        return len(message.content)
    count = 0
    for text in (*spoken(message.content), message.refusal, message.reasoning_content):
        count += len(text or "")
    for call in message.tool_calls or ():
        count += len((call.function.arguments if call.function else None) or "")
    return count
