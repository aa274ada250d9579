"""The `promptflow` that flows import: small modules that re-export what this house has under other names.

They are served while the shim is installed and under no other name. It does not know the original's private
modules, and says so when one is asked for.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

NAME = "promptflow"
_HOME = Path(__file__).parent
#: Parts of the original that have another place here, or none.
_INSTEAD = {
    "promptflow.azure": "Runs stay on your own machines: farthing pf run create.",
    "promptflow.evals": "Use farthing's evaluators, or the package azure-ai-evaluation.",
    "promptflow.executor": "Open the flow with load_flow of promptflow.client.",
    "promptflow.integrations": "Call the framework from the flow; its calls are traced where they pass the gateway.",
    "promptflow.rag": "Use farthing's retrieval.",
    "promptflow.parallel": "Use farthing pf run create.",
}
#: Modules whose file has a better name than they have.
_FILES = {"promptflow.tools.common": "promptflow.tools.prompts"}


class UnsupportedImportError(ModuleNotFoundError):
    """A name of prompt flow that does not exist here. hint: what there is in its place."""

    def __init__(self, message: str, *, name: str, hint: str) -> None:
        super().__init__(f"{message} {hint}", name=name)
        self.message = message
        self.hint = hint


class _Finder:
    """Serves `promptflow` and what is below it from this folder."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`. Raises UnsupportedImportError for what is not there."""
        if fullname != NAME and not fullname.startswith(f"{NAME}."):
            return None
        place = place_of(fullname)
        if place.joinpath("__init__.py").is_file():
            return importlib.util.spec_from_file_location(
                fullname, place / "__init__.py", submodule_search_locations=[str(place)]
            )
        if place.with_suffix(".py").is_file():
            return importlib.util.spec_from_file_location(fullname, place.with_suffix(".py"))
        top = ".".join(fullname.split(".")[:2])
        hint = _INSTEAD.get(top, "Use the public modules: promptflow.core, .connections, .tracing.")
        raise UnsupportedImportError(
            f"Flows that run here have no module '{fullname}'.", name=fullname, hint=hint
        )


def place_of(module: str) -> Path:
    """Where the file of a module is, or its folder, when there is one; without its suffix."""
    return _HOME.joinpath(*_FILES.get(module, module).split("."))


class _Imports:
    """The state of the interpreter's imports as far as the shim changes it. There is one interpreter.

    holders: blocks that want the shim in front. stays: it is to be found last when no block wants it.
    aside: the modules of a really installed package, out of the way of the blocks.
    """

    def __init__(self) -> None:
        self._finder = _Finder()
        self._lock = threading.RLock()
        self._holders = 0
        self._stays = False
        self._aside: dict[str, ModuleType] = {}

    def stay(self, wanted: bool) -> None:
        with self._lock:
            self._stays = wanted
            if not self._holders:
                self._leave_place()

    def enter(self) -> None:
        with self._lock:
            self._holders += 1
            if self._holders > 1:
                return
            foreign = [name for name in _loaded() if not _is_ours(sys.modules[name])]
            self._aside = {name: sys.modules.pop(name) for name in foreign}
            self._remove()
            sys.meta_path.insert(0, self._finder)

    def leave(self) -> None:
        with self._lock:
            self._holders -= 1
            if not self._holders:
                self._leave_place()

    def _leave_place(self) -> None:
        """To the end of the line, or out of it."""
        self._remove()
        if self._stays:
            sys.meta_path.append(self._finder)
        if self._aside or not self._stays:
            for name in _loaded():
                if _is_ours(sys.modules[name]):
                    del sys.modules[name]
        sys.modules.update(self._aside)
        self._aside = {}

    def _remove(self) -> None:
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)


_imports = _Imports()


def is_really_installed() -> bool:
    """Whether a package of that name is on the path."""
    return PathFinder.find_spec(NAME) is not None


def install() -> None:
    """Serve `promptflow` from here from now on, where no package of that name is really installed.

    It is for functions of a flow that import when they are called. Idempotent.
    """
    _imports.stay(True)


def uninstall() -> None:
    """Serve it no longer. What was imported stays with those who have it."""
    _imports.stay(False)


@contextmanager
def active(*, prefers_installed: bool = False) -> Iterator[None]:
    """Serve `promptflow` from here in the block, before all else, whatever is installed.

    prefers_installed: do nothing when the package is really there. Blocks may nest and overlap.
    """
    if prefers_installed and is_really_installed():
        yield
        return
    _imports.enter()
    try:
        yield
    finally:
        _imports.leave()


def _loaded() -> list[str]:
    return [name for name in sys.modules if name == NAME or name.startswith(f"{NAME}.")]


def _is_ours(module: ModuleType) -> bool:
    return str(getattr(module, "__file__", "")).startswith(str(_HOME))
