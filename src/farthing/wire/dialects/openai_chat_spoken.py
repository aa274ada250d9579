"""What compatible vendors vary in an answer: content as an array, and how tool calls are numbered."""

from __future__ import annotations

import msgspec


class ContentPiece(msgspec.Struct):
    """One piece of content that comes as an array (docs.mistral.ai, reasoning, 2026-11-24)."""

    type: str | None = None
    text: str | None = None
    thinking: str | list[ContentPiece] | None = None


_PIECE = msgspec.json.Decoder(ContentPiece)


def spoken(content: str | list[ContentPiece] | None) -> tuple[str, str]:
    """The visible text of a content, and the thinking in it."""
    if content is None or isinstance(content, str):
        return content or "", ""
    text = "".join(piece.text or "" for piece in content)
    thinking = ""
    for piece in content:
        thinking += "".join(spoken(piece.thinking))
    return text, thinking


def thinking_in(part: msgspec.Raw) -> str | None:
    """The thinking of one content part of type `thinking`; None when it is written in another way."""
    try:
        return spoken([_PIECE.decode(part)])[1] or None
    except msgspec.MsgspecError:
        return None


class ToolCallPlaces:
    """Which call a piece of a streamed tool call belongs to, counted from 0 in the order they began.

    OpenAI numbers them. Other vendors leave the number out, start elsewhere, or give every call the same
    one; a name together with another id then begins a new call. An id alone does not: some servers make
    one up for every piece.
    """

    __slots__ = ("_count", "_known", "_last")

    def __init__(self) -> None:
        self._count = 0
        self._last = 0
        #: The vendor's number → ours, and the id that the call began with.
        self._known: dict[int, tuple[int, str | None]] = {}

    def of(self, index: int | None, call_id: str | None, *, has_name: bool) -> int:
        """The place of the call that a piece with this number and id continues or begins."""
        number = self._last if index is None else index
        place, began = self._known.get(number, (None, None))
        if place is None or (has_name and call_id is not None and call_id != began):
            place = self._count
            self._count += 1
            self._known[number] = (place, call_id)
        self._last = number
        return place
