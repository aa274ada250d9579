"""`.prompty` files: front matter in YAML between lines of dashes, below it a template; two dialects."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farthing.core.errors import FlowFormatError, did_you_mean
from farthing.flows import yaml
from farthing.flows.prompty import first, second
from farthing.flows.prompty.file import SUFFIX, Dialect, PromptyFile
from farthing.flows.prompty.front import Front, merged

_BEGIN = re.compile(r"\s*(-{3,}|\+{3,})[ \t]*\n")
_ENDS = {
    "-": re.compile(r"^-{3,}[ \t]*\n", re.MULTILINE),
    "+": re.compile(r"^\+{3,}[ \t]*\n", re.MULTILINE),
}
#: Keys below model that only the second dialect has; the first refuses them.
_SECOND_MODEL = frozenset(("id", "provider", "apiType", "connection", "options"))


def load(
    path: Path, *, model: Mapping[str, Any] | None = None, changes: Mapping[str, Any] | None = None
) -> PromptyFile:
    """Read a prompty. model, changes: merged into the front matter, key by key. Raises FlowFormatError."""
    if path.suffix != SUFFIX:
        raise FlowFormatError(
            "This is no prompty: its name does not end in .prompty.", path=str(path)
        )
    parts = _parts(path)
    front = Front(path, parts.document)
    told, over = dict(changes or {}), dict(model or {})
    whole = merged(merged(front.plain(), told), {"model": over} if over else {})
    reads = second.read if dialect_of(whole) is Dialect.SECOND else first.read
    return reads(front, told, over, parts.template, parts.template_line)


def dialect_of(front: Mapping[str, Any]) -> Dialect:
    """Which dialect front matter is written in: the second where it has what the first refuses, else the first.

    So every file that prompt flow takes is read as prompt flow reads it.
    """
    model = front.get("model")
    if isinstance(model, str) or (isinstance(model, Mapping) and set(model) & _SECOND_MODEL):
        return Dialect.SECOND
    engine = front.get("template")
    if isinstance(engine, Mapping) and isinstance(engine.get("format"), Mapping):
        return Dialect.SECOND
    if any(front.get(key) for key in second.SCHEMAS):
        return Dialect.SECOND
    for key in ("inputs", "outputs"):
        told = front.get(key)
        if isinstance(told, list):
            return Dialect.SECOND
        for each in told.values() if isinstance(told, Mapping) else ():
            if isinstance(each, Mapping) and second.is_typed(each):
                return Dialect.SECOND
    return Dialect.FIRST


@dataclasses.dataclass(frozen=True, repr=False)
class _Parts:
    document: Any
    template: str
    template_line: int


def _parts(path: Path) -> _Parts:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = [each.name for each in path.parent.glob("*")]
        raise FlowFormatError(
            "There is no such file.", hint=did_you_mean(path.name, beside), path=str(path)
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FlowFormatError(
            f"The file cannot be read ({type(error).__name__}).", path=str(path)
        ) from error
    begin = _BEGIN.match(text)
    end = _ENDS[begin[1][0]].search(text, begin.end()) if begin else None
    if begin is None or end is None:
        raise FlowFormatError(
            "This is no prompty: its front matter does not stand between two lines of dashes.",
            hint="Begin with ---, then YAML (name, model, inputs), then --- and the template.",
            path=str(path),
            line=1,
        )
    first_line = text.count("\n", 0, begin.end()) + 1
    head = text[begin.end() : end.start()]
    document = yaml.parse(head if head.strip() else "{}", str(path), first_line=first_line)
    return _Parts(document, text[end.end() :], text.count("\n", 0, end.end()) + 1)
