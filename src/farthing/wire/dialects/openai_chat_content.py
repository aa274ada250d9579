"""Messages and content parts of chat completions to core words and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import msgspec

from farthing.core.errors import BadRequestError
from farthing.core.messages import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from farthing.core.private import Extra
from farthing.wire.dialects._fields import Fields
from farthing.wire.dialects._foreign import untranslatable
from farthing.wire.dialects.openai_chat_spoken import thinking_in

NAME = "openai-chat"
Json = dict[str, object]

#: Where vendors that show their thinking put it (DeepSeek, vLLM; OpenRouter and Groq say `reasoning`).
_THOUGHTS = ("reasoning_content", "reasoning")


# --- to core words ----------------------------------------------------------------------------------


def decode_message(fields: Fields) -> Message:
    """One message. Raises the error that `fields` raises (a client's or a provider's)."""
    role = fields.required_string("role")
    if role == "function":  # the form before tools: the result is tied to the call by its name
        name = fields.required_string("name")
        result = ToolResultPart(call_id=name, content=_content(fields), name=name)
        return Message(role="tool", parts=(result,), extra=fields.rest())
    if role not in get_args(Role):
        raise fields.fault("role", f"must be one of {', '.join(get_args(Role))}.")
    if role == "tool":
        result = ToolResultPart(
            call_id=fields.required_string("tool_call_id"), content=_content(fields)
        )
        return Message(
            role="tool", parts=(result,), name=fields.string("name"), extra=fields.rest()
        )
    parts: list[Part] = []
    if role == "assistant":
        thought = next((t for name in _THOUGHTS if (t := fields.string(name))), None)
        if thought:
            parts.append(ReasoningPart(text=thought))
    parts += _content(fields)
    if role == "assistant":
        refusal = fields.string("refusal")
        if refusal:
            parts.append(RefusalPart(text=refusal))
        parts += [_call(call) for call in fields.objects("tool_calls")]
        legacy = fields.object("function_call")
        if legacy is not None:
            name = legacy.required_string("name")
            arguments = legacy.string("arguments") or ""
            parts.append(ToolCallPart(id=name, name=name, arguments=arguments))
    return Message(
        role=msgspec.convert(role, Role),
        parts=tuple(parts),
        name=fields.string("name"),
        extra=fields.rest(),
    )


def _content(fields: Fields) -> tuple[Part, ...]:
    if not fields.has("content"):
        return ()
    if fields.is_string("content"):
        text = fields.required_string("content")
        return (TextPart(text=text),) if text else ()
    return tuple(_part(part) for part in fields.objects("content"))


def _part(part: Fields) -> Part:
    kind = part.required_string("type")
    decode = _DECODERS.get(kind)
    if decode is None:
        return OpaquePart(dialect=NAME, kind=kind, raw=part.verbatim)
    return decode(part)


def _text(part: Fields) -> Part:
    return TextPart(text=part.required_string("text"), extra=part.rest())


def _refusal(part: Fields) -> Part:
    return RefusalPart(text=part.required_string("refusal"), extra=part.rest())


def _image(part: Fields) -> Part:
    image = part.object("image_url")
    if image is None:
        raise part.fault("image_url", "is missing.")
    url = image.required_string("url")
    detail = image.string("detail")
    part.put_back("image_url", image.rest())
    inline = data_url(url)
    if inline is None:
        return ImagePart(url=url, detail=detail, extra=part.rest())
    return ImagePart(data=inline[1], media_type=inline[0], detail=detail, extra=part.rest())


def _audio(part: Fields) -> Part:
    audio = part.object("input_audio")
    if audio is None:
        raise part.fault("input_audio", "is missing.")
    return AudioPart(
        data=audio.required_string("data"),
        format=audio.required_string("format"),
        extra=part.rest(),
    )


def _file(part: Fields) -> Part:
    file = part.object("file")
    if file is None:
        raise part.fault("file", "is missing.")
    data = file.string("file_data")
    inline = data_url(data) if data else None
    return FilePart(
        data=inline[1] if inline else data,
        media_type=inline[0] if inline else None,
        file_id=file.string("file_id"),
        name=file.string("filename"),
        extra=part.rest(),
    )


def _thinking(part: Fields) -> Part:
    """Mistral's form. A shape that we do not know is kept whole."""
    text = thinking_in(part.verbatim)
    if text is None:
        return OpaquePart(dialect=NAME, kind="thinking", raw=part.verbatim)
    return ReasoningPart(text=text)


_DECODERS: dict[str, Callable[[Fields], Part]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "thinking": _thinking,
}


def _call(call: Fields) -> Part:
    kind = call.string("type") or "function"
    if kind != "function":
        return OpaquePart(dialect=NAME, kind=kind, raw=call.verbatim)
    function = call.object("function")
    if function is None:
        raise call.fault("function", "is missing.")
    return ToolCallPart(
        id=call.string("id") or "",
        name=function.required_string("name"),
        arguments=function.string("arguments") or "",
        extra=call.rest(),
    )


