"""Google's OpenAPI-like `Schema` as JSON schema, which every other dialect speaks and Google reads too."""

from __future__ import annotations

import msgspec

from farthing.wire.dialects.google_words import camel

#: Fields of `Schema` (google-genai 2.34.0, types.Schema) whose value is a schema, a list or a map of them.
_SCHEMA = frozenset({"items", "additionalProperties"})
_SCHEMAS = frozenset({"anyOf", "prefixItems"})
_NAMED = frozenset({"properties", "defs"})
#: 64-bit integers, which Google writes as strings.
_NUMBERS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
#: Names that JSON schema spells another way.
_NAMES = {"defs": "$defs", "ref": "$ref", "example": "examples"}


def to_json_schema(raw: msgspec.Raw) -> msgspec.Raw:
    """The JSON schema that a `Schema` describes. Raises msgspec.MsgspecError for broken JSON.

    Types become lower case, `nullable` becomes a type of its own, counts become numbers. The order of
    fields stays; `propertyOrdering` has no equivalent and is left in place, where it does no harm.
    """
    return msgspec.Raw(msgspec.json.encode(_converted(msgspec.json.decode(raw))))


def _converted(schema: object) -> object:
    if not isinstance(schema, dict):
        return schema
    found: dict[str, object] = {}
    for spelled, value in schema.items():
        name = camel(spelled)
        if name == "type" and isinstance(value, str):
            if value.upper() != "TYPE_UNSPECIFIED":
                found["type"] = value.lower()
        elif name in _SCHEMA:
            found[name] = _converted(value)
        elif name in _SCHEMAS and isinstance(value, list):
            found[name] = [_converted(each) for each in value]
        elif name in _NAMED and isinstance(value, dict):
            found[_NAMES.get(name, name)] = {key: _converted(each) for key, each in value.items()}
        elif name in _NUMBERS and isinstance(value, str) and value.isdigit():
            found[name] = int(value)
        elif name == "example":
            found["examples"] = [value]
        else:
            found[_NAMES.get(name, name)] = value
    if found.pop("nullable", False) is True:
        _allow_null(found)
    return found


def _allow_null(schema: dict[str, object]) -> None:
    kind, choices, values = schema.get("type"), schema.get("anyOf"), schema.get("enum")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
    elif isinstance(choices, list):
        schema["anyOf"] = [*choices, {"type": "null"}]
    if isinstance(values, list) and None not in values:
        schema["enum"] = [*values, None]
