"""The smallest JSON value that fits a schema, for tool arguments and structured answers."""

from __future__ import annotations

from typing import Any

import msgspec

_MAX_DEPTH = 24
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "simulated@example.com",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "hostname": "example.com",
}


def minimal_json(schema: bytes) -> str:
    """JSON text valid under `schema` (draft 2020-12 without `pattern`, `not` and conditionals).

    Only required properties are filled, with the smallest value allowed; strings say `simulated`.
    An empty or unreadable schema gives `{}`.
    """
    try:
        root = msgspec.json.decode(schema) if schema else {}
    except msgspec.DecodeError:
        root = {}
    if not isinstance(root, dict):
        root = {}
    value = _value(root, root, 0) if root else {}
    return msgspec.json.encode(value).decode()


def _value(schema: Any, root: dict[str, Any], depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return {} if depth == 0 else None
    if "$ref" in schema:
        return _value(_resolve(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            return _value(schema[word][0], root, depth + 1)
    if schema.get("allOf"):
        return _value(_merged([schema, *schema["allOf"]], root), root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind is None and "properties" in schema:
        kind = "object"
    return _of_kind(str(kind).lower(), schema, root, depth)


def _of_kind(kind: str, schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties") or {}
        names = schema.get("required") or ()
        return {
            name: _value(properties.get(name, {"type": "string"}), root, depth + 1)
            for name in names
        }
    if kind == "array":
        item = schema.get("items", {"type": "string"})
        return [_value(item, root, depth + 1) for _ in range(int(schema.get("minItems", 0)))]
    if kind == "string":
        return _string(schema)
    if kind in ("integer", "number"):
        return _number(schema, is_integer=kind == "integer")
    if kind == "boolean":
        return False
    return None if kind == "null" else {} if depth == 0 else "simulated"


def _string(schema: dict[str, Any]) -> str:
    text = _FORMATS.get(str(schema.get("format")), "simulated")
    text = text.ljust(int(schema.get("minLength", 0)), "-")
    longest = schema.get("maxLength")
    return text if longest is None else text[: int(longest)]


def _number(schema: dict[str, Any], *, is_integer: bool) -> int | float:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    step = schema.get("multipleOf") or 1
    value: int | float = 0
    if low is not None and value < low:
        value = low
    if above is not None and value <= above:
        value = above + step
    if high is not None and value > high:
        value = high
    if below is not None and value >= below:
        value = below - step
    if step != 1 and value % step:
        value = (value // step + 1) * step
    return int(value) if is_integer else value


def _merged(schemas: list[dict[str, Any]], root: dict[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    for part in schemas:
        schema = _resolve(str(part["$ref"]), root) if "$ref" in part else part
        whole["properties"].update(schema.get("properties") or {})
        whole["required"] += [n for n in schema.get("required") or () if n not in whole["required"]]
        whole.update({k: v for k, v in schema.items() if k in ("type", "enum", "const")})
    return whole


def _resolve(pointer: str, root: dict[str, Any]) -> dict[str, Any]:
    node: Any = root
    for step in pointer.removeprefix("#").strip("/").split("/"):
        if step:
            node = node.get(step, {}) if isinstance(node, dict) else {}
    return node if isinstance(node, dict) else {}