def data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 data of a `data:` URL; None for any other address."""
    if not url.startswith("data:"):
        return None
    head, _, data = url[5:].partition(",")
    media_type, _, encoding = head.partition(";")
    return (media_type, data) if encoding.endswith("base64") else None


# --- from core words --------------------------------------------------------------------------------


class Encoder:
    """Writes messages of a request that came in the dialect `source`; notes what is lost in `dropped`."""

    def __init__(self, source: str, dropped: list[str]) -> None:
        self._is_own = source == NAME
        self._source = source
        self._dropped = dropped

    def message(self, message: Message, path: str) -> list[Json]:
        """The messages for one of core's: a tool turn may hold several results, each its own message."""
        if message.role == "tool":
            results = [p for p in message.parts if isinstance(p, ToolResultPart)]
            made = [self._result(result, path, message) for result in results]
            others = tuple(p for p in message.parts if not isinstance(p, ToolResultPart))
            if others:
                made.append({"role": "user", "content": self._content(others, path)})
            return made
        spoken = tuple(p for p in message.parts if not isinstance(p, ToolCallPart | ReasoningPart))
        refusal = next((p for p in spoken if isinstance(p, RefusalPart)), None)
        if message.role == "assistant":
            spoken = tuple(p for p in spoken if not isinstance(p, RefusalPart))
        shown: Json = {"role": message.role}
        calls = self._calls(message)
        content = self._content(spoken, path)
        if content or not (calls or refusal):
            shown["content"] = content or ""
        elif message.role == "assistant":
            shown["content"] = None
        if refusal is not None and message.role == "assistant":
            shown["refusal"] = refusal.text
        if calls:
            shown["tool_calls"] = calls
        if message.name is not None:
            shown["name"] = message.name
        self._put_thoughts(shown, message, path)
        if self._is_own:
            shown.update(message.extra)
        return [shown]

    def _put_thoughts(self, shown: Json, message: Message, path: str) -> None:
        thoughts = [p for p in message.parts if isinstance(p, ReasoningPart)]
        if not thoughts:
            return
        if self._is_own:
            shown["reasoning_content"] = "".join(p.text for p in thoughts)
        else:
            # Another vendor's thinking is no instruction, and its seal can be read by that vendor only.
            self._dropped.append(f"{path}.reasoning")

    def _result(self, result: ToolResultPart, path: str, message: Message) -> Json:
        shown: Json = {"role": "tool", "tool_call_id": result.call_id}
        shown["content"] = self._content(result.content, path, in_result=True) or ""
        if result.is_error:
            self._dropped.append(f"{path}.is_error")
        if message.name is not None:
            shown["name"] = message.name
        if self._is_own:
            shown.update(message.extra)
        return shown

    def _calls(self, message: Message) -> list[Json | msgspec.Raw]:
        calls: list[Json | msgspec.Raw] = []
        for part in message.parts:
            if isinstance(part, ToolCallPart):
                function = {"name": part.name, "arguments": part.arguments or "{}"}
                if self._is_own:
                    function["arguments"] = part.arguments
                call: Json = {"id": part.id, "type": "function", "function": function}
                calls.append({**call, **(part.extra if self._is_own else {})})
            elif isinstance(part, OpaquePart) and part.kind == "custom":
                calls.append(part.raw)
        return calls

    def _content(
        self, parts: tuple[Part, ...], path: str, *, in_result: bool = False
    ) -> str | list[Json | msgspec.Raw]:
        only = parts[0] if len(parts) == 1 else None
        if isinstance(only, TextPart) and not (self._is_own and only.extra):
            return only.text
        shown: list[Json | msgspec.Raw] = []
        for number, part in enumerate(parts):
            encoded = self._part(part, f"{path}.content[{number}]", in_result=in_result)
            if encoded is not None:
                shown.append(encoded)
        return shown

    def _part(self, part: Part, path: str, *, in_result: bool) -> Json | msgspec.Raw | None:
        match part:
            case TextPart():
                return self._with_extra({"type": "text", "text": part.text}, part.extra)
            case RefusalPart():
                return self._with_extra({"type": "refusal", "refusal": part.text}, part.extra)
            case ImagePart() | AudioPart() | FilePart() if in_result and not self._is_own:
                raise untranslatable(path, self._source, NAME, what="media in a tool's result")
            case ImagePart():
                return self._with_extra(_image_json(part), part.extra)
            case AudioPart():
                audio = {"data": part.data, "format": part.format}
                return self._with_extra({"type": "input_audio", "input_audio": audio}, part.extra)
            case FilePart():
                if part.url is not None or (part.file_id is not None and not self._is_own):
                    raise untranslatable(path, self._source, NAME, what="file")
                return self._with_extra(_file_json(part, is_own=self._is_own), part.extra)
            case OpaquePart():
                if part.dialect != NAME:
                    raise untranslatable(
                        path, self._source, NAME, what=f"content part '{part.kind}'"
                    )
                return None if part.kind == "custom" else part.raw
            case ToolResultPart() | ToolCallPart() | ReasoningPart():
                raise BadRequestError(f"The part at '{path}' cannot stand in a message's content.")

    def _with_extra(self, shown: Json, extra: Extra) -> Json:
        if not self._is_own or not extra:
            return shown
        inner = extra.get("image_url")
        if inner is not None and isinstance(shown.get("image_url"), dict):
            rest = msgspec.json.decode(inner, type=dict[str, msgspec.Raw])
            kept = shown["image_url"]
            assert isinstance(kept, dict)
            shown["image_url"] = {**rest, **kept}
            extra = {name: raw for name, raw in extra.items() if name != "image_url"}
        return {**shown, **extra}


def _image_json(part: ImagePart) -> Json:
    url = part.url or f"data:{part.media_type or 'image/png'};base64,{part.data}"
    image: Json = {"url": url}
    if part.detail is not None:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _file_json(part: FilePart, *, is_own: bool) -> Json:
    file: Json = {}
    if part.data is not None:
        plain = is_own and part.media_type is None
        kind = part.media_type or "application/pdf"
        file["file_data"] = part.data if plain else f"data:{kind};base64,{part.data}"
    if part.file_id is not None:
        file["file_id"] = part.file_id
    if part.name is not None or (part.data is not None and not is_own):
        file["filename"] = part.name or "document"
    return {"type": "file", "file": file}
