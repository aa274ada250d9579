"""The messages of a prompty in the second dialect: roles with attributes, conversations and media as inputs.

Only what stands in the file begins a message. Before a template is rendered its role lines get a mark that
nobody can guess; afterwards a line without it is text, wherever its words came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from farthing.core.errors import FlowInputError
from farthing.flows.prompts.chat import is_picture
from farthing.flows.prompts.templates import PromptError, render

Message = dict[str, Any]

ROLES = ("system", "user", "assistant", "developer", "tool")
_BLOCKS = r"[ \t]*(?:\{%(?:(?!%\})[^\n])*%\}[ \t]*)*"
#: A role, or an expression that gives one, alone on its line with a colon; `user[name="Ann"]:` has attributes.
_TEMPLATE_ROLE = re.compile(
    rf"^(?P<before>{_BLOCKS}#?[ \t]*)(?P<role>{'|'.join(ROLES)}|\{{\{{(?!-)[^{{}}\n]*\}}\}})"
    rf"(?P<attributes>[ \t]*\[[^\n]*\])?(?P<after>[ \t]*:{_BLOCKS})$",
    re.IGNORECASE | re.MULTILINE,
)
_ATTRIBUTE = re.compile(r'\s*(\w+)\s*=\s*("[^"\n]*"|[^",\]\n]*?)\s*(?:,|$)')
#: Formats of audio by the end of their media type, where the two differ.
_AUDIO = {"x-wav": "wav", "mpeg": "mp3"}
_DATA_URL = re.compile(r"data:(?P<type>[\w.+/-]+)[^,]*;base64,(?P<data>.*)", re.DOTALL)


class Marked:
    """A template with its role lines marked. secret: a text that nobody can guess."""

    def __init__(self, template: str, secret: str) -> None:
        self._mark = f"<{secret}>"
        self._secret = secret
        self.text = _TEMPLATE_ROLE.sub(
            rf"\g<before>{self._mark}\g<role>{self._mark}\g<attributes>\g<after>", template
        )
        mark = re.escape(self._mark)
        self._line = re.compile(
            rf"^[ \t]*+(?:#[ \t]*+)?{mark}[ \t]*({'|'.join(ROLES)})[ \t]*{mark}[ \t]*(\[[^\n]*\])?[ \t]*:[ \t]*$",
            re.IGNORECASE | re.MULTILINE,
        )
        self._broken = re.compile(rf"{mark}({'|'.join(ROLES)}){mark}[ \t]*\[", re.IGNORECASE)
        self._rich = re.compile(rf"<{secret}:(\w+)>")

    def messages(
        self, values: Mapping[str, Any], rich: Mapping[str, str], folder: Path
    ) -> list[Message]:
        """The messages with these values. rich: inputs that are no text, by name, with their kind.

        folder: what paths of images are relative to. Raises PromptError, FlowInputError.
        """
        shown = dict(values)
        for name in rich:
            # A conversation that is empty counts as nothing in the template's conditions.
            shown[name] = f"<{self._secret}:{name}>" if _is_given(values.get(name)) else ""
        before, *parts = self._line.split(render(self.text, shown, keeps_lines=True))
        bodies: list[tuple[str, str | None, str]] = []
        if before.strip() or not parts:
            bodies.append(("system", None, before))
        bodies += zip(parts[::3], parts[1::3], parts[2::3], strict=True)
        found: list[Message] = []
        for role, attributes, body in bodies:
            if self._broken.search(body):
                raise PromptError(
                    "A value in the attributes of a role breaks its line.",
                    hint="Attributes are short: leave line breaks and brackets out of their values.",
                )
            text = body.replace(self._mark, "").strip("\n")
            head = {"role": role.lower(), **_attributes(attributes)}
            found += self._split(head, text, values, rich, folder)
        return found

    def _split(
        self,
        head: Message,
        text: str,
        values: Mapping[str, Any],
        rich: Mapping[str, str],
        folder: Path,
    ) -> Iterator[Message]:
        """A message; conversations in it stand between what is before and behind them."""
        content: list[Message] = []
        is_cut = False
        for number, piece in enumerate(self._rich.split(text)):
            if number % 2 == 0:
                text = piece if number == 0 and len(piece) == len(text) else piece.strip("\n")
                content += [{"type": "text", "text": text}] if text.strip() else []
            elif rich[piece] == "thread":
                if content:
                    yield {**head, "content": _content(content)}
                content, is_cut = [], True
                yield from conversation(piece, values[piece])
            else:
                content.append(_medium(piece, rich[piece], values[piece], folder))
        if content or not is_cut:
            yield {**head, "content": _content(content)}


def conversation(name: str, told: Any) -> list[Message]:
    """The messages of a conversation: with roles, or turns of inputs and outputs as chats here keep them.

    name: of the input. Raises FlowInputError.
    """
    if not isinstance(told, list):
        raise _no_message(name, "a list")
    found: list[Message] = []
    for each in told:
        if not isinstance(each, Mapping):
            raise _no_message(name, "a list of messages")
        if isinstance(each.get("inputs"), Mapping) and isinstance(each.get("outputs"), Mapping):
            for role, side in (("user", "inputs"), ("assistant", "outputs")):
                texts = [text for text in each[side].values() if isinstance(text, str)]
                if len(texts) != 1:
                    raise _no_message(name, f"turns with one text in their {side}")
                found.append({"role": role, "content": texts[0]})
            continue
        parts = each.get("parts")
        if not isinstance(each.get("role"), str) or not each["role"]:
            raise _no_message(name, "messages with a role")
        message = {key: value for key, value in each.items() if key not in ("parts", "metadata")}
        if isinstance(parts, list):
            message["content"] = _content([_part(name, part) for part in parts])
        if isinstance(each.get("metadata"), Mapping):
            message = {**each["metadata"], **message}
        found.append(message)
    return found


def text_of(messages: list[Message]) -> str:
    """The text of messages, which an embedding is asked for."""
    texts = [each["content"] for each in messages]
    return "\n\n".join(each for each in texts if isinstance(each, str))


def _is_given(value: Any) -> bool:
    return value is not None and not (isinstance(value, str | list | dict) and not value)


def _content(parts: list[Message]) -> str | list[Message]:
    """One text is a text, more or other parts are a list."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _part(name: str, told: Any) -> Message:
    """A part of a message as conversations have it, as it is sent."""
    if not isinstance(told, Mapping):
        raise _no_message(name, "messages whose parts are mappings")
    if told.get("kind") == "text":
        return {"type": "text", "text": str(told.get("value", told.get("text", "")))}
    if told.get("kind") in ("image", "audio", "file"):
        return _medium(name, told["kind"], told, None)
    return dict(told)


