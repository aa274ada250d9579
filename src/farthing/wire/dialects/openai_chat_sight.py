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


_NO_FEATURES: frozenset[str] = frozenset()


class _Part(msgspec.Struct):
    type: str = ""
    image_url: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None


class _Tool(msgspec.Struct):
    type: str = "function"


_MESSAGES = msgspec.json.Decoder(list[_Message])
_TOOLS = msgspec.json.Decoder(_Tool)


def look(
    body: bytes, messages: bytes, tools: list[msgspec.Raw] | None, *, is_open: bool
) -> tuple[frozenset[str], InputSize | None]:
    """The features that the messages need, and how large they are: None when their form is not known.

    messages: the value of that field. is_open: the vendor adds input whatever the tools are.
    Never raises: what is malformed is the provider's to refuse.
    """
    parts: list[_Part] = []
    try:
        for message in _MESSAGES.decode(messages):
            if type(message.content) is list:
                parts += message.content
        if tools:
            is_open |= any(_TOOLS.decode(tool).type not in _OWN_TOOLS for tool in tools)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = {_FEATURES[kind.decode()] for kind in set(_PARTS.findall(body))}
        return frozenset(found), None
    if not parts:
        return _NO_FEATURES, InputSize(text_bytes=len(body), is_open=is_open)
    kinds = {part.type for part in parts}
    features = frozenset(_FEATURES[kind] for kind in kinds if kind in _FEATURES)
    images = [len(bytes(part.image_url)) for part in parts if part.type == "image_url"]
    size = InputSize(
        text_bytes=len(body) - sum(images),
        media_parts=len(images),
        is_open=is_open or bool(features & {"audio", "files"}),
    )
    return features, size
