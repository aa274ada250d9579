"""Tools that packages bring: the entry points `package_tools`, each a function that lists its tools."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from farthing.base.registry import Registry
from farthing.core.errors import ConfigError, FlowError, did_you_mean
from farthing.flows import shim

GROUP = "package_tools"
_VISION = {
    "temperature": {"type": ["double"]},
    "top_p": {"type": ["double"]},
    "max_tokens": {"type": ["int"]},
    "stop": {"type": ["list"]},
    "presence_penalty": {"type": ["double"]},
    "frequency_penalty": {"type": ["double"]},
    "seed": {"type": ["int"]},
}
#: Prompt flow's own package tools that there are here, by id; a package that brings them comes first.
_OURS: Mapping[str, Mapping[str, Any]] = {
    "promptflow.tools.embedding.embedding": {
        "module": "farthing.flows.shim.model_tools",
        "function": "embedding",
    },
    "promptflow.tools.aoai_gpt4v.AzureOpenAI.chat": {
        "module": "farthing.flows.shim.model_tools",
        "class_name": "AzureVision",
        "function": "chat",
        "inputs": _VISION,
    },
    "promptflow.tools.openai_gpt4v.OpenAI.chat": {
        "module": "farthing.flows.shim.model_tools",
        "class_name": "OpenAIVision",
        "function": "chat",
        "inputs": _VISION,
    },
}


class PackageTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool of a package. inputs: as the package tells them. provider: the class of a method."""

    name: str
    function: Callable[..., Any]
    inputs: Mapping[str, Any] = {}
    provider: type | None = None


def package_tool(name: str) -> PackageTool:
    """The tool of that id, as in `package.module.function`. Raises FlowError."""
    tools = listed_tools()
    told = tools.get(name)
    if told is None:
        hint = did_you_mean(name, tools)
        hint = hint or f"Install the package that brings '{name.partition('.')[0]}'."
        raise FlowError(f"There is no package tool '{name}'.", hint=hint)
    first = str(told.get("class_name") or told["function"])
    with shim.active():
        try:
            things: Registry[Any] = Registry(
                "package tool", "farthing.nobody", {name: f"{told['module']}:{first}"}
            )
            thing = things.get(name)
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


@lru_cache(maxsize=1)
def listed_tools() -> Mapping[str, Mapping[str, Any]]:
    """What the installed packages say they have, by id; looked up once. Raises FlowError."""
    found: dict[str, Mapping[str, Any]] = dict(_OURS)
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
    return found
