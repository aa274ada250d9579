"""The types of a flow's inputs, and what each accepts: prompt flow's coercions, exactly (1.18.5)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from farthing.core.errors import FlowInputError

#: The names that a flow file may use for the type of an input or output.
TYPES = ("int", "double", "bool", "string", "list", "object", "image")


def coerce(kind: str, value: object, *, name: str, where: str = "") -> object:
    """`value` as an input of type `kind`; an unknown kind (a connection's) passes as it is.

    where: what to say of the place, e.g. ` in line 3`. Raises FlowInputError.
    """
    accept = _ACCEPT.get(kind)
    if accept is None:
        return value
    try:
        return accept(value)
    except (TypeError, ValueError, OverflowError):
        raise FlowInputError(
            f"The input '{name}'{where} is a {type(value).__name__} that is no {kind}.",
            hint=_HINTS[kind],
            param=name,
        ) from None


def _int(value: object) -> object:
    return int(value)  # type: ignore[call-overload]  # whatever `int` takes


def _double(value: object) -> object:
    return float(value)  # type: ignore[arg-type]  # whatever `float` takes


def _bool(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError


def _list(value: object) -> object:
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, list):
        raise TypeError
    return value


def _object(value: object) -> object:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value  # a plain text is an object too
    return value


_ACCEPT: Mapping[str, Callable[[object], object]] = {
    "int": _int,
    "double": _double,
    "bool": _bool,
    "string": str,
    "list": _list,
    "object": _object,
}
_HINTS = {
    "int": "Give a whole number, e.g. 3.",
    "double": "Give a number, e.g. 0.5.",
    "bool": 'Give true or false, or the words "true" or "false".',
    "string": "Give a text.",
    "list": "Give a list, or a text that is a list in JSON.",
    "object": "Give any JSON value.",
}
