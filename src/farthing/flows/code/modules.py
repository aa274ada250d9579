"""The interpreter's one table of modules, which flows share in turn: each finds its own `utils.py`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


class FlowModules:
    """Which modules came out of which flow's folder. own_names: the beginning of names that no two share.

    Only names that are new since the last look are looked at, so that a look costs little.
    """

    def __init__(self, own_names: str) -> None:
        self._own_names = own_names
        self._lock = threading.Lock()
        self._homes: set[str] = set()
        self._seen: set[str] = set()
        self._owners: dict[str, str] = {}
        self._aside: dict[tuple[str, str], ModuleType] = {}

    @contextmanager
    def first(self, home: str) -> Iterator[None]:
        """The folder first on the import path, for the block, and the modules of other flows out of the way.

        What the block imports stays, and so does what its code adds to the path. The folder goes to the end
        of the path, for functions that import when they are called. Blocks may overlap, in any order and
        in any threads; the last to begin comes first.
        """
        with self._lock:
            self._homes.add(home)
            self._look()
            self._change_to(home)
            sys.path.insert(0, home)
        try:
            yield
        finally:
            with self._lock:
                if home in sys.path:
                    sys.path.remove(home)
                if home not in sys.path:
                    sys.path.append(home)

    def _look(self) -> None:
        """Note whose the modules are that have come since the last look."""
        fresh = sys.modules.keys() - self._seen
        self._seen |= fresh
        for name in fresh:
            owner = None if name.startswith(self._own_names) else self._owner(sys.modules[name])
            if owner is not None:
                self._owners[name] = owner

    def _owner(self, module: ModuleType) -> str | None:
        place = getattr(module, "__file__", None) or next(
            iter(getattr(module, "__path__", ())), None
        )
        if not isinstance(place, str):
            return None
        homes = [home for home in self._homes if _is_below(place, home)]
        return max(homes, key=len, default=None)

    def _change_to(self, home: str) -> None:
        for name, owner in list(self._owners.items()):
            if not _is_below(home, owner):
                del self._owners[name]
                self._seen.discard(name)
                module = sys.modules.pop(name, None)
                if module is not None:
                    self._aside[owner, name] = module
        for owner, name in [each for each in self._aside if each[0] == home]:
            module = self._aside.pop((owner, name))
            if name not in sys.modules:
                sys.modules[name] = module


def _is_below(place: str, home: str) -> bool:
    return place == home or place.startswith(home + os.sep)
