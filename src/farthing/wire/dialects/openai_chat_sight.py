"""What a chat request needs and how large it is, seen in one typed pass over its messages."""

from __future__ import annotations

import re

import msgspec

from farthing.core.calls import InputSize

#: Content part types that need a capability. Quotes inside texts are escaped in JSON, so prose never
#: matches.
_PARTS = re.compile(rb'"type"\s*:\s*"(image_url|input_audio|file)"')
_FEATURES = {"image_url": "images", "input_audio": "audio", "file": "files"}
#: Tools that the caller runs; every other type is the vendor's own, whose findings become input.
_OWN_TOOLS = frozenset({"function", "custom"})


class Sight(msgspec.Struct, frozen=True):
    """features: what the messages need. input: None when they have a form that is not known."""

    features: frozenset[str] = frozenset()
    input: InputSize | None = None


class _Part(msgspec.Struct):
    type: str = ""
    image_url: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None


class _Tool(msgspec.Struct):
    type: str = "function"


_MESSAGES = msgspec.json.Decoder(list[_Message])
_TOOLS = msgspec.json.Decoder(_Tool)


def look(body: bytes, messages: bytes, tools: list[msgspec.Raw] | None) -> Sight:
    """messages: the value of that field. Never raises: what is malformed is the provider's to refuse."""
    try:
        parts = [
            part
            for message in _MESSAGES.decode(messages)
            if type(message.content) is list
            for part in message.content
        ]
        is_open = any(_TOOLS.decode(tool).type not in _OWN_TOOLS for tool in tools or ())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = {_FEATURES[kind.decode()] for kind in set(_PARTS.findall(body))}
        return Sight(frozenset(found))
    if not parts:
        return Sight(input=InputSize(text_bytes=len(body), is_open=is_open))
    kinds = {part.type for part in parts}
    features = frozenset(_FEATURES[kind] for kind in kinds if kind in _FEATURES)
    images = [len(bytes(part.image_url)) for part in parts if part.type == "image_url"]
    return Sight(
        features,
        InputSize(
            text_bytes=len(body) - sum(images),
            media_parts=len(images),
            is_open=is_open or bool(features & {"audio", "files"}),
        ),
    )
