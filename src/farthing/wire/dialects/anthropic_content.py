"""Content blocks of the Messages API to core parts and back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

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
from farthing.wire.dialects._seals import is_sealed
from farthing.wire.dialects.anthropic_words import NAME

Json = dict[str, object]


# --- blocks to parts --------------------------------------------------------------------------------


def decode_content(fields: Fields, name: str = "content") -> tuple[Part, ...]:
    """The parts of a `content` that is a string or a list of blocks; empty when absent."""
    if fields.is_string(name):
        return (TextPart(text=fields.required_string(name)),)
    return tuple(decode_block(block) for block in fields.objects(name))


def decode_block(block: Fields) -> Part:
    """One content block. An unknown type, or a source that only this vendor can read, stays opaque."""
    kind = block.required_string("type")
    decode = _DECODERS.get(kind)
    part = decode(block) if decode is not None else None
    return part if part is not None else OpaquePart(dialect=NAME, kind=kind, raw=block.verbatim)


def _text(block: Fields) -> Part:
    return TextPart(text=block.required_string("text"), extra=block.rest())


def _image(block: Fields) -> Part | None:
    source = block.object("source")
    if source is None:
        return None
    match source.string("type"):
        case "base64":
            return ImagePart(
                data=source.required_string("data"),
                media_type=source.required_string("media_type"),
                extra=block.rest(),
            )
        case "url":
            return ImagePart(url=source.required_string("url"), extra=block.rest())
    return None


def _document(block: Fields) -> Part | None:
    source = block.object("source")
    if source is None:
        return None
    kind = source.string("type")
    if kind not in ("base64", "text", "url", "file"):
        return None
    data = source.required_string("data") if kind in ("base64", "text") else None
    if kind == "text" and data is not None:
        data = base64.b64encode(data.encode()).decode()
    return FilePart(
        data=data,
        url=source.required_string("url") if kind == "url" else None,
        file_id=source.required_string("file_id") if kind == "file" else None,
        media_type=source.string("media_type"),
        name=block.string("title"),
        extra=block.rest(),
    )


def _thinking(block: Fields) -> Part:
    return ReasoningPart(
        text=block.required_string("thinking"),
        signature=block.string("signature"),
        extra=block.rest(),
    )


def _redacted_thinking(block: Fields) -> Part:
    return ReasoningPart(encrypted=block.required_string("data"), extra=block.rest())


def _tool_use(block: Fields) -> Part:
    return ToolCallPart(
        id=block.required_string("id"),
        name=block.required_string("name"),
        arguments=block.json_text("input") or "{}",
        extra=block.rest(),
    )


def _tool_result(block: Fields) -> Part:
    return ToolResultPart(
        call_id=block.required_string("tool_use_id"),
        content=decode_content(block),
        is_error=block.boolean("is_error") or False,
        extra=block.rest(),
    )


_DECODERS: dict[str, Callable[[Fields], Part | None]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "thinking": _thinking,
    "redacted_thinking": _redacted_thinking,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}


# --- parts to blocks --------------------------------------------------------------------------------


def encode_content(
    parts: tuple[Part, ...], *, path: str, source: str, dropped: list[str]
) -> str | list[Json | msgspec.Raw]:
    """A `content`: a plain string for one plain text, else blocks. Dropped parts are appended by path.

    source: the dialect that the parts come from. Its sealed thinking is only ever returned to the
    vendor that sealed it. Raises UntranslatableError for parts that cannot be left out (audio).
    """
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        text = parts[0]
        if not (text.extra and source == NAME):
            return text.text
    blocks = []
    for number, part in enumerate(parts):
        if isinstance(part, TextPart) and not part.text and source != NAME:
            continue  # Other vendors pad tool calls with empty text; this one rejects it.
        block = encode_block(part, path=f"{path}[{number}]", source=source, dropped=dropped)
        if block is not None:
            blocks.append(block)
    return blocks


def encode_block(
    part: Part, *, path: str, source: str, dropped: list[str]
) -> Json | msgspec.Raw | None:
    """One block; None when the part is dropped."""
    if isinstance(part, OpaquePart):
        return part.raw
    block = _block(part, path, source, dropped)
    if block is not None and source == NAME:
        block.update(part.extra)
    return block


def _block(part: Part, path: str, source: str, dropped: list[str]) -> Json | None:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case RefusalPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            if part.detail is not None and source != NAME:
                dropped.append(f"{path}.detail")
            return {"type": "image", "source": _image_source(part)}
        case FilePart():
            return _document_block(part, path, source)
        case ToolCallPart():
            return {
                "type": "tool_use",
                "id": part.id,
                "name": part.name,
                "input": arguments_json(part.arguments, f"{path}.arguments"),
            }
        case ToolResultPart():
            return _result_block(part, path, source, dropped)
        case ReasoningPart():
            return _thinking_block(part, path, source, dropped)
        case AudioPart():
            raise UntranslatableError(
                f"The audio at '{path}' cannot be sent: {NAME} takes no audio.",
                hint="Send a transcript, or choose a model that listens.",
                param=path,
            )
        case _:
            raise AssertionError(type(part).__name__)


def _image_source(part: ImagePart) -> Json:
    if part.url is not None:
        return {"type": "url", "url": part.url}
    return {"type": "base64", "media_type": part.media_type or "image/png", "data": part.data}


def _document_block(part: FilePart, path: str, source: str) -> Json:
    if part.file_id is not None and source != NAME:
        raise UntranslatableError(
            f"The file at '{path}' is stored at another vendor and only named here by its id.",
            hint="Send its content inline or by URL.",
            param=path,
        )
    block: Json = {"type": "document", "source": _document_source(part)}
    if part.name is not None:
        block["title"] = part.name
    return block


def _document_source(part: FilePart) -> Json:
    if part.file_id is not None:
        return {"type": "file", "file_id": part.file_id}
    if part.url is not None:
        return {"type": "url", "url": part.url}
    if (part.media_type or "").startswith("text/plain"):
        text = _decoded_text(part.data or "")
        if text is not None:
            return {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": "base64", "media_type": part.media_type or "application/pdf", "data": part.data}


def _decoded_text(data: str) -> str | None:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _result_block(part: ToolResultPart, path: str, source: str, dropped: list[str]) -> Json:
    block: Json = {"type": "tool_result", "tool_use_id": part.call_id}
    if part.content:
        block["content"] = encode_content(
            part.content, path=f"{path}.content", source=source, dropped=dropped
        )
    if part.is_error:
        block["is_error"] = True
    return block


def _thinking_block(part: ReasoningPart, path: str, source: str, dropped: list[str]) -> Json | None:
    if part.encrypted is not None and not is_sealed(part.encrypted) and source == NAME:
        return {"type": "redacted_thinking", "data": part.encrypted}
    if part.signature is not None and not is_sealed(part.signature):
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    if source == NAME and part.encrypted is None:
        return {"type": "thinking", "thinking": part.text}
    # Thinking without this vendor's seal is refused by it, and leaving it out changes no instruction.
    dropped.append(path)
    return None
