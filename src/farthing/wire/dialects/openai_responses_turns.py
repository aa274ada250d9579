"""Core messages and parts as items of the Responses API, in requests and in answers."""

from __future__ import annotations

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
from farthing.wire.dialects._foreign import untranslatable
from farthing.wire.dialects.openai_responses_items import ITEM, NAME, Json

Item = Json | msgspec.Raw


class Encoder:
    """Writes messages of a request that came in the dialect `source`; notes what is lost in `dropped`."""

    def __init__(self, source: str, dropped: list[str]) -> None:
        self._is_own = source == NAME
        self._source = source
        self._dropped = dropped

    def items(self, message: Message, path: str) -> list[Item]:
        """The items of one message. Raises UntranslatableError for parts that cannot be said."""
        if message.name is not None:
            self._dropped.append(f"{path}.name")
        if message.role == "assistant":
            return self._turn(message, path)
        items: list[Item] = []
        said: list[Part] = []
        for number, part in enumerate(message.parts):
            if isinstance(part, ToolResultPart):
                items.append(self._result(part, f"{path}.content[{number}]"))
            else:
                said.append(part)
        if said or not items:
            role = "user" if message.role == "tool" else message.role
            shown: Json = {"type": "message", "role": role}
            shown["content"] = self._content(tuple(said), f"{path}.content")
            items.append({**shown, **(message.extra if self._is_own else {})})
        return items

    def _turn(self, message: Message, path: str) -> list[Item]:
        if not message.parts:
            own = message.extra if self._is_own else {}
            return [{"type": "message", "role": "assistant", "content": [], **own}]
        items: list[Item] = []
        said: Json | None = None
        for number, part in enumerate(message.parts):
            place = f"{path}.content[{number}]"
            if isinstance(part, TextPart | RefusalPart):
                own = item_fields(part.extra) if self._is_own else {}
                if said is None or own:
                    said = {"type": "message", "role": "assistant", **own, "content": []}
                    items.append(said)
                content = said["content"]
                assert isinstance(content, list)
                content.append(said_json(part, is_own=self._is_own))
                continue
            said = None
            item = self._item(part, place)
            if item is not None:
                items.append(item)
        return items

    def _item(self, part: Part, path: str) -> Item | None:
        match part:
            case ToolCallPart():
                shown = call_json(part, is_own=self._is_own)
                if not self._is_own and not part.arguments:
                    shown["arguments"] = "{}"
                return shown
            case ReasoningPart():
                if self._is_own:
                    return reasoning_json(part)
                # Another vendor's thinking is no instruction, and its seal can be read by it alone.
                self._dropped.append(f"{path}.reasoning")
                return None
            case OpaquePart():
                return part.raw
        raise untranslatable(path, self._source, NAME, what="part of the assistant's turn")

    def _result(self, result: ToolResultPart, path: str) -> Json:
        shown: Json = {"type": "function_call_output", "call_id": result.call_id}
        content = self._content(result.content, f"{path}.content")
        shown["output"] = content if content or self._is_own else ""
        if result.name is not None and self._is_own:
            shown["name"] = result.name
        if result.is_error:
            self._dropped.append(f"{path}.is_error")
        return {**shown, **(result.extra if self._is_own else {})}

    def _content(self, parts: tuple[Part, ...], path: str) -> str | list[Item]:
        only = parts[0] if len(parts) == 1 else None
        if isinstance(only, TextPart) and not (self._is_own and only.extra):
            return only.text
        return [self._part(part, f"{path}[{number}]") for number, part in enumerate(parts)]

    def _part(self, part: Part, path: str) -> Item:
        if isinstance(part, OpaquePart):
            return part.raw
        shown = self._input(part, path)
        return {**shown, **part.extra} if self._is_own else shown

    def _input(self, part: Part, path: str) -> Json:
        match part:
            case TextPart():
                return {"type": "input_text", "text": part.text}
            case RefusalPart() if self._is_own:
                return {"type": "refusal", "refusal": part.text}
            case RefusalPart():
                return {"type": "input_text", "text": part.text}
            case ImagePart():
                return _image_json(part)
            case FilePart():
                if part.file_id is not None and not self._is_own:
                    raise untranslatable(path, self._source, NAME, what="file")
                return _file_json(part, is_own=self._is_own)
            case AudioPart() if self._is_own:
                audio = {"data": part.data, "format": part.format}
                return {"type": "input_audio", "input_audio": audio}
        raise untranslatable(path, self._source, NAME, what="content part")


def item_fields(extra: Extra) -> Extra:
    """The fields of the item that a part begins."""
    return {n.removeprefix(ITEM): raw for n, raw in extra.items() if n.startswith(ITEM)}


def said_json(part: TextPart | RefusalPart, *, is_own: bool) -> Json:
    """What the assistant said, as a part of its message."""
    if isinstance(part, RefusalPart):
        shown: Json = {"type": "refusal", "refusal": part.text}
    else:
        shown = {"type": "output_text", "text": part.text, "annotations": []}
    if is_own:
        shown |= {name: raw for name, raw in part.extra.items() if not name.startswith(ITEM)}
    return shown


def call_json(call: ToolCallPart, *, is_own: bool) -> Json:
    """A function call."""
    shown: Json = {
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }
    return {**shown, **call.extra} if is_own else shown


def reasoning_json(part: ReasoningPart) -> Json:
    """This vendor's own reasoning item. Several texts are kept apart in the part's extra fields."""
    shown: Json = {"type": "reasoning"}
    if part.id is not None:
        shown["id"] = part.id
    has_texts = "summary" in part.extra or "content" in part.extra
    shown["summary"] = summary_json("" if has_texts else part.text)
    if part.encrypted is not None:
        shown["encrypted_content"] = part.encrypted
    return {**shown, **part.extra}


def summary_json(text: str) -> list[Json]:
    """The `summary` of a reasoning item."""
    return [{"type": "summary_text", "text": text}] if text else []


def _image_json(part: ImagePart) -> Json:
    url = part.url or f"data:{part.media_type or 'image/png'};base64,{part.data}"
    shown: Json = {"type": "input_image", "image_url": url}
    if part.detail is not None:
        shown["detail"] = part.detail
    return shown


def _file_json(part: FilePart, *, is_own: bool) -> Json:
    shown: Json = {"type": "input_file"}
    if part.data is not None:
        is_plain = is_own and part.media_type is None
        kind = part.media_type or "application/pdf"
        shown["file_data"] = part.data if is_plain else f"data:{kind};base64,{part.data}"
    if part.url is not None:
        shown["file_url"] = part.url
    if part.file_id is not None:
        shown["file_id"] = part.file_id
    if part.name is not None or (part.data is not None and not is_own):
        shown["filename"] = "document" if part.name is None else part.name
    return shown
