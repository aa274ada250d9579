"""Front matter while it is read: its values, where each stands, and errors that say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farthing.core.errors import FlowFormatError
from farthing.flows import yaml
from farthing.flows.graph import Span
from farthing.flows.prompty.placeholders import settled

Key = str | int


class Front:
    """The front matter of one file. document: as YAML was read, with places."""

    def __init__(self, path: Path, document: Any) -> None:
        self.path = path
        self._document = document

    def plain(self) -> dict[str, Any]:
        """What stands in the file, placeholders as they are written."""
        found: dict[str, Any] = yaml.plain(self._document)
        return found

    def settled(
        self, value: Any, *keys: Key, is_confined: bool = False, is_complete: bool = False
    ) -> Any:
        """A value with its placeholders in place; keys: where it stands, for errors. See `placeholders`."""
        try:
            return settled(
                value,
                self.path.parent,
                path=str(self.path),
                is_confined=is_confined,
                is_complete=is_complete,
            )
        except FlowFormatError as error:
            if keys and error.line is None and error.path == str(self.path):
                raise self.wrong(error.message, *keys, hint=error.hint) from None
            raise

    def mapping(self, value: Any, *keys: Key) -> dict[str, Any]:
        """A mapping; an absent one is empty. Raises FlowFormatError."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            told = f"is a {type(value).__name__}, where keys with values are expected"
            raise self.wrong_key(told, *keys)
        return dict(value)

    def wrong_key(self, what: str, *keys: Key, hint: str | None = None) -> FlowFormatError:
        """The error for the value under a key. what: goes on after the key, `is no number`."""
        return self.wrong(f"'{_dotted(keys)}' {what}.", *keys, hint=hint)

    def wrong(self, message: str, *keys: Key, hint: str | None = None) -> FlowFormatError:
        """An error that says where it is."""
        span = self.span(*keys)
        return FlowFormatError(
            message,
            hint=hint,
            field=_dotted(keys),
            path=span.path,
            line=span.line,
            column=span.column,
        )

    def span(self, *keys: Key) -> Span:
        """Where the value under keys stands, or the part of them that stands in the file."""
        at, span = self._document, Span(str(self.path))
        for key in keys:
            found = yaml.place_of(at, key, str(self.path))
            if found is None:
                break
            at, span = at[key], found
        return span


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one, at every depth; what stands above wins."""
    made = dict(below)
    for key, value in above.items():
        under = made.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            made[key] = merged(under, value)
        else:
            made[key] = value
    return made


def _dotted(keys: tuple[Key, ...]) -> str:
    """`inputs[0].kind` of the keys in order."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return "".join(parts).removeprefix(".")
