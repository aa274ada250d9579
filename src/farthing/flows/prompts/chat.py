"""Chat prompts as text: `system:` and `user:` on lines of their own, read into messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from farthing.core.errors import FlowError

ROLES = ("system", "user", "assistant", "function", "tool")
#: What stands behind a role and ends its line; the line's end belongs to it. All patterns here take time in
#: proportion to the text, whatever blanks it is made of: texts come from whoever asks.
_ROLE = re.compile("(" + "|".join(ROLES) + r")\s*+:\s*\n", re.IGNORECASE)
_CONTENT = r"(\S+)\s*+#{0,2}+\s*+content\s*+:\s*\n?(.*)"
_NAMED = re.compile(r"name\s*+:(?=\s*\n)\s*+" + _CONTENT, re.DOTALL)
_ANSWERING = re.compile(r"tool_call_id\s*+:(?=\s*\n)\s*+" + _CONTENT, re.DOTALL)
_CALLS = re.compile(r"tool_calls\s*+:(?=\s*\n)\s*+(\[.*?\])", re.DOTALL)

Message = dict[str, Any]


class Picture(Protocol):
    """An image in a prompt. Its `str` is the line that stands for it."""

    @property
    def url(self) -> str:
        """Where it is, or itself as a data URL."""
        ...


def pictures_in(value: Any) -> Iterator[Picture]:
    """The images in a value, at any depth."""
    if isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from pictures_in(each)
    elif is_picture(value):
        yield value


def is_picture(value: Any) -> bool:
    """Whether it is an image that was read."""
    return hasattr(value, "source_url") and hasattr(value, "url")


class ChatFormatError(FlowError):
    """A rendered prompt is no chat."""

    code = "chat_format_invalid"
    status = 400


def parse_chat(
    text: str, pictures: Sequence[Picture] = (), *, detail: str = "auto"
) -> list[Message]:
    """The messages of a rendered prompt. detail: of its images. Raises ChatFormatError."""
    heads = list(role_lines(text))
    if text[: heads[0].start if heads else None].strip():
        raise ChatFormatError(
            "The prompt has text before its first role.",
            hint="Begin with a line that is 'system:' or 'user:' and nothing else; or set api: completion.",
        )
    lines = {str(picture): picture for picture in pictures}
    ends = [each.start for each in heads[1:]] + [len(text)]
    return [
        _message(head.role, text[head.end : end], lines, detail)
        for head, end in zip(heads, ends, strict=True)
    ]


class RoleLine(NamedTuple):
    """A line that begins a message: where it begins and where the next one does. role: in lower case."""

    start: int
    end: int
    role: str


def role_lines(text: str) -> Iterator[RoleLine]:
    """The roles of a prompt: each alone on its line, in any case, a `#` before it or none."""
    floor = 0
    for found in _ROLE.finditer(text):
        start = line_start(text, found.start(), floor)
        if start is not None:
            yield RoleLine(start, found.end(), found[1].lower())
            floor = found.end()


def line_start(text: str, at: int, floor: int = 0) -> int | None:
    """Where the line of `at` begins, if only blanks and at most one `#` stand before it; blank lines count in.

    floor: where what is looked at begins; it is taken for the beginning of a line.
    """
    blanks = _before_blanks(text, at, floor)
    if blanks > floor and text[blanks - 1] == "#":
        earlier = _before_blanks(text, blanks - 1, floor)
        start = _first_line(text, earlier, blanks - 1, floor)
        if start is not None:
            return start
    return _first_line(text, blanks, at, floor)


def _before_blanks(text: str, at: int, floor: int) -> int:
    while at > floor and text[at - 1].isspace():
        at -= 1
    return at


def _first_line(text: str, blanks: int, at: int, floor: int) -> int | None:
    """The first line that begins within the blanks that end at `at`."""
    if blanks == floor:
        return floor
    return text.find("\n", blanks, at) + 1 or None


def _message(role: str, body: str, lines: Mapping[str, Picture], detail: str) -> Message:
    if role == "tool":
        found = _ANSWERING.search(body)
        if found is None:
            raise ChatFormatError(
                "A message of the role tool does not say which call it answers.",
                hint="Write '## tool_call_id:', the id, '## content:' and the content, each on its line.",
            )
        content = _content(found[2], lines, detail)
        return {"role": role, "tool_call_id": found[1], "content": content}
    if role == "assistant":
        calls = _calls(body)
        if calls is not None:
            return {"role": role, "tool_calls": calls}
    found = _NAMED.search(body)
    if found is not None:
        return {"role": role, "name": found[1], "content": _content(found[2], lines, detail)}
    if role == "function":
        raise ChatFormatError(
            "A message of the role function does not name its function.",
            hint="Write '## name:', the name, '## content:' and the content, each on its line.",
        )
    return {"role": role, "content": _content(body, lines, detail)}


def _calls(body: str) -> list[Any] | None:
    found = _CALLS.search(body)
    if found is None:
        return None
    try:
        calls = ast.literal_eval(found[1])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None  # then it is text like any other
    return calls if isinstance(calls, list) else None


def _content(text: str, lines: Mapping[str, Picture], detail: str) -> str | list[Message]:
    """The text without its outer blanks; a list where a line of it stands for an image."""
    text = text.strip()
    if not lines:
        return text
    parts: list[Message] = []
    has_picture = False
    for line in text.split("\n"):
        picture = lines.get(line.strip())
        if picture is not None:
            has_picture = True
            shown = {"url": picture.url, "detail": detail}
            parts.append({"type": "image_url", "image_url": shown})
        elif line.strip():
            parts.append({"type": "text", "text": line})
    return parts if has_picture else text
