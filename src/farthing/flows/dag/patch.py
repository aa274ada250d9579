"""Puts a change into a text that was written by hand, whose layout a writer of YAML would not keep."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import NamedTuple


class _Edit(NamedTuple):
    """Lines `begin` to `end` of what was written before become `lines`."""

    begin: int
    end: int
    lines: list[str]


def patched(original: str, before: str, after: str) -> str:
    """The original with what is different between `before` and `after`.

    before: the original, unchanged, as the writer writes it; after: changed. Where the writer lays a changed
    place out otherwise, its layout counts there, and nowhere else.
    """
    own, old, new = (text.splitlines(keepends=True) for text in (original, before, after))
    places = _places(old, own)
    result: list[str] = []
    at = 0
    for edit in _edits(old, new, places):
        result += own[at : places[edit.begin]]
        if edit.lines and result and not result[-1].endswith("\n"):
            result[-1] += "\n"
        result += edit.lines
        at = places[edit.end]
    return "".join(result + own[at:])


def _places(old: list[str], own: list[str]) -> dict[int, int]:
    """Where the lines of `old` begin in `own`; those inside of what is laid out otherwise have no place."""
    places = {len(old): len(own)}
    for kind, begin, end, own_begin, own_end in _compared(old, own):
        if kind == "equal":
            places.update({begin + n: own_begin + n for n in range(end - begin + 1)})
        elif kind != "insert":
            places.setdefault(begin, own_begin)
            places[end] = own_end
    return places


def _edits(old: list[str], new: list[str], places: dict[int, int]) -> list[_Edit]:
    """The changes, each widened to lines that have a place, those that meet put together."""
    edits: list[_Edit] = []
    for kind, begin, end, new_begin, new_end in _compared(old, new):
        if kind == "equal":
            continue
        first, last = begin, end
        while first not in places:
            first -= 1
        while last not in places:
            last += 1
        lines = old[first:begin] + new[new_begin:new_end] + old[end:last]
        if edits and edits[-1].end > first:
            previous = edits.pop()
            # What the earlier one was widened by beyond this one's begin has been changed by this one.
            kept = previous.lines[: len(previous.lines) - (previous.end - begin)]
            lines = kept + new[new_begin:new_end] + old[end:last]
            first = previous.begin
        edits.append(_Edit(first, last, lines))
    return edits


def _compared(a: list[str], b: list[str]) -> list[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, a, b, autojunk=False).get_opcodes()  # type: ignore[return-value]