def _medium(name: str, kind: str, told: Any, folder: Path | None) -> Message:
    """An image, a recording or a file, as a part of a message. Raises FlowInputError."""
    source: Any = told
    media_type: Any = None
    detail: Any = None
    if isinstance(told, Mapping) and not _is_image_form(told):
        source = told.get("source") or told.get("value") or told.get("url")
        media_type, detail = told.get("mediaType"), told.get("detail")
    if kind == "image" and folder is not None and not isinstance(source, str):
        from farthing.flows.prompts.images import image_of

        source = image_of(source, folder).url
    if is_picture(source):
        source = source.url
    if not isinstance(source, str) or not source:
        raise FlowInputError(
            f"The input '{name}' is a {type(source).__name__} that is no {kind}.",
            hint="Give a URL, a data URL, or {source: base64, mediaType: type/name}.",
            param=name,
        )
    if kind == "audio":
        return _audio(name, source, media_type)
    if media_type and not re.match(r"data:|https?://", source):
        source = f"data:{media_type};base64,{source}"
    if kind == "file":
        return {"type": "file", "file": {"url": source}}
    return {
        "type": "image_url",
        "image_url": {"url": source, **({"detail": detail} if detail else {})},
    }


def _audio(name: str, source: str, media_type: str | None) -> Message:
    found = _DATA_URL.fullmatch(source)
    if found is not None:
        source, media_type = found["data"], media_type or found["type"]
    if not media_type or source.startswith(("http://", "https://")):
        raise FlowInputError(
            f"The input '{name}' is audio without its bytes or its type.",
            hint="Give a data URL, e.g. data:audio/wav;base64,…, or {source: base64, mediaType: audio/wav}.",
            param=name,
        )
    form = media_type.removeprefix("audio/")
    return {
        "type": "input_audio",
        "input_audio": {"data": source, "format": _AUDIO.get(form, form)},
    }


def _is_image_form(told: Mapping[str, Any]) -> bool:
    """Whether it is one of prompt flow's forms, which `images` reads."""
    return any(str(key).startswith("data:image/") for key in told) or "type" in told


def _attributes(told: str | None) -> Message:
    """`[name="Ann", id=7]` as fields of a message; whole numbers are numbers."""
    found: Message = {}
    for name, value in _ATTRIBUTE.findall((told or "[]")[1:-1]):
        if name in ("role", "content"):
            continue
        is_number = re.fullmatch(r"-?\d{1,18}", value) is not None
        found[name] = int(value) if is_number else value.strip('"')
    return found


def _no_message(name: str, what: str) -> FlowInputError:
    return FlowInputError(
        f"The input '{name}' is no conversation: it should be {what}.",
        hint='Give [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}].',
        param=name,
    )
