"""Registries: names to things that are imported only when used, open to outside plug-ins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from farthing.core.errors import ConfigError, did_you_mean

T = TypeVar("T")


def imported(kind: str, name: str, target: str) -> Any:
    """What stands at `module:attribute`. kind, name: what it is, for messages. Raises ConfigError."""
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"The {kind} '{name}' could not be loaded from {target}: {error}.",
            hint="Is the package that brings it (or the extra it needs) installed?",
        ) from error


class Registry(Generic[T]):
    """Things of one kind by name.

    kind: singular noun for messages (`provider`). group: entry-point group for outside plug-ins
    (`farthing.providers`). builtins: name → `module:attribute`, imported on first use.
    """

    def __init__(self, kind: str, group: str, builtins: Mapping[str, str]) -> None:
        self._kind = kind
        self._group = group
        self._targets: dict[str, str] = dict(builtins)
        self._loaded: dict[str, T] = {}
        self._is_scanned = False

    def register(self, name: str, thing: T) -> None:
        """Add a thing under a new name. Raises ConfigError when the name is taken."""
        if name in self._loaded or name in self._targets:
            raise ConfigError(
                f"The {self._kind} '{name}' is already registered.",
                hint="Choose another name; a plug-in cannot replace a thing that exists.",
            )
        self._loaded[name] = thing

    def get(self, name: str) -> T:
        """The thing called `name`, imported if need be. Raises ConfigError listing what exists."""
        if name in self._loaded:
            return self._loaded[name]
        if name not in self._targets:
            self._scan()
        if name in self._loaded:
            return self._loaded[name]
        if name not in self._targets:
            names = list(self)
            hint = did_you_mean(name, names) or f"Known: {', '.join(names)}."
            raise ConfigError(f"There is no {self._kind} '{name}'.", hint=hint)
        thing: T = imported(self._kind, name, self._targets[name])
        self._loaded[name] = thing
        return thing

    def __iter__(self) -> Iterator[str]:
        self._scan()
        return iter(sorted({*self._targets, *self._loaded}))

    def __contains__(self, name: str) -> bool:
        if name in self._targets or name in self._loaded:
            return True
        self._scan()
        return name in self._targets

    def _scan(self) -> None:
        if self._is_scanned:
            return
        self._is_scanned = True
        for entry in entry_points(group=self._group):
            if entry.name in self._targets or entry.name in self._loaded:
                raise ConfigError(
                    f"Two packages register the {self._kind} '{entry.name}' ({entry.value} is the second).",
                    hint="Uninstall one of them.",
                )
            self._targets[entry.name] = entry.value
