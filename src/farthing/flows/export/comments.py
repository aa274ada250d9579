"""The comments of a YAML file, by line, and which of them belong to an entry of it."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from farthing.flows.graph import Span


class Comments:
    """The comments of a text. Lines are counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._comments = _comments(text, self._lines)

    def of(self, span: Span) -> list[str]:
        """Those right above the entry that begins at a place, and those in it, without their `#`."""
        if span.line is None or span.line > len(self._lines):
            return []
        first = span.line
        while first > 1 and self._is_comment(first - 1):
            first -= 1
        is_item = self._lines[span.line - 1].lstrip().startswith("- ")
        depth = self._indent(span.line)
        # A comment that stands deeper than the entry ends the entry before it.
        above = [n for n in range(first, span.line) if self._indent(n) <= depth]
        own = depth if is_item else depth - 1  # an item's keys stand deeper than it
        numbers = (*above, *range(span.line, self._end(span.line, own)))
        return [self._comments[number] for number in numbers if number in self._comments]

    def _end(self, line: int, own: int) -> int:
        """The line behind the entry: the next one that stands no deeper than its first."""
        for number in range(line + 1, len(self._lines) + 1):
            text = self._lines[number - 1].strip()
            if text and self._indent(number) <= own:
                return number
        return len(self._lines) + 1

    def _indent(self, line: int) -> int:
        text = self._lines[line - 1]
        return len(text) - len(text.lstrip())

    def _is_comment(self, line: int) -> bool:
        return line in self._comments and self._lines[line - 1].lstrip().startswith("#")


def _comments(text: str, lines: list[str]) -> Mapping[int, str]:
    """By line. A `#` inside of a value begins none."""
    ends: dict[int, int] = {}
    inside: set[int] = set()
    try:
        for token in YAML(typ="safe", pure=True).scan(StringIO(text)):
            start, end = token.start_mark, token.end_mark
            ends[end.line] = max(ends.get(end.line, 0), end.column)
            inside.update(range(start.line, end.line))
    except YAMLError:
        return {}
    found = {}
    for number, line in enumerate(lines):
        rest = line[ends.get(number, 0) :].strip()
        if rest.startswith("#") and number not in inside:
            found[number + 1] = rest.lstrip("#").strip()
    return {number: comment for number, comment in found.items() if comment}
