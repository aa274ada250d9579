"""Items of the Responses API (messages, calls, results, reasoning) to core messages and back."""

from __future__ import annotations

from typing import Literal

import msgspec

from farthing.core.messages import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from farthing.core.private import Extra
from farthing.wire.dialects._fields import Fields

NAME = "openai-responses"
Json = dict[str, object]

#: An assistant message's own fields (`id`, `status`, `phase`) travel with its first part, since core keeps
#: what the assistant says in one turn as one message.
ITEM = "item."

_ROLES = ("user", "assistant", "system", "developer")
_SAID = ("output_text", "input_text", "text", "refusal")


class _Piece(msgspec.Struct):
    text: str = ""


class ItemReader:
    """Collects items into messages: neighbouring items of the assistant are one turn.

    Two neighbouring assistant messages stay two turns. Items that only this dialect knows
    (`item_reference`, built-in tools and their results) become opaque parts of the assistant's turn.
    """

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._turn: list[Part] = []
        self._ends_in_message = False

    def read(self, item: Fields) -> None:
        """One item. Raises the error of `item` for a field of a wrong type."""
        kind = item.string("type") or "message"
        if kind == "function_call_output":
            self._add(Message(role="tool", parts=(_result(item),)))
        elif kind == "message":
            self._read_message(item)
        else:
            self._turn.append(_output_part(kind, item))
            self._ends_in_message = False

    def messages(self) -> list[Message]:
        """All messages so far."""
        self._flush()
        return self._messages

    def _read_message(self, item: Fields) -> None:
        role = item.required_string("role")
        if role not in _ROLES:
            raise item.fault("role", f"must be one of {', '.join(_ROLES)}.")
        if role != "assistant":
            parts = decode_content(item, "content")
            self._add(Message(role=_role(role), parts=parts, extra=item.rest()))
            return
        said = said_parts(item)
        if self._ends_in_message or not said:
            self._flush()
        if not said:
            self._add(Message(role="assistant", parts=(), extra=item.rest()))
            return
        self._turn += said
        self._ends_in_message = not isinstance(said[0], OpaquePart)

    def _add(self, message: Message) -> None:
        self._flush()
        self._messages.append(message)

    def _flush(self) -> None:
        if self._turn:
            self._messages.append(Message(role="assistant", parts=tuple(self._turn)))
        self._turn = []
        self._ends_in_message = False


def _role(role: str) -> Literal["user", "system", "developer"]:
    return "user" if role == "user" else "system" if role == "system" else "developer"


def output_parts(items: list[Fields]) -> tuple[Part, ...]:
    """The parts of an answer's `output`. A message without content leaves nothing."""
    parts: list[Part] = []
    for item in items:
        kind = item.string("type") or "message"
        if kind == "message":
            item.string("role")
            parts += said_parts(item)
        else:
            parts.append(_output_part(kind, item))
    return tuple(parts)


def said_parts(item: Fields) -> list[Part]:
    """What an assistant message says; with a part that we cannot read the whole item stays opaque."""
    if item.is_array("content"):
        pieces = item.objects("content")
        kinds = [piece.string("type") for piece in pieces]
        if any(kind not in _SAID for kind in kinds):
            return [OpaquePart(dialect=NAME, kind="message", raw=item.verbatim)]
        parts = [_part(kind or "", piece) for kind, piece in zip(kinds, pieces, strict=True)]
    else:
        parts = list(decode_content(item, "content"))
    own = {ITEM + name: raw for name, raw in item.rest().items()}
    if parts and own:
        first = parts[0]
        assert isinstance(first, TextPart | RefusalPart)
        parts[0] = msgspec.structs.replace(first, extra={**first.extra, **own})
    return parts


def _output_part(kind: str, item: Fields) -> Part:
    if kind == "function_call":
        return ToolCallPart(
            id=item.required_string("call_id"),
            name=item.required_string("name"),
            arguments=item.string("arguments") or "",
            extra=item.rest(),
        )
    if kind == "reasoning":
        return _reasoning(item)
    return OpaquePart(dialect=NAME, kind=kind, raw=item.verbatim)


def _reasoning(item: Fields) -> Part:
    """Text: the summaries, then the thinking itself where a vendor shows it, one paragraph each."""
    texts: list[str] = []
    kept: Extra = {}
    for name in ("summary", "content"):
        raw = item.raw(name)
        if raw is None or bytes(raw).strip() == b"[]":
            continue
        try:
            found = [piece.text for piece in msgspec.json.decode(raw, type=list[_Piece])]
        except msgspec.MsgspecError:
            raise item.fault(name, "must be an array of texts.") from None
        texts += found
        kept[name] = raw
    if len(texts) == 1 and "content" not in kept:
        kept = {}  # One summary is its text; of more, only the wire form tells them apart.
    return ReasoningPart(
        text="\n\n".join(texts),
        encrypted=item.string("encrypted_content"),
        id=item.string("id"),
        extra={**item.rest(), **kept},
    )


def _result(item: Fields) -> ToolResultPart:
    return ToolResultPart(
        call_id=item.required_string("call_id"),
        content=decode_content(item, "output"),
        name=item.string("name"),
        extra=item.rest(),
    )


# --- content ----------------------------------------------------------------------------------------


def decode_content(fields: Fields, name: str) -> tuple[Part, ...]:
    """The parts of a string or a list of parts; empty when absent."""
    if fields.is_string(name):
        return (TextPart(text=fields.required_string(name)),)
    return tuple(_part(part.required_string("type"), part) for part in fields.objects(name))


def _part(kind: str, part: Fields) -> Part:
    made: Part | None = None
    if kind in ("input_text", "output_text", "text"):
        made = _text(part)
    elif kind == "refusal":
        made = RefusalPart(text=part.required_string("refusal"), extra=part.rest())
    elif kind == "input_image" and part.is_string("image_url"):
        made = _image(part)
    elif kind == "input_file":
        made = _file(part)
    elif kind == "input_audio" and part.has("input_audio"):
        made = _audio(part)
    return made or OpaquePart(dialect=NAME, kind=kind, raw=part.verbatim)


def _text(part: Fields) -> Part:
    text = part.required_string("text")
    extra = {
        name: raw
        for name, raw in part.rest().items()
        if not (name in ("annotations", "logprobs") and bytes(raw).strip() in (b"[]", b"null"))
    }
    return TextPart(text=text, extra=extra)


def _image(part: Fields) -> Part:
    url = part.required_string("image_url")
    detail = part.string("detail")
    inline = _data_url(url)
    if inline is None:
        return ImagePart(url=url, detail=detail, extra=part.rest())
    return ImagePart(data=inline[1], media_type=inline[0], detail=detail, extra=part.rest())


def _file(part: Fields) -> Part:
    data = part.string("file_data")
    inline = _data_url(data) if data is not None else None
    return FilePart(
        data=inline[1] if inline else data,
        media_type=inline[0] if inline else None,
        url=part.string("file_url"),
        file_id=part.string("file_id"),
        name=part.string("filename"),
        extra=part.rest(),
    )


def _audio(part: Fields) -> Part:
    audio = part.object("input_audio")
    assert audio is not None
    return AudioPart(
        data=audio.required_string("data"),
        format=audio.required_string("format"),
        extra=part.rest(),
    )


def _data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 data of a `data:` URL; None for any other address."""
    head, comma, data = url.partition(",")
    media_type, _, encoding = head.removeprefix("data:").partition(";")
    is_plain = head.startswith("data:") and comma and encoding == "base64"
    return (media_type, data) if is_plain else None
