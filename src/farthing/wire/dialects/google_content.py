"""Parts of generateContent's contents to core parts and back."""

from __future__ import annotations

import msgspec

from farthing.core.errors import UntranslatableError
from farthing.core.messages import (
    AudioPart,
    FilePart,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from farthing.wire.dialects._fields import Fields, arguments_json
from farthing.wire.dialects._seals import seal, unsealed
from farthing.wire.dialects.google_words import NAME, NO_SIGNATURE, SYNTHETIC, camel

Json = dict[str, object]

#: Audio formats by media type, as the OpenAI vocabulary names them; others keep the subtype.
_FORMATS = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav"}
_MEDIA = {"mp3": "audio/mpeg", "wav": "audio/wav"}

#: Images by the end of their address, for links whose media type nobody said.
_IMAGES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".heic": "image/heic",
}

#: Places that only Google can fetch from; such a link is a file's id, not an address.
_OWN_PLACES = ("gs://", "https://generativelanguage.googleapis.com/")


class CallIds:
    """Ids for function calls that came without one, and the calls that their responses answer.

    A response without an id answers the oldest unanswered call of its name.
    """

    def __init__(self, stem: str = "") -> None:
        self._stem = SYNTHETIC + (f"{stem}_" if stem else "")
        self._count = 0
        self._open: dict[str, list[str]] = {}

    def of_call(self, given: str | None, name: str) -> str:
        """The call's own id, or the next made-up one."""
        if given is None:
            given = f"{self._stem}{self._count}"
            self._count += 1
        self._open.setdefault(name, []).append(given)
        return given

    def of_response(self, given: str | None, name: str) -> str:
        """The id of the call that a response belongs to."""
        waiting = self._open.get(name, [])
        if given is not None:
            if given in waiting:
                waiting.remove(given)
            return given
        if waiting:
            return waiting.pop(0)
        given = f"{self._stem}{self._count}"
        self._count += 1
        return given


# --- wire to core -----------------------------------------------------------------------------------


def decode_part(part: Fields, ids: CallIds) -> Part:
    """One part. A kind that only Google has stays opaque under its name."""
    part.spelled(camel)
    if part.is_string("text"):
        return _text(part)
    if part.has("functionCall"):
        return _call(part, ids)
    if part.has("functionResponse"):
        return _response(part, ids)
    if part.has("inlineData"):
        return _inline(part)
    if part.has("fileData"):
        return _linked(part)
    own = [name for name in part.rest() if name not in ("thought", "thoughtSignature")]
    return OpaquePart(dialect=NAME, kind=own[0] if own else "part", raw=part.verbatim)


def _text(part: Fields) -> Part:
    text = part.required_string("text")
    if part.boolean("thought"):
        signature = part.string("thoughtSignature")
        sealed = None if signature is None else seal(signature)
        return ReasoningPart(text=text, encrypted=sealed, extra=part.rest())
    return TextPart(text=text, extra=part.rest())


def _call(part: Fields, ids: CallIds) -> Part:
    call = part.object("functionCall")
    assert call is not None
    call.spelled(camel)
    name = call.required_string("name")
    found = ToolCallPart(
        id=ids.of_call(call.string("id"), name),
        name=name,
        arguments=call.json_text("args") or "{}",
    )
    part.put_back("functionCall", call.rest())
    return msgspec.structs.replace(found, extra=part.rest())


def _response(part: Fields, ids: CallIds) -> Part:
    response = part.object("functionResponse")
    assert response is not None
    response.spelled(camel)
    name = response.required_string("name")
    call_id = ids.of_response(response.string("id"), name)
    said = response.json_text("response") or "{}"
    content: list[Part] = [TextPart(text=said)]
    content += [decode_part(inner, ids) for inner in response.objects("parts")]
    part.put_back("functionResponse", response.rest())
    return ToolResultPart(
        call_id=call_id,
        name=name,
        content=tuple(content),
        is_error=_is_error(said),
        extra=part.rest(),
    )


def _is_error(said: str) -> bool:
    """By Google's convention a response with only the key `error` tells of a failure."""
    try:
        return set(msgspec.json.decode(said, type=dict[str, msgspec.Raw])) == {"error"}
    except msgspec.MsgspecError:
        return False


def _inline(part: Fields) -> Part:
    blob = part.object("inlineData")
    assert blob is not None
    blob.spelled(camel)
    media_type = blob.string("mimeType") or "application/octet-stream"
    data = blob.string("data") or ""
    name = blob.string("displayName")
    part.put_back("inlineData", blob.rest())
    if media_type.startswith("image/") and name is None:
        return ImagePart(data=data, media_type=media_type, extra=part.rest())
    audio = _FORMATS.get(media_type)
    if audio is not None and _MEDIA[audio] == media_type and name is None:
        return AudioPart(data=data, format=audio, extra=part.rest())
    return FilePart(data=data, media_type=media_type, name=name, extra=part.rest())


def _linked(part: Fields) -> Part:
    file = part.object("fileData")
    assert file is not None
    file.spelled(camel)
    uri = file.required_string("fileUri")
    media_type = file.string("mimeType") or _image_type(uri)
    name = file.string("displayName")
    part.put_back("fileData", file.rest())
    if uri.startswith(_OWN_PLACES):
        return FilePart(file_id=uri, media_type=media_type, name=name, extra=part.rest())
    if (media_type or "").startswith("image/") and name is None:
        return ImagePart(url=uri, media_type=media_type, extra=part.rest())
    return FilePart(url=uri, media_type=media_type, name=name, extra=part.rest())


