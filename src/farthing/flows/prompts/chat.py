"""Chat prompts as text: `system:` and `user:` on lines of their own, read into messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from farthing.core.errors import FlowError

ROLES = ("system", "user", "assistant", "function", "tool")
#: A role is a line of its own: the line's end behind the colon belongs to it.
ROLE_LINE = re.compile(
    r"^\s*#?\s*(" + "|".join(ROLES) + r")\s*:\s*\n", re.IGNORECASE | re.MULTILINE
)
_NAMED = re.compile(
    r"\n*#{0,2}\s*name\s*:\s*\n+\s*(\S+)\s*\n*#{0,2}\s*content\s*:\s*\n?(.*)", re.DOTALL
)
_ANSWERING = re.compile(
    r"\n*#{0,2}\s*tool_call_id\s*:\s*\n+\s*(\S+)\s*\n*#{0,2}\s*content\s*:\s*\n?(.*)", re.DOTALL
)
_CALLS = re.compile(r"\n*#{0,2}\s*tool_calls\s*:\s*\n+\s*(\[.*?\])", re.DOTALL)

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
    before, *parts = ROLE_LINE.split(text)
    if before.strip():
        raise ChatFormatError(
            "The prompt has text before its first role.",
            hint="Begin with a line that is 'system:' or 'user:' and nothing else; or set api: completion.",
        )
    lines = {str(picture): picture for picture in pictures}
    messages = []
    for role, body in zip(parts[::2], parts[1::2], strict=True):
        messages.append(_message(role.lower(), body, lines, detail))
    return messages


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
