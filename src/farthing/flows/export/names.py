"""Names for the things of a module: each an identifier, no two the same, none that Python has already."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

_WORDS = re.compile(r"\W+")


class Names:
    """The names of one module. avoid: names that would hide a thing of the module where they are used."""

    def __init__(self, avoid: Iterable[str] = ()) -> None:
        self._avoided = frozenset(avoid)
        self._taken = {*dir(builtins), *keyword.kwlist}

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def reserve(self, names: Iterable[str]) -> None:
        """Take these as they are."""
        self._taken.update(names)

    def take(self, wanted: str, *others: str) -> str:
        """The name, or the first of the others that is free, or one with a number."""
        candidates = [identifier(each) for each in (wanted, *others)]
        taken = self._taken | self._avoided
        found = next((each for each in candidates if each not in taken), None)
        number = 2
        while found is None:
            name = f"{candidates[-1]}_{number}"
            found = name if name not in taken else None
            number += 1
        self._taken.add(found)
        return found


def identifier(text: str) -> str:
    """The text as a name: words joined by underscores, nothing that begins with a digit."""
    name = _WORDS.sub("_", text).strip("_") or "it"
    name = f"_{name}" if name[0].isdigit() else name
    return name if name.isidentifier() else re.sub(r"[^A-Za-z0-9_]", "_", name)
