"""Where each key of a TOML text stands, for error messages; run only when there is one to show.

The standard library's parser keeps no positions, and the libraries that keep comments (tomlkit) keep no
positions either. The text has passed `tomllib` before it comes here, so this scan needs to find keys,
not to judge them.
"""

from __future__ import annotations

import re
import tomllib
from typing import NamedTuple

#: Path of a key: table names and keys, and indexes inside arrays.
KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK_OR_COMMA = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'", re.DOTALL
)
_KEY = re.compile(r"[A-Za-z0-9_-]+" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'")
_SCALAR = re.compile(r"[^,\]}\n#]+")


class Position(NamedTuple):
    """Line and column, both from 1; columns count characters."""

    line: int
    column: int


class Positions:
    """Positions of all keys and array elements of one TOML text that `tomllib` accepts."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._offsets: dict[KeyPath, int] = {}
        self._last_index: dict[KeyPath, int] = {}
        self._document()

    def find(self, path: KeyPath) -> Position | None:
        """Where the key stands; for a key that is not there, where its nearest table stands."""
        for length in range(len(path), 0, -1):
            offset = self._offsets.get(path[:length])
            if offset is not None:
                start = self._text.rfind("\n", 0, offset) + 1
                return Position(self._text.count("\n", 0, offset) + 1, offset - start + 1)
        return None

    def _document(self) -> None:
        prefix: KeyPath = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text.startswith("[", self._at):
                prefix = self._header()
            else:
                self._pair(prefix)

    def _header(self) -> KeyPath:
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        self._skip(_SPACE)
        path, offsets = self._dotted_key()
        self._skip(_SPACE)
        self._at += 2 if is_array else 1
        full = self._with_indexes(path[:-1]) + path[-1:]
        if is_array:
            self._last_index[full] = self._last_index.get(full, -1) + 1
        for length, offset in enumerate(offsets, start=1):
            self._offsets.setdefault(self._with_indexes(path[:length]), offset)
        return self._with_indexes(path)

    def _with_indexes(self, path: KeyPath) -> KeyPath:
        full: KeyPath = ()
        for part in path:
            full += (part,)
            if full in self._last_index:
                full += (self._last_index[full],)
        return full

    def _pair(self, prefix: KeyPath) -> None:
        key, offsets = self._dotted_key()
        path = prefix + key
        for length, offset in enumerate(offsets, start=1):
            self._offsets.setdefault(prefix + key[:length], offset)
        self._skip(_SPACE)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        first = self._text[self._at]
        if first == "[":
            self._at += 1
            index = 0
            while self._text[self._skip(_BLANK_OR_COMMA)] != "]":
                self._offsets[(*path, index)] = self._at
                self._value((*path, index))
                index += 1
            self._at += 1
        elif first == "{":
            self._at += 1
            while self._text[self._skip(_BLANK_OR_COMMA)] != "}":
                self._pair(path)
            self._at += 1
        else:
            self._skip(_STRING if first in "\"'" else _SCALAR)

    def _dotted_key(self) -> tuple[KeyPath, list[int]]:
        """The key's parts, and where each begins."""
        parts: list[str] = []
        offsets: list[int] = []
        while True:
            offsets.append(self._at)
            raw = self._text[offsets[-1] : self._skip(_KEY)]
            parts.append(tomllib.loads(f"k={raw}")["k"] if raw[0] in "\"'" else raw)
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return tuple(parts), offsets
            self._at += 1
            self._skip(_SPACE)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return self._at
