"""Writes tables as TOML text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(tables: Iterable[tuple[tuple[str, ...], Mapping[str, Any]]]) -> str:
    """`(("a", "b"), {"c": 1})` → `[a.b]`, `c = 1`, a blank line; inner mappings are written inline."""
    lines: list[str] = []
    for path, table in tables:
        lines.append(f"[{'.'.join(map(_key, path))}]")
        lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items()]
        lines.append("")
    return "\n".join(lines)


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(int(value) if isinstance(value, int) else float(value))
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(str(k))} = {_value(v)}' for k, v in value.items())} }}"
    return json.dumps(str(value), ensure_ascii=False)
