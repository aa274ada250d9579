"""The settings in effect as rows to show: name, value with secrets masked, origin."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit, urlunsplit

import msgspec

from farthing.base.config.loader import Loaded
from farthing.base.config.positions import KeyPath
from farthing.base.config.schema import dotted
from farthing.base.config.secrets import masked
from farthing.base.config.settings import SECRETS


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One setting. text: as it would stand in the file. origin: a file, a variable, or `default`."""

    name: str
    text: str
    origin: str


def rows(loaded: Loaded) -> list[Row]:
    """Every setting with a value, in the order of the schema."""
    return [
        Row(name=dotted(path), text=_text(path, value), origin=_origin(path, loaded.origins))
        for path, value in _leaves(loaded.settings, ())
        if value is not None
    ]


def _leaves(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from _leaves(getattr(value, field), (*path, field))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path, value


def _text(path: KeyPath, value: object) -> str:
    field = next((str(part) for part in path if part in SECRETS), None)
    if isinstance(value, str) and field is not None:
        value = _address(value) if field == "url" else masked(value)
    elif isinstance(value, str) and path[-1] == "base_url":
        value = _address(value)
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value, ensure_ascii=False)


def _address(url: str) -> str:
    """The address without the password in it."""
    try:
        parts = urlsplit(url)
        if parts.password is None:
            return url
    except ValueError:
        return "***"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))


def _origin(path: KeyPath, origins: Mapping[str, str]) -> str:
    return origins.get(dotted(path), "default")
