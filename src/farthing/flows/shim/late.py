"""Names of `promptflow` that are imported when they are asked for, and words for those that are not here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from farthing.base.registry import imported
from farthing.core.errors import ConfigError, did_you_mean
from farthing.flows.shim import UnsupportedImportError, place_of


def late(
    module: str,
    names: Mapping[str, str] = {},
    *,
    known: Mapping[str, object] = {},
    instead: Mapping[str, str] = {},
) -> Callable[[str], Any]:
    """The `__getattr__` of a module of the shim.

    module: as in `promptflow.core`. names: to `module:attribute`. known: what the module has already.
    instead: what to say of names that are not here. It raises UnsupportedImportError.
    """

    def look_up(name: str) -> Any:
        if name.startswith("_") or _is_module(module, name):
            raise AttributeError(name)
        if name in names:
            try:
                return imported("name", name, names[name])
            except ConfigError as error:
                raise UnsupportedImportError(error.message, name=module, hint="") from error
        public = [each for each in (*known, *names) if not each.startswith("_")]
        raise UnsupportedImportError(
            f"Flows that run here have no '{name}' in '{module}'.",
            name=module,
            hint=instead.get(name)
            or did_you_mean(name, public)
            or f"It has: {', '.join(sorted(public))}.",
        )

    return look_up


def _is_module(module: str, name: str) -> bool:
    place = place_of(f"{module}.{name}")
    return place.is_dir() or place.with_suffix(".py").is_file()
