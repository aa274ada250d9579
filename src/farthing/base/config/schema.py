"""Checks a raw settings tree against the settings' types, finding every mistake instead of the first."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import msgspec

from farthing.base.config.positions import KeyPath
from farthing.core.errors import did_you_mean

_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}
_EXPECTED = re.compile(r"Expected `([^`]+)`(?:, got `([^`]+)`)?(.*?)(?: - at `.*`)?$")


class Mistake(msgspec.Struct, frozen=True):
    """One thing that is wrong at one key. No message echoes a value: it might be a secret."""

    path: KeyPath
    message: str
    hint: str | None = None


class Shape(msgspec.Struct, frozen=True):
    """What a type is, with `Annotated` and `| None` taken off.

    struct: the section class; of: the value type of a table of names; neither: a leaf.
    """

    struct: type[msgspec.Struct] | None = None
    of: object | None = None


def shape(declared: object) -> Shape:
    """Whether a declared type is a section, a table of names, or a leaf."""
    bare = strip(declared)
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        return Shape(struct=bare)
    if get_origin(bare) is dict:
        return Shape(of=get_args(bare)[1])
    return Shape()


def strip(declared: object) -> object:
    """The type without `Annotated` and `| None`."""
    if get_origin(declared) is Annotated:
        return strip(get_args(declared)[0])
    if get_origin(declared) in (Union, UnionType):
        members = [member for member in get_args(declared) if member is not NoneType]
        if len(members) == 1:
            return strip(members[0])
    return declared


def find_mistakes(data: object, struct: type[msgspec.Struct], path: KeyPath = ()) -> list[Mistake]:
    """Every unknown key, wrong type, value out of range and missing key below `path`."""
    if not isinstance(data, Mapping):
        return [Mistake(path, f"{dotted(path)} expects a table, got {_word_for(data)}.")]
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    mistakes: list[Mistake] = []
    for key, value in data.items():
        if key in fields:
            mistakes += _of_field(value, fields[key].type, (*path, key))
        else:
            hint = did_you_mean(key, fields) or f"Known here: {', '.join(fields)}."
            mistakes.append(
                Mistake((*path, key), f"There is no setting '{dotted((*path, key))}'.", hint)
            )
    for field in fields.values():
        if field.required and field.name not in data:
            message = f"{dotted(path)} lacks '{field.name}'."
            mistakes.append(Mistake(path, message, _description(field.type)))
    return mistakes


def dotted(path: KeyPath) -> str:
    """`deployments.eu.price`, names with dots in them quoted, `routes.chat.deployments[1]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        name = f'"{part}"' if "." in part or " " in part or not part else part
        text += f".{name}" if text else name
    return text


def _of_field(value: object, declared: object, path: KeyPath) -> list[Mistake]:
    form = shape(declared)
    if form.struct is not None:
        return find_mistakes(value, form.struct, path)
    if form.of is None:
        return _of_leaf(value, declared, path)
    if not isinstance(value, Mapping):
        return [Mistake(path, f"{dotted(path)} expects a table, got {_word_for(value)}.")]
    mistakes: list[Mistake] = []
    for name, entry in value.items():
        mistakes += _of_field(entry, form.of, (*path, name))
    return mistakes


def _of_leaf(value: object, declared: object, path: KeyPath) -> list[Mistake]:
    if isinstance(value, float) and not math.isfinite(value):
        return [Mistake(path, f"{dotted(path)} expects a finite number.")]
    try:
        msgspec.convert(value, declared)
    except msgspec.ValidationError as error:
        choices = _choices(declared)
        if choices and isinstance(value, str):
            hint = did_you_mean(value, choices)
            listing = ", ".join(f'"{choice}"' for choice in choices)
            return [Mistake(path, f"{dotted(path)} expects one of {listing}.", hint)]
        return [Mistake(path, f"{dotted(path)} {_say(str(error))}.", _description(declared))]
    return []


def _choices(declared: object) -> tuple[str, ...]:
    bare = strip(declared)
    return tuple(get_args(bare)) if get_origin(bare) is Literal else ()


def _say(error: str) -> str:
    match = _EXPECTED.match(error)
    if match is None:
        return "has a value that is not allowed"
    expected, got, bound = match.groups()
    words = [_WORDS.get(name, name) for name in expected.split(" | ") if name != "null"]
    # "a number" covers "an integer" for a reader.
    if "a number" in words and "an integer" in words:
        words.remove("an integer")
    said = f"expects {' or '.join(words)}{bound}"
    return f"{said}, got {_WORDS.get(got, got)}" if got else said


def _description(declared: object) -> str | None:
    if get_origin(declared) is Annotated:
        for note in get_args(declared)[1:]:
            if isinstance(note, msgspec.Meta) and note.description:
                return f"It is: {note.description}"
    return None


def _word_for(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    return _WORDS.get(type(value).__name__, type(value).__name__)
