"""Whole answers of the Messages API to Completion and back, and the cheap tally."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Tally
from farthing.core.chat import Choice, Completion
from farthing.core.errors import UntranslatableError, UpstreamProtocolError
from farthing.core.messages import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
)
from farthing.core.prices import tier_name
from farthing.core.private import Extra
from farthing.wire.codec import Encoded
from farthing.wire.dialects._fields import Fields, merged
from farthing.wire.dialects._foreign import (
    foreign_answer_fields,
    foreign_message_fields,
    plain_finish,
)
from farthing.wire.dialects._seals import is_sealed
from farthing.wire.dialects.anthropic_content import Json, decode_content, encode_block
from farthing.wire.dialects.anthropic_words import (
    NAME,
    WireUsage,
    finish_of,
    stop_reason_of,
    usage_json,
)


def decode_response(body: bytes) -> Completion:
    """A whole `message`. Raises UpstreamProtocolError, also for an error body with status 200."""
    fields = Fields(body, fail=UpstreamProtocolError)
    if fields.string("type") != "message":
        raise fields.fault("type", "must be 'message' in an answer.")
    if fields.string("role") != "assistant":
        raise fields.fault("role", "must be 'assistant' in an answer.")
    parts = decode_content(fields)
    stop_reason = fields.string("stop_reason")
    usage = _usage(fields)
    choice = Choice(
        index=0,
        message=Message(role="assistant", parts=parts),
        finish_reason=finish_of(stop_reason),
        raw_finish=stop_reason,
        stop_sequence=fields.string("stop_sequence"),
    )
    return Completion(
        id=fields.required_string("id"),
        model=fields.required_string("model"),
        choices=(choice,),
        usage=usage.to_core() if usage else None,
        service_tier=usage.service_tier if usage else None,
        dialect=NAME,
        extra=fields.rest(),
    )


def _usage(fields: Fields) -> WireUsage | None:
    raw = fields.raw("usage")
    if raw is None:
        return None
    try:
        usage = msgspec.json.decode(raw, type=WireUsage)
    except msgspec.MsgspecError:
        raise fields.fault("usage", "is not a usage object of this dialect.") from None
    known = set(WireUsage.__struct_fields__)
    every = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    fields.put_back("usage", {name: value for name, value in every.items() if name not in known})
    return usage


def encode_response(completion: Completion) -> Encoded:
    """The body for a client. A dialect with one answer shows the first choice and lists the others.

    Raises UpstreamProtocolError when a tool call's arguments are no JSON object: this dialect shows
    them as an object, and inventing one would be a lie.
    """
    source = completion.dialect
    choice = completion.choices[0] if completion.choices else None
    dropped = [f"choices[{other.index}]" for other in completion.choices[1:]]
    blocks: list[Json | msgspec.Raw] = []
    if choice is not None:
        blocks = _blocks(choice.message, source, dropped)
        if source != NAME:
            dropped += foreign_message_fields(choice.message, "choices[0].message", NAME)
            dropped += [f"choices[0].{name}" for name in choice.extra]
            if choice.logprobs is not None:
                dropped.append("choices[0].logprobs")
    sequence = choice.stop_sequence if choice else None
    usage = usage_json(completion.usage)
    tier = tier_name(completion.service_tier)
    if completion.service_tier is not None and tier in ("standard", "priority", "batch"):
        usage["service_tier"] = tier
    body: Json = {
        "id": completion.id,
        "type": "message",
        "role": "assistant",
        "model": completion.model,
        "content": blocks,
        "stop_reason": choice and stop_reason_of(plain_finish(choice), choice.raw_finish, sequence),
        "stop_sequence": sequence,
        "usage": usage,
    }
    if source == NAME:
        extra: Extra = dict(completion.extra)
        merged(body, "usage", extra)
        body.update(extra)
    else:
        dropped += foreign_answer_fields(completion)
    return Encoded(body=msgspec.json.encode(body), dropped=tuple(dropped))


def _blocks(message: Message, source: str, dropped: list[str]) -> list[Json | msgspec.Raw]:
    blocks = []
    for number, part in enumerate(message.parts):
        path = f"choices[0].message.content[{number}]"
        try:
            block = _block(part, path, source, dropped)
        except UntranslatableError as error:
            raise UpstreamProtocolError(
                f"The model's answer cannot be shown in {NAME}: {error.message}",
                param=path,
            ) from None
        if block is not None:
            blocks.append(block)
    return blocks


def _block(part: Part, path: str, source: str, dropped: list[str]) -> Json | msgspec.Raw | None:
    if source == NAME:
        return encode_block(part, path=path, source=source, dropped=dropped)
    match part:
        case ReasoningPart():
            return _shown_thinking(part, path, dropped)
        case ImagePart() | AudioPart() | FilePart():
            dropped.append(path)
            return None
        case OpaquePart():
            return None
        case _:
            return encode_block(part, path=path, source=source, dropped=dropped)


def _shown_thinking(part: ReasoningPart, path: str, dropped: list[str]) -> Json | None:
    """Another vendor's thinking as a thinking block. Its seal travels along when it names its vendor."""
    seal = next((s for s in (part.signature, part.encrypted) if s is not None and is_sealed(s)), "")
    if not part.text and not seal:
        dropped.append(path)
        return None
    return {"type": "thinking", "thinking": part.text, "signature": seal}


class _Block(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    input: msgspec.Raw = msgspec.Raw(b"")


class _Answer(msgspec.Struct):
    type: str
    model: str | None = None
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: WireUsage | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def tally(body: bytes) -> Tally:
    """Usage, finish and size of a whole answer."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise UpstreamProtocolError(f"The provider's answer is no {NAME} message.") from None
    if answer.type != "message":
        raise UpstreamProtocolError(f"The provider's answer is no {NAME} message.")
    finish = finish_of(answer.stop_reason)
    usage = answer.usage
    return Tally(
        usage=usage.to_core() if usage else None,
        finish_reasons=(finish,) if finish else (),
        model=answer.model,
        service_tier=usage.service_tier if usage else None,
        is_complete=finish is not None,
        output_characters=sum(
            len(b.text) + len(b.thinking) + len(bytes(b.input)) for b in answer.content
        ),
    )
