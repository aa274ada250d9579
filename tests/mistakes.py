"""What a person sees after a mistake: the rows of docs/reference/mistakes.md and how they are compared."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "mistakes.md"

#: What differs from run to run, and how the page writes it.
_MASKS = (
    (re.compile(r"\b(call|refused|key)_[0-9a-hjkmnp-tv-z]{26}\b"), r"\1_…"),
    (re.compile(r"(127\.0\.0\.1:|[Pp]ort |--port )\d{4,5}"), r"\1N"),
    (re.compile(r"at least \d+\.\d MB"), "at least N MB"),
    (re.compile(r"the process \d+"), "the process N"),
    (re.compile(r"\s+"), " "),
)


def masked(message: str, folder: Path | None = None) -> str:
    """The message without what differs from run to run: ids, ports, the test's own folder."""
    if folder is not None:
        message = message.replace(f"{folder}/", "").replace(str(folder), ".")
    for pattern, text in _MASKS:
        message = pattern.sub(text, message)
    return message.strip()


def row(did: str, answer: str, message: str) -> str:
    """One line of the page: what was done, the status or exit code, what is seen."""
    cells = (did, answer, message)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def is_on_page(line: str) -> bool:
    """Whether the page shows just this line."""
    return line in PAGE.read_text(encoding="utf-8").splitlines()
