"""Text that must not be shown: a record whose repr tells sizes, never contents."""

from __future__ import annotations

from typing import Any

import msgspec

#: Unknown or dialect-only JSON fields, kept verbatim so that they survive a round trip.
Extra = dict[str, msgspec.Raw]


def describe(value: object) -> str:
    """What may be said of a private value: its type and its size, never its content."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str | bytes | bytearray | memoryview):
        return f"<{type(value).__name__}:{len(value)}>"
    if isinstance(value, PrivateStruct):
        return repr(value)
    if isinstance(value, list | tuple | set | frozenset | dict):
        return f"<{type(value).__name__} of {len(value)}>"
    return f"<{type(value).__name__}>"


class PrivateStruct(msgspec.Struct, frozen=True, kw_only=True):
    """A record that may hold prompt or answer text. Its repr shows sizes only.

    Every record that can carry what a person or a model wrote derives from this class, so that a log
    line, an assertion or a traceback with locals cannot spill it.
    """

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={describe(getattr(self, name))}"
            for name in self.__struct_fields__
            if getattr(self, name) not in (None, (), "")
        )
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, describe(getattr(self, name))) for name in self.__struct_fields__]


class Private:
    """One private string or bytes outside a record. `reveal()` is the only way to the content."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The content. Call it at the border where it leaves for its one purpose."""
        return self._value

    def __repr__(self) -> str:
        return f"Private(<{len(self._value)} characters>)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Private) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)
