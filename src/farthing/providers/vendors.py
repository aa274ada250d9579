"""The rows of `vendors.toml`: every type of provider that is built in."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import msgspec


class Vendor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One type of provider; the fields are explained at the top of the file."""

    title: str
    base_url: str
    key: tuple[str, ...]
    source: str
    date: str
    needs: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    factory: str = "farthing.providers.compatible:build"
    local: bool = False
    probe: bool = True
    catalogue: str | None = None
    named_by_operator: bool = False
    describes: bool = False
    simulated: bool = False
    usage_option: bool = True
    unverified: bool = False


@cache
def vendors() -> Mapping[str, Vendor]:
    """Type name → row, in the file's order. Read once; the data is part of the package."""
    text = files("farthing.providers").joinpath("vendors.toml").read_text(encoding="utf-8")
    return MappingProxyType(msgspec.convert(tomllib.loads(text), type=dict[str, Vendor]))
