"""The imports of an exported module: each name bound once, and where it stands what the code calls it."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from farthing.flows.export.layout import Group, Item, lines
from farthing.flows.export.names import Names
from farthing.flows.export.sources import Import

_OURS = "farthing"


class Imports:
    """What is imported so far. names: of the module, in which the bound ones are taken."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._bound: dict[str, set[Import]] = {}

    def conflict(self, wanted: Iterable[Import]) -> str | None:
        """A name that is something else here already, if one of these binds it."""
        for each in wanted:
            if each.bound in self._bound:
                if not _is_same(each, self._bound[each.bound]):
                    return each.bound
            elif each.bound in self._names:
                return each.bound
        return None

    def add(self, wanted: Iterable[Import]) -> None:
        """Import these by the names that they say. There is no conflict; the caller has looked."""
        for each in wanted:
            self._bound.setdefault(each.bound, set()).add(each)
            self._names.reserve([each.bound])

    def use(self, module: str, name: str = "") -> str:
        """What a thing is called in the module; it is imported if it was not."""
        for bound, found in self._bound.items():
            if any((each.module, each.name) == (module, name) for each in found):
                return bound
        wanted = name or module
        bound = self._names.take(wanted, f"{wanted}_")
        self._bound[bound] = {Import(module, name, "" if bound == wanted else bound)}
        return bound

    def lines(self) -> list[str]:
        """The statements: standard library, packages, Farthing, with a blank line between them."""
        found = sorted({each for bound in self._bound.values() for each in bound})
        made: list[str] = []
        for section in range(3):
            of_it = [each for each in found if _section(each.module) == section]
            whole = [each for each in of_it if not each.name]
            part = [each for each in of_it if each.name]
            text = [_plain(each) for each in whole]
            for module in sorted({each.module for each in part}):
                text += _from(module, [each for each in part if each.module == module])
            made += ["", *text] if made and text else text
        return made


def _plain(each: Import) -> str:
    return f"import {each.module} as {each.alias}" if each.alias else f"import {each.module}"


def _from(module: str, found: list[Import]) -> list[str]:
    names = [f"{each.name} as {each.alias}" if each.alias else each.name for each in found]
    one = f"from {module} import {', '.join(names)}"
    if len(lines(one, "")) == 1 and len(one) <= 88:
        return [one]
    items = tuple(Item(name) for name in names)
    return lines(f"from {module} import ", Group("(", items, ")", is_apart=True))


def _section(module: str) -> int:
    top = module.partition(".")[0]
    if top == _OURS:
        return 2
    return 0 if top in sys.stdlib_module_names else 1


def _is_same(each: Import, found: set[Import]) -> bool:
    """Whether both give the name to one thing. `import a.b` and `import a.c` both give `a`."""
    if each in found:
        return True
    tops = {other.module.partition(".")[0] for other in found if not (other.name or other.alias)}
    return not (each.name or each.alias) and each.module.partition(".")[0] in tops
