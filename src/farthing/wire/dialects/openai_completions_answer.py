"""Answers of OpenAI's legacy completions: whole ones both ways, and the stream's writer."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Head
from farthing.core.chat import (
    Choice,
    Completion,
    Delta,
    Failed,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from farthing.core.errors import FarthingError, UpstreamProtocolError
from farthing.core.messages import Message, RefusalPart, TextPart
from farthing.core.usage import Usage
from farthing.wire.codec import Encoded
from farthing.wire.dialects._fields import Fields
from farthing.wire.dialects._foreign import foreign_message_fields
from farthing.wire.dialects.openai_chat_stream import DONE
from farthing.wire.dialects.openai_completions_request import NAME
from farthing.wire.dialects.openai_errors import error_json
from farthing.wire.dialects.openai_words import WireUsage, finish_of, usage_json, word_of

Json = dict[str, object]


def decode_response(body: bytes) -> Completion:
    """A whole answer. Raises UpstreamProtocolError."""
    fields = Fields(body, fail=UpstreamProtocolError)
    choices = tuple(_choice(choice, n) for n, choice in enumerate(fields.objects("choices")))
    if not choices:
        raise fields.fault("choices", "is missing or empty.")
    fields.string("object")
    raw = fields.raw("usage")
    try:
        usage = None if raw is None else msgspec.json.decode(raw, type=WireUsage).to_core()
    except msgspec.MsgspecError:
        raise UpstreamProtocolError("The provider's usage is not one of this dialect.") from None
    return Completion(
        id=fields.string("id") or "",
        model=fields.string("model") or "",
        choices=choices,
        usage=usage,
        created=fields.integer("created"),
        dialect=NAME,
        extra=fields.rest(),
    )


def _choice(choice: Fields, number: int) -> Choice:
    index = choice.integer("index")
    finish = choice.string("finish_reason")
    text = TextPart(text=choice.string("text") or "")
    return Choice(
        index=number if index is None else index,
        message=Message(role="assistant", parts=(text,)),
        finish_reason=None if finish is None else finish_of(finish),
        raw_finish=finish,
        logprobs=choice.raw("logprobs"),
        extra=choice.rest(),
    )


def encode_response(completion: Completion) -> Encoded:
    """The body for a client. Only text can be shown; thinking and log probabilities are listed."""
    is_own = completion.dialect == NAME
    dropped: list[str] = [] if is_own else list(completion.extra)
    shown = []
    for choice in completion.choices:
        path = f"choices[{choice.index}]"
        if not is_own:
            dropped += foreign_message_fields(choice.message, f"{path}.message", NAME)
            if choice.logprobs is not None:
                dropped.append(f"{path}.logprobs")
        said = (TextPart, RefusalPart)
        for number, part in enumerate(choice.message.parts):
            if not isinstance(part, said):
                dropped.append(f"{path}.message.content[{number}]")
        text = "".join(part.text for part in choice.message.parts if isinstance(part, said))
        finish = choice.finish_reason
        word = None if finish is None else word_of(finish, choice.raw_finish)
        logprobs = choice.logprobs if is_own else None
        shown.append(
            {
                **_choice_json(choice.index, text, word, logprobs),
                **(choice.extra if is_own else {}),
            }
        )
    body: Json = {
        "id": completion.id,
        "object": "text_completion",
        "created": completion.created or 0,
        "model": completion.model,
        "choices": shown,
    }
    if completion.usage is not None:
        body["usage"] = usage_json(completion.usage)
    if is_own:
        body.update(completion.extra)
    return Encoded(body=msgspec.json.encode(body), dropped=tuple(dict.fromkeys(dropped)))


def _choice_json(
    index: int, text: str, finish: str | None, logprobs: msgspec.Raw | None = None
) -> Json:
    return {"index": index, "text": text, "finish_reason": finish, "logprobs": logprobs}


class Writer:
    """Writes one stream for a client. An error is a frame without finish reason, and no `[DONE]` follows.

    Thinking is left out: it is no part of the text that the client asked to continue.
    """

    def __init__(self, head: Head, *, call_id: str, created: int) -> None:
        self._shows_usage = head.include_usage
        self._id = call_id
        self._model = head.model
        self._created = created
        self._usage: Usage | None = None

    def write(self, delta: Delta) -> bytes:
        """The frames for one delta."""
        match delta:
            case Started():
                self._id = delta.id or self._id
                self._model = delta.model or self._model
                self._created = delta.created or self._created
                self._usage = delta.usage or self._usage
                return b""
            case TextDelta() | RefusalDelta():
                return self._chunk([_choice_json(delta.choice, delta.text, None)])
            case ReasoningDelta() | ToolCallDelta():
                return b""
            case Finished():
                word = word_of(delta.finish_reason, delta.raw_finish)
                return self._chunk([_choice_json(delta.choice, "", word)])
            case UsageDelta():
                self._usage = delta.usage
                return b""
            case Failed():
                return self.error(delta.error)

    def error(self, error: FarthingError) -> bytes:
        """The frame that says that the answer is incomplete."""
        return _frame({"error": error_json(error)})

    def end(self) -> bytes:
        """Usage where it was asked for, and the end mark."""
        if not self._shows_usage:
            return DONE
        usage = None if self._usage is None else usage_json(self._usage)
        return self._chunk([], usage=usage) + DONE

    def _chunk(self, choices: list[Json], **more: object) -> bytes:
        head = {"id": self._id, "object": "text_completion", "created": self._created}
        return _frame({**head, "model": self._model, "choices": choices, **more})


def _frame(fields: Json) -> bytes:
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"
