"""Whole answers of the Responses API to Completion and back, and the cheap tally."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Tally
from farthing.core.chat import Choice, Completion
from farthing.core.errors import UpstreamProtocolError
from farthing.core.messages import (
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from farthing.core.prices import tier_name
from farthing.core.usage import Usage
from farthing.wire.codec import Encoded
from farthing.wire.dialects._fields import Fields
from farthing.wire.dialects._foreign import foreign_answer_fields, foreign_message_fields
from farthing.wire.dialects._seals import is_sealed
from farthing.wire.dialects.openai_errors import ErrorFields
from farthing.wire.dialects.openai_responses_items import NAME, Json, output_parts
from farthing.wire.dialects.openai_responses_turns import (
    Item,
    call_json,
    item_fields,
    reasoning_json,
    said_json,
    summary_json,
)
from farthing.wire.dialects.openai_responses_words import (
    Action,
    WireUsage,
    ending,
    failure_of,
    finish_of,
    is_paid_search,
    usage_json,
)

_MESSAGE = {"type": "message", "role": "assistant"}

# --- decode -----------------------------------------------------------------------------------------


def decode_response(body: bytes) -> Completion:
    """A whole answer. Raises UpstreamProtocolError, and the vendor's error for a failed one."""
    fields = Fields(body, fail=UpstreamProtocolError)
    told = fields.raw("error")
    status = fields.string("status") or "completed"
    if told is not None or status == "failed":
        raise failure_of(_error_fields(told))
    if fields.string("object") not in (None, "response"):
        raise fields.fault("object", "must be 'response' in an answer.")
    if not fields.is_array("output"):
        raise fields.fault("output", "is missing.")
    searches = _searches(fields)
    parts = output_parts(fields.objects("output"))
    details = fields.object("incomplete_details")
    reason = details.string("reason") if details is not None else None
    has_calls = any(isinstance(part, ToolCallPart) for part in parts)
    usage = fields.raw("usage")
    created = fields.number("created_at")
    choice = Choice(
        index=0,
        message=Message(role="assistant", parts=parts),
        finish_reason=finish_of(status, reason, has_calls=has_calls),
        raw_finish=reason or status,
    )
    return Completion(
        id=fields.required_string("id"),
        model=fields.string("model") or "",
        choices=(choice,),
        usage=None if usage is None else _usage(usage, searches),
        created=None if created is None else int(created),
        service_tier=fields.string("service_tier"),
        dialect=NAME,
        extra=fields.rest(),
    )


def _searches(fields: Fields) -> int:
    """Paid searches among the output's items, which `usage` leaves out."""
    items = msgspec.json.decode(fields.verbatim, type=_Output).output
    return sum(_is_paid_search(item) for item in items)


def _is_paid_search(item: msgspec.Raw) -> bool:
    try:
        search = msgspec.json.decode(item, type=_Search)
    except msgspec.MsgspecError:
        return False
    return is_paid_search(search.type, search.action)


def _usage(raw: msgspec.Raw, searches: int) -> Usage:
    try:
        return msgspec.json.decode(raw, type=WireUsage).to_core(web_searches=searches)
    except msgspec.MsgspecError:
        raise UpstreamProtocolError("The provider's usage is not one of this dialect.") from None


def _error_fields(raw: msgspec.Raw | None) -> ErrorFields:
    try:
        return msgspec.json.decode(raw, type=ErrorFields) if raw is not None else ErrorFields()
    except msgspec.MsgspecError:
        return ErrorFields()


# --- encode -----------------------------------------------------------------------------------------


def encode_response(completion: Completion) -> Encoded:
    """The body for a client. There is one answer here: the first choice is shown, others are listed."""
    is_own = completion.dialect == NAME
    choice = completion.choices[0] if completion.choices else None
    dropped = [f"choices[{other.index}]" for other in completion.choices[1:]]
    output: list[Item] = []
    if choice is not None:
        output = _output(choice, completion.id, dropped, is_own=is_own)
        if not is_own:
            dropped += foreign_message_fields(choice.message, "choices[0].message", NAME)
            dropped += [f"choices[0].{name}" for name in choice.extra]
            if choice.logprobs is not None and logprobs_of(choice.logprobs) is None:
                dropped.append("choices[0].logprobs")
    finish = choice.finish_reason if choice else None
    body = response_json(
        completion.id,
        completion.model,
        completion.created,
        ending(finish, choice.raw_finish if choice else None),
        output,
        usage=completion.usage,
        tier=completion.service_tier,
        is_own=is_own,
    )
    if is_own:
        body.update(completion.extra)
    else:
        dropped += foreign_answer_fields(completion)
    return Encoded(body=msgspec.json.encode(body), dropped=tuple(dropped))


def response_json(
    id_: str,
    model: str,
    created: int | None,
    end: Json,
    output: list[Item],
    *,
    usage: Usage | None,
    tier: str | None,
    is_own: bool,
) -> Json:
    """The `response` object. Answers of another dialect get every field that official clients read."""
    body: Json = {
        "id": id_,
        "object": "response",
        "created_at": created or 0,
        **end,
        "error": None,
        "model": model,
        "output": output,
        "usage": None if usage is None else usage_json(usage),
    }
    if tier is not None:
        body["service_tier"] = tier if is_own else _tier(tier)
    if is_own:
        if created is None:
            del body["created_at"]
        return body
    return {**_defaults(), **body}