# --- core to wire -----------------------------------------------------------------------------------


class Encoder:
    """Parts of one request or answer to wire parts.

    source: the dialect that they come from. names: tool names by call id, for results that do not say
    theirs. dropped: paths that were left out, appended to.
    """

    def __init__(self, source: str, dropped: list[str]) -> None:
        self.source = source
        self.dropped = dropped
        self.names: dict[str, str] = {}

    def parts(self, parts: tuple[Part, ...], path: str) -> list[Json | msgspec.Raw]:
        """All parts that can be said. Raises UntranslatableError for one that must not be left out."""
        found: list[Json | msgspec.Raw] = []
        needs_signature = self.source != NAME
        for number, part in enumerate(parts):
            if isinstance(part, OpaquePart):
                found.append(part.raw)
                continue
            shown = self._part(part, f"{path}[{number}]")
            if shown is None:
                continue
            if isinstance(part, ToolCallPart) and needs_signature:
                # Only the first call of a turn is checked; the others never carry a signature.
                shown.setdefault("thoughtSignature", NO_SIGNATURE)
                needs_signature = False
            found.append(self._with_extra(shown, part.extra))
        return found

    def _with_extra(self, shown: Json, extra: dict[str, msgspec.Raw]) -> Json:
        if self.source != NAME:
            return shown
        for name, raw in extra.items():
            inner = shown.get(name)
            if isinstance(inner, dict):
                inner.update(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]))
            else:
                shown[name] = raw
        return shown

    def _part(self, part: Part, path: str) -> Json | None:
        match part:
            case TextPart() | RefusalPart():
                return {"text": part.text}
            case ImagePart():
                return self._image(part, path)
            case AudioPart():
                media_type = _MEDIA.get(part.format, f"audio/{part.format}")
                return {"inlineData": {"mimeType": media_type, "data": part.data}}
            case FilePart():
                return self._file(part, path)
            case ReasoningPart():
                return self._thought(part, path)
            case ToolCallPart():
                return self._tool_call(part, path)
            case ToolResultPart():
                return {"functionResponse": self._tool_result(part, path)}
            case _:
                raise AssertionError(type(part).__name__)

    def _image(self, part: ImagePart, path: str) -> Json:
        if part.detail is not None:
            self.dropped.append(f"{path}.detail")
        if part.data is not None:
            return {"inlineData": {"mimeType": part.media_type or "image/png", "data": part.data}}
        return _file_data(part.url or "", part.media_type or _image_type(part.url or ""), None)

    def _file(self, part: FilePart, path: str) -> Json:
        if part.data is not None:
            blob: Json = {"mimeType": part.media_type or "application/pdf", "data": part.data}
            if part.name is not None and self.source == NAME:
                blob["displayName"] = part.name
            elif part.name is not None:
                self.dropped.append(f"{path}.name")
            return {"inlineData": blob}
        if part.file_id is not None and self.source != NAME:
            raise UntranslatableError(
                f"The file at '{path}' is stored at another vendor and only named here by its id.",
                hint="Send its content inline or by URL.",
                param=path,
            )
        return _file_data(part.file_id or part.url or "", part.media_type, part.name)

    def _thought(self, part: ReasoningPart, path: str) -> Json | None:
        signature = unsealed(part.encrypted) or unsealed(part.signature)
        if self.source != NAME and signature is None:
            # Another model's thinking is no instruction, and only its own vendor can read its seal.
            self.dropped.append(path)
            return None
        shown: Json = {"text": part.text, "thought": True}
        if signature is not None:
            shown["thoughtSignature"] = signature
        return shown

    def _tool_call(self, part: ToolCallPart, path: str) -> Json:
        self.names[part.id] = part.name
        call: Json = {
            "name": part.name,
            "args": arguments_json(part.arguments, f"{path}.arguments"),
        }
        if not part.id.startswith(SYNTHETIC):
            call["id"] = part.id
        return {"functionCall": call}

    def _tool_result(self, part: ToolResultPart, path: str) -> Json:
        name = part.name or self.names.get(part.call_id)
        if name is None:
            raise UntranslatableError(
                f"The tool result at '{path}' answers a call that is not in this conversation.",
                hint="Keep the assistant message with its tool calls before the results.",
                param=path,
            )
        texts = [p.text for p in part.content if isinstance(p, TextPart)]
        shown: Json = {"name": name, "response": _said("".join(texts), is_error=part.is_error)}
        if not part.call_id.startswith(SYNTHETIC):
            shown["id"] = part.call_id
        others = tuple(p for p in part.content if not isinstance(p, TextPart))
        if others:
            shown["parts"] = self.parts(others, f"{path}.content")
        return shown


def _image_type(url: str) -> str | None:
    path = url.partition("?")[0].partition("#")[0].lower()
    return next((kind for end, kind in _IMAGES.items() if path.endswith(end)), None)


def _file_data(uri: str, media_type: str | None, name: str | None) -> Json:
    data: Json = {"fileUri": uri}
    if media_type is not None:
        data["mimeType"] = media_type
    if name is not None:
        data["displayName"] = name
    return {"fileData": data}


def _said(text: str, *, is_error: bool) -> Json | msgspec.Raw:
    """A tool's words as the object that Google wants: `output` and `error` are its own two names."""
    key = "error" if is_error else "output"
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        return {key: text}
    return msgspec.Raw(text.encode()) if not is_error or set(fields) == {"error"} else {key: text}
