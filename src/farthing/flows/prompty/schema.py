"""Typed properties as Prompty's second version declares inputs, outputs and parameters of tools, in JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from farthing.core.errors import did_you_mean
from farthing.flows.prompty.front import Front, Key

#: JSON Schema's name for each kind; the ones below are other spellings that files use.
TYPES = {
    "string": "string",
    "integer": "integer",
    "float": "number",
    "boolean": "boolean",
    "array": "array",
    "object": "object",
}
ALIASES = {
    "number": "float",
    "double": "float",
    "int": "integer",
    "bool": "boolean",
    "list": "array",
}
#: Kinds whose values are no text; only inputs have them.
RICH = ("thread", "image", "file", "audio")
KINDS = (*TYPES, "union", *RICH)
PROPERTY_KEYS = (
    "name", "kind", "type", "description", "required", "nullable", "default", "example", "sample",
    "enumValues", "enum", "items", "properties", "oneOf", "anyOf", "strict", "json_schema",
)  # fmt: skip
_UNIONS = ("oneOf", "anyOf")


class Property(NamedTuple):
    """One typed value. keys: where it stands. told: its keys as the file has them."""

    name: str
    kind: str
    told: Mapping[str, Any]
    keys: tuple[Key, ...]

    @property
    def is_required(self) -> bool:
        """Whether it must be given; without the key it need not."""
        return bool(self.told.get("required"))

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values that it may have; empty: any."""
        return tuple(self.told.get("enumValues") or self.told.get("enum") or ())


def is_typed(value: Mapping[str, Any]) -> bool:
    """Whether a mapping declares a property, by a kind that there is."""
    return value.get("kind") in (*KINDS, *ALIASES)


def properties(front: Front, told: Any, *keys: Key) -> Iterator[Property]:
    """The properties of a list with names, or of a mapping by name. Raises FlowFormatError."""
    if isinstance(told, list):
        for number, each in enumerate(told):
            at = (*keys, number)
            if not isinstance(each, Mapping) or not each.get("name"):
                raise front.wrong_key("has no name", *at, hint="Write - name: …, then its kind.")
            yield _property(front, str(each["name"]), each, *at)
        return
    for name, each in front.mapping(told, *keys).items():
        yield _property(front, str(name), each, *keys, str(name))


def object_schema(
    front: Front, found: list[Property], *, is_strict: bool = False
) -> dict[str, Any]:
    """An object with these properties. is_strict: OpenAI's strict form, where what is optional may be null."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {each.name: _schema(front, each, is_strict, True) for each in found},
    }
    required = [each.name for each in found if is_strict or each.is_required]
    if required:
        schema["required"] = required
    if is_strict:
        schema["additionalProperties"] = False
    return schema


def _property(front: Front, name: str, told: Any, *keys: Key) -> Property:
    if not isinstance(told, Mapping) or not (set(told) & set(PROPERTY_KEYS) or not told):
        # A plain value declares its type, and is the default.
        return Property(name, _kind_of(told), {"default": told}, keys)
    for key in told:
        if key not in PROPERTY_KEYS:
            hint = did_you_mean(str(key), PROPERTY_KEYS)
            hint = hint or f"A property has {', '.join(PROPERTY_KEYS)}."
            raise front.wrong_key("is not known", *keys, str(key), hint=hint)
    kind = told.get("kind") or told.get("type")
    if kind is None:
        default = told.get("default")
        unions = [key for key in _UNIONS if told.get(key)]
        kind = "union" if unions else _kind_of(default if default is not None else "")
    kind = ALIASES.get(str(kind), str(kind))
    if kind not in KINDS:
        field = "kind" if told.get("kind") else "type"
        hint = did_you_mean(kind, KINDS) or f"Known: {', '.join(KINDS)}."
        raise front.wrong_key(f"is '{kind}', which there is not", *keys, field, hint=hint)
    return Property(name, kind, told, keys)


def _schema(front: Front, each: Property, is_strict: bool, is_member: bool) -> dict[str, Any]:
    """is_member: of an object, so that a strict schema must say whether it may be left out."""
    if each.kind in RICH:
        told = f"is '{each.kind}', which a model cannot write"
        raise front.wrong_key(told, *each.keys, "kind", hint=f"Write one of {', '.join(TYPES)}.")
    is_nullable = bool(each.told.get("nullable"))
    is_nullable |= is_strict and is_member and not each.is_required
    if each.kind == "union":
        schema = _union(front, each, is_strict, is_nullable)
    else:
        name = TYPES[each.kind]
        schema = {"type": [name, "null"] if is_nullable else name}
        if each.kind == "array" and each.told.get("items") is not None:
            items = _property(front, "items", each.told["items"], *each.keys, "items")
            schema["items"] = _schema(front, items, is_strict, False)
        if each.kind == "object" and (is_strict or each.told.get("properties")):
            below = properties(front, each.told.get("properties"), *each.keys, "properties")
            schema |= object_schema(front, list(below), is_strict=is_strict) | {
                "type": schema["type"]
            }
    if each.told.get("description"):
        schema["description"] = str(each.told["description"])
    if each.choices:
        schema["enum"] = [*each.choices, None] if is_nullable else list(each.choices)
    return schema


def _union(front: Front, each: Property, is_strict: bool, is_nullable: bool) -> dict[str, Any]:
    given = [key for key in _UNIONS if each.told.get(key)]
    if len(given) != 1 or not isinstance(each.told[given[0]], list):
        hint = "Write oneOf: or anyOf: with a list of properties."
        raise front.wrong_key(
            "is a union without one list of what it may be", *each.keys, hint=hint
        )
    branches = [
        _schema(front, _property(front, "", told, *each.keys, given[0], number), is_strict, False)
        for number, told in enumerate(each.told[given[0]])
    ]
    return {given[0]: [*branches, {"type": "null"}] if is_nullable else branches}


def _kind_of(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "float", list: "array", dict: "object"}
    return kinds.get(type(value), "string")
