"""The form that the content events of one stream share, so that the next ones need no parsing.

A vendor writes every piece of text into the same JSON. Once one such event has been parsed, an event that
differs from it only inside the text's string says the same with another text. That is decided by comparing
bytes; whatever does not fit exactly is parsed as before.
"""

from __future__ import annotations

import msgspec

#: A field whose random value OpenAI adds to hide the length of a text (API reference, streaming, 2025-06).
_PADDING = b'"obfuscation":"'
_QUOTE, _BACKSLASH = b'"', ord("\\")
_LINE_FEED, _RETURN = ord("\n"), ord("\r")


class Mould:
    """key: the bytes before the text (`"content":"`). Empty until it has learnt an event.

    characters: visible ones of all events that were skimmed.
    """

    __slots__ = ("_head", "_key", "_middle", "_tail", "characters")

    def __init__(self, key: bytes) -> None:
        self.characters = 0
        self._key = key
        self._head = b""
        self._middle = b""
        self._tail = b""

    def learn(self, wire: bytes, text: str) -> None:
        """Take the form of one event, which is known to carry `text` and nothing else of interest."""
        self._head = b""
        at = wire.find(self._key)
        start = at + len(self._key)
        end = wire.find(_QUOTE, start)
        if at < 0 or end <= start or wire[end - 1] == _BACKSLASH or wire.count(self._key) != 1:
            return
        if _decoded(wire[start:end]) != text:
            return
        rest = wire[end:]
        padding = rest.find(_PADDING)
        close = rest.find(_QUOTE, padding + len(_PADDING))
        if padding < 0 or close < 0:
            self._middle, self._tail = rest, b""
        else:
            self._middle, self._tail = rest[: padding + len(_PADDING)], rest[close:]
        self._head = wire[:start]

    def skim(self, piece: bytes, position: int = 0) -> int:
        """Where the whole content events that begin at `position` end; `characters` counts their texts.

        `position` itself when none does. An event must begin there.
        """
        size = len(piece)
        while position < size:
            found = self._event(piece, position)
            if found is None:
                break
            start, quote, end = found
            count = _characters(piece[start:quote])
            if count is None:
                break
            self.characters += count
            position = end
        return position

    def text(self, piece: bytes) -> str | None:
        """The text of a piece that is exactly one content event, counted; else None."""
        found = self._event(piece, 0)
        if found is None or found[2] != len(piece):
            return None
        text = piece[found[0] : found[1]]
        if _characters(text) == len(text):
            plain = text.decode("ascii")
        elif (decoded := _decoded(text)) is not None and not text.endswith(b"\\"):
            plain = decoded
        else:
            return None
        self.characters += len(plain)
        return plain

    def _event(self, piece: bytes, position: int) -> tuple[int, int, int] | None:
        """Where the text begins and ends, and the event ends, if one of this form stands at `position`."""
        head, middle, tail = self._head, self._middle, self._tail
        if not head or not piece.startswith(head, position):
            return None
        start = position + len(head)
        quote = piece.find(_QUOTE, start)
        if quote <= start or not piece.startswith(middle, quote):
            return None
        end = quote + len(middle)
        if tail:
            close = piece.find(_QUOTE, end)
            if close < 0 or not piece.startswith(tail, close) or _BACKSLASH in piece[end:close]:
                return None
            end = close + len(tail)
        return start, quote, end


def _characters(text: bytes) -> int | None:
    """How many characters a JSON string has; None for bytes that are none."""
    # Bytes are asked for by number: with a string of one byte, `in` tries it as a number and fails first.
    if text.isascii() and _BACKSLASH not in text and _LINE_FEED not in text and _RETURN not in text:
        return len(text)
    decoded = None if text.endswith(b"\\") else _decoded(text)
    return None if decoded is None else len(decoded)


def _decoded(text: bytes) -> str | None:
    try:
        return msgspec.json.decode(b'"' + text + b'"', type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
