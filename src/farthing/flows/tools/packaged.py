"""Which package tools there are, as `packaged.toml` lists them, and what is said of those that are not here."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import Any

#: One tool as prompt flow's listings have it: name, description, type, module, class_name, function, inputs.
Described = Mapping[str, Any]


@lru_cache(maxsize=1)
def _read() -> Mapping[str, Any]:
    text = files(__package__).joinpath("packaged.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def packaged_tools() -> dict[str, Described]:
    """The tools by id, a new mapping each time; old ids of a tool are in its `deprecated_tools`."""
    return dict(_read()["tools"])


def former_tools() -> dict[str, Described]:
    """The same tools by the ids that they had in packages of their own."""
    return {
        old: told for told in _read()["tools"].values() for old in told.get("deprecated_tools", ())
    }


def absent_tools() -> Mapping[str, str]:
    """Tools that are not here, by id: a sentence without its subject, and what to do in their place."""
    absent: Mapping[str, str] = _read()["absent"]
    return absent


def near_tool(name: str, tools: Iterable[str]) -> str | None:
    """`Did you mean …?` for an id, or None. All ids begin alike, so a near one has to be nearer than a word."""
    near = get_close_matches(
        name[:200], (*tools, *former_tools(), *absent_tools()), n=1, cutoff=0.8
    )
    return f"Did you mean '{near[0]}'?" if near else None


def needed_inputs(told: Described) -> list[str]:
    """The inputs that a node must give: those without a default that no other input decides on."""
    return [
        name
        for name, each in (told.get("inputs") or {}).items()
        if "default" not in each and "enabled_by" not in each
    ]
