"""Tools that packages bring: the entry points `package_tools`, each a function that lists its tools."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from farthing.base.registry import imported
from farthing.core.errors import ConfigError, FlowError
from farthing.flows import shim
from farthing.flows.tools.packaged import absent_tools, former_tools, near_tool, packaged_tools

GROUP = "package_tools"


class PackageTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool of a package. inputs: as the package tells them. provider: the class of a method."""

    name: str
    function: Callable[..., Any]
    inputs: Mapping[str, Any] = {}
    provider: type | None = None


def package_tool(name: str) -> PackageTool:
    """The tool of that id, as in `package.module.function`. Raises FlowError."""
    # Ours come first, and without a look at what is installed: a listing that fails is no matter then.
    told = packaged_tools().get(name) or former_tools().get(name) or listed_tools().get(name)
    if told is None:
        raise _missing(name, listed_tools())
    first = str(told.get("class_name") or told["function"])
    with shim.active():
        try:
            thing = imported("package tool", name, f"{told['module']}:{first}")
        except ConfigError as error:
            raise FlowError(error.message, hint=error.hint) from error
        except Exception as error:  # border: another's package
            raise FlowError(
                f"Importing the package tool '{name}' failed with {type(error).__name__}.",
                hint=f"Look whether {told['module']} can be imported here.",
            ) from error
    provider = thing if told.get("class_name") else None
    function = getattr(thing, str(told["function"])) if provider is not None else thing
    return PackageTool(
        name=name, function=function, inputs=dict(told.get("inputs") or {}), provider=provider
    )


def _missing(name: str, tools: Iterable[str]) -> FlowError:
    instead = absent_tools().get(name)
    if instead is not None:
        what, _, hint = instead.partition(". ")
        return FlowError(f"The package tool '{name}' {what}.", hint=hint)
    package = name.partition(".")[0]
    where = f"Install the package that brings '{package}'."
    if package == shim.NAME:
        where = "See farthing pf tool list."
    hint = near_tool(name, tools) or where
    return FlowError(f"There is no package tool '{name}'.", hint=hint)


@lru_cache(maxsize=1)
def listed_tools() -> Mapping[str, Mapping[str, Any]]:
    """What there is, by id: prompt flow's own tools, and what installed packages say they have; looked up once.

    Of two tools of one id ours counts, as ours counts for the modules that they are in. Raises FlowError.
    """
    found: dict[str, Mapping[str, Any]] = {}
    # The registry refuses two entries of one name; in this group of another product they are common.
    for entry in importlib.metadata.entry_points(group=GROUP):  # noqa: TID251
        with shim.active():
            try:
                found.update(entry.load()())
            except Exception as error:  # border: another's package
                raise FlowError(
                    f"The tools of the package entry '{entry.name}' ({entry.value}) cannot be listed: "
                    f"{type(error).__name__}.",
                    hint="Update the package, or uninstall it.",
                ) from error
    return {**found, **packaged_tools()}