def _defaults() -> Json:
    return {
        "background": False,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "user": None,
    }


def _tier(tier: str) -> str:
    name = tier_name(tier)
    return "default" if name == "standard" else name


def _output(choice: Choice, id_: str, dropped: list[str], *, is_own: bool) -> list[Item]:
    items: list[Item] = []
    said: list[Json] | None = None
    for number, part in enumerate(choice.message.parts):
        if isinstance(part, TextPart | RefusalPart):
            own = item_fields(part.extra) if is_own else {}
            if said is None or own:
                said = []
                shown = message_json(f"msg_{id_}_{number}", said)
                items.append({**_MESSAGE, "content": said, **own} if is_own else shown)
            said.append(said_json(part, is_own=is_own))
            continue
        said = None
        item = _item(part, f"{id_}_{number}", is_own=is_own)
        if item is not None:
            items.append(item)
        else:
            dropped.append(f"choices[0].message.content[{number}]")
    logprobs = None if choice.logprobs is None else logprobs_of(choice.logprobs)
    if logprobs is not None and not is_own:
        _put_logprobs(items, logprobs)
    return items


def message_json(id_: str, content: list[Json], status: str = "completed") -> Json:
    """An assistant's message item."""
    return {"id": id_, **_MESSAGE, "status": status, "content": content}


def _item(part: Part, number: str, *, is_own: bool) -> Item | None:
    match part:
        case OpaquePart():
            return part.raw if part.dialect == NAME else None
        case ToolCallPart():
            shown = call_json(part, is_own=is_own)
            return shown if is_own else {"id": f"fc_{number}", "status": "completed", **shown}
        case ReasoningPart() if is_own:
            return reasoning_json(part)
        case ReasoningPart():
            seal = seal_of(part.signature, part.encrypted)
            if not part.text and seal is None:
                return None
            return thought_json(f"rs_{number}", part.text, seal)
    return None


def seal_of(*values: str | None) -> str | None:
    """The sealed thought that may be shown: one that names who sealed it."""
    return next((value for value in values if value is not None and is_sealed(value)), None)


def thought_json(id_: str, text: str, seal: str | None) -> Json:
    """Another vendor's thinking as a reasoning item."""
    shown: Json = {"id": id_, "type": "reasoning", "summary": summary_json(text)}
    if seal is not None:
        shown["encrypted_content"] = seal
    return shown


def logprobs_of(raw: msgspec.Raw) -> msgspec.Raw | None:
    """The list of a chat completion's `logprobs.content`, which has the same form here."""
    try:
        content = msgspec.json.decode(raw, type=_Logprobs).content
    except msgspec.MsgspecError:
        return None
    return content.copy() if bytes(content).startswith(b"[") else None


class _Logprobs(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw(b"null")


def _put_logprobs(items: list[Item], logprobs: msgspec.Raw) -> None:
    for item in items:
        content = item.get("content") if isinstance(item, dict) else None
        if isinstance(content, list):
            content[0]["logprobs"] = logprobs
            return


# --- the cheap tally --------------------------------------------------------------------------------


class _Text(msgspec.Struct):
    text: str | None = None
    refusal: str | None = None


class _OutputItem(msgspec.Struct):
    type: str | None = None
    action: Action | None = None
    content: list[_Text] | None = None
    summary: list[_Text] | None = None
    arguments: str | None = None


class _Output(msgspec.Struct):
    output: list[msgspec.Raw]


class _Search(msgspec.Struct):
    type: str | None = None
    action: Action | None = None


class _Details(msgspec.Struct):
    reason: str | None = None


class _Answer(msgspec.Struct):
    output: list[_OutputItem] | None = None
    status: str | None = None
    error: ErrorFields | None = None
    incomplete_details: _Details | None = None
    model: str | None = None
    usage: WireUsage | None = None
    service_tier: str | None = None
    object: str | None = None
    id: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def tally(body: bytes) -> Tally:
    """Usage, finish and size of a whole answer. Raises UpstreamProtocolError, or the vendor's error."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpstreamProtocolError(f"The provider's answer is no {NAME} response.") from None
    if answer.error is not None or answer.status == "failed":
        raise failure_of(answer.error or ErrorFields())
    if answer.id is None or answer.output is None:
        raise UpstreamProtocolError(f"The provider's answer is no {NAME} response.")
    reason = answer.incomplete_details.reason if answer.incomplete_details else None
    has_calls = any(item.type == "function_call" for item in answer.output)
    finish = finish_of(answer.status or "completed", reason, has_calls=has_calls)
    searches = sum(is_paid_search(item.type, item.action) for item in answer.output)
    return Tally(
        usage=answer.usage.to_core(web_searches=searches) if answer.usage else None,
        finish_reasons=(finish,) if finish else (),
        model=answer.model,
        service_tier=answer.service_tier,
        is_complete=finish is not None,
        output_characters=sum(_characters(item) for item in answer.output),
    )


def _characters(item: _OutputItem) -> int:
    texts = [*(item.content or ()), *(item.summary or ())]
    return len(item.arguments or "") + sum(
        len(text.text or "") + len(text.refusal or "") for text in texts
    )
