"""Messages: what people, models and tools say to each other, independent of any vendor's JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from farthing.core.private import Extra, PrivateStruct

Role = Literal["system", "developer", "user", "assistant", "tool"]


class TextPart(PrivateStruct, frozen=True, kw_only=True, tag="text"):
    """Plain text."""

    text: str
    extra: Extra = {}


class ImagePart(PrivateStruct, frozen=True, kw_only=True, tag="image"):
    """An image, by URL or inline. Exactly one of `url` and `data` is set.

    data: base64 text as it stood on the wire. media_type: e.g. `image/png`; known when inline.
    """

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    extra: Extra = {}


class AudioPart(PrivateStruct, frozen=True, kw_only=True, tag="audio"):
    """Inline audio. data: base64 text. format: `wav`, `mp3`, …"""

    data: str
    format: str
    extra: Extra = {}


class FilePart(PrivateStruct, frozen=True, kw_only=True, tag="file"):
    """A document (usually a PDF): inline base64 `data`, a `url`, or a vendor's `file_id`."""

    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    media_type: str | None = None
    name: str | None = None
    extra: Extra = {}


class ReasoningPart(PrivateStruct, frozen=True, kw_only=True, tag="reasoning"):
    """A model's visible or sealed thinking.

    text: the thinking, or a summary of it. signature: the vendor's seal, to be returned unchanged.
    encrypted: sealed content (OpenAI `encrypted_content`, Anthropic `redacted_thinking` data,
    Google `thoughtSignature`). id: the item's id where the vendor has one.
    """

    text: str = ""
    signature: str | None = None
    encrypted: str | None = None
    id: str | None = None
    extra: Extra = {}


class ToolCallPart(PrivateStruct, frozen=True, kw_only=True, tag="tool_call"):
    """The assistant asks for a tool. arguments: JSON text exactly as the model wrote it."""

    id: str
    name: str
    arguments: str
    extra: Extra = {}


class ToolResultPart(PrivateStruct, frozen=True, kw_only=True, tag="tool_result"):
    """What a tool answered, tied to the call by `call_id`. name: the tool's, where a dialect says it."""

    call_id: str
    content: tuple[Part, ...] = ()
    is_error: bool = False
    name: str | None = None
    extra: Extra = {}


class RefusalPart(PrivateStruct, frozen=True, kw_only=True, tag="refusal"):
    """The assistant declines, in its own words."""

    text: str
    extra: Extra = {}


class OpaquePart(PrivateStruct, frozen=True, kw_only=True, tag="opaque"):
    """A content part that only `dialect` knows. Kept verbatim; another dialect refuses it by `kind`."""

    dialect: str
    kind: str
    raw: msgspec.Raw


Part = (
    TextPart
    | ImagePart
    | AudioPart
    | FilePart
    | ReasoningPart
    | ToolCallPart
    | ToolResultPart
    | RefusalPart
    | OpaquePart
)


class Message(PrivateStruct, frozen=True, kw_only=True):
    """One turn. A `tool` message holds `ToolResultPart`s only; tool calls live in assistant messages."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    extra: Extra = {}


def text_of(message: Message) -> str:
    """The message's text parts joined; other parts are left out."""
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))
