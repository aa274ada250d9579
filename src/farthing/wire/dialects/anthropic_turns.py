"""Turns of the Messages API to core messages and back: who speaks, and what belongs together."""

from __future__ import annotations

import msgspec

from farthing.core.chat import ChatRequest
from farthing.core.messages import Message, Part, ToolResultPart
from farthing.wire.dialects._fields import Fields
from farthing.wire.dialects.anthropic_content import Json, decode_content, encode_content
from farthing.wire.dialects.anthropic_words import NAME


def decode_turns(fields: Fields) -> list[Message]:
    """The messages of a request. Raises the error of `fields`, naming the path."""
    if not fields.has("messages"):
        raise fields.fault("messages", "is missing.")
    return [message for turn in fields.objects("messages") for message in _turn(turn)]


def _turn(turn: Fields) -> list[Message]:
    """One wire message. Each tool result becomes a `tool` message, in the order of the blocks."""
    role = turn.required_string("role")
    if role not in ("user", "assistant", "system"):
        raise turn.fault("role", "must be 'user', 'assistant' or 'system'.")
    parts = decode_content(turn)
    extra = turn.rest()
    if role != "user":
        return [
            Message(role="assistant" if role == "assistant" else "system", parts=parts, extra=extra)
        ]
    found: list[Message] = []
    plain: list[Part] = []
    for part in parts:
        if isinstance(part, ToolResultPart):
            if plain:
                found.append(Message(role="user", parts=tuple(plain)))
                plain = []
            found.append(Message(role="tool", parts=(part,)))
        else:
            plain.append(part)
    if plain or not found:
        found.append(Message(role="user", parts=tuple(plain)))
    if extra:
        found[0] = msgspec.structs.replace(found[0], extra=extra)
    return found


def split_system(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """The leading system and developer messages, and the rest."""
    for number, message in enumerate(messages):
        if message.role not in ("system", "developer"):
            return messages[:number], messages[number:]
    return messages, ()


def encode_turns(
    request: ChatRequest, messages: tuple[Message, ...], start: int, dropped: list[str]
) -> list[Json]:
    """The `messages` of a body. start: the place of the first one in the request, for paths.

    Raises UntranslatableError. What was left out is appended to `dropped`; a turn that thereby became
    empty is left out as well.
    """
    turns: list[_Turn] = []
    for number, message in enumerate(messages, start):
        role = {"tool": "user", "developer": "system"}.get(message.role, message.role)
        path = f"messages[{number}].content"
        if message.name is not None and message.role != "tool":
            dropped.append(f"messages[{number}].name")
        last = turns[-1] if turns else None
        if last is None or not last.takes(message, role, request.dialect):
            last = _Turn(role, message.extra if request.dialect == NAME else {})
            turns.append(last)
        last.add(
            message,
            encode_content(message.parts, path=path, source=request.dialect, dropped=dropped),
        )
    return [turn.json() for turn in turns if not turn.is_empty or request.dialect == NAME]


class _Turn:
    """One wire message under construction."""

    def __init__(self, role: str, extra: dict[str, msgspec.Raw]) -> None:
        self._role = role
        self._extra = extra
        self._contents: list[str | list[Json | msgspec.Raw]] = []
        self._is_results_only = True

    def takes(self, message: Message, role: str, source: str) -> bool:
        """Whether the message belongs to this turn.

        Tool results and what the user says next are one turn, as the API wants it. Otherwise turns are
        joined only for other dialects: this one's own speakers chose where theirs end.
        """
        if role != self._role or message.extra or not message.parts:
            return False
        return source != NAME or (role == "user" and self._is_results_only)

    def add(self, message: Message, content: str | list[Json | msgspec.Raw]) -> None:
        self._contents.append(content)
        self._is_results_only = self._is_results_only and message.role == "tool"

    @property
    def is_empty(self) -> bool:
        return not any(self._contents)

    def json(self) -> Json:
        contents = self._contents
        if len(contents) == 1:
            content: object = contents[0]
        else:
            content = [block for piece in contents for block in _blocks(piece)]
        return {"role": self._role, "content": content, **self._extra}


def _blocks(content: str | list[Json | msgspec.Raw]) -> list[Json | msgspec.Raw]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
