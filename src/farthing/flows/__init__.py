"""The engine that runs flows: graphs of prompts, models and functions; this door has the parts of Python flows.

`farthing.node` and `farthing.flow` make a flow; what its nodes are made of is imported from here. The room knows
nothing of HTTP serving and of how a model is reached: that is the gateway's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from farthing.flows.batch.metrics import log_metric
    from farthing.flows.code.marks import AssistantDefinition, FilePath, PromptTemplate, Secret
    from farthing.flows.connections.model_configuration import (
        AzureOpenAIModelConfiguration,
        OpenAIModelConfiguration,
    )
    from farthing.flows.connections.types import (
        AzureAIServicesConnection,
        AzureContentSafetyConnection,
        AzureOpenAIConnection,
        CognitiveSearchConnection,
        CustomConnection,
        CustomStrongTypeConnection,
        FormRecognizerConnection,
        OpenAIConnection,
        QdrantConnection,
        SerpConnection,
        ServerlessConnection,
        WeaviateConnection,
    )
    from farthing.flows.engine.lines import Lines
    from farthing.flows.prompts.images import Image, image_of, with_images
    from farthing.flows.prompty.prompty import AsyncPrompty, Prompty
    from farthing.flows.python.connection import connection
    from farthing.flows.python.images import fetched
    from farthing.flows.python.prompt import Prompt
    from farthing.flows.python.tools import file_tool, package_tool
    from farthing.flows.references import pick
    from farthing.flows.shim.tracing import trace

#: By module; each is imported when one of its names is first asked for.
_HOMES = {
    "batch.metrics": ("log_metric",),
    "code.marks": ("AssistantDefinition", "FilePath", "PromptTemplate", "Secret"),
    "connections.model_configuration": (
        "AzureOpenAIModelConfiguration",
        "OpenAIModelConfiguration",
    ),
    "connections.types": (
        "AzureAIServicesConnection",
        "AzureContentSafetyConnection",
        "AzureOpenAIConnection",
        "CognitiveSearchConnection",
        "CustomConnection",
        "CustomStrongTypeConnection",
        "FormRecognizerConnection",
        "OpenAIConnection",
        "QdrantConnection",
        "SerpConnection",
        "ServerlessConnection",
        "WeaviateConnection",
    ),
    "engine.lines": ("Lines",),
    "prompts.images": ("Image", "image_of", "with_images"),
    "prompty.prompty": ("AsyncPrompty", "Prompty"),
    "python.connection": ("connection",),
    "python.images": ("fetched",),
    "python.prompt": ("Prompt",),
    "python.tools": ("file_tool", "package_tool"),
    "references": ("pick",),
    "shim.tracing": ("trace",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AssistantDefinition",
    "AsyncPrompty",
    "AzureAIServicesConnection",
    "AzureContentSafetyConnection",
    "AzureOpenAIConnection",
    "AzureOpenAIModelConfiguration",
    "CognitiveSearchConnection",
    "CustomConnection",
    "CustomStrongTypeConnection",
    "FilePath",
    "FormRecognizerConnection",
    "Image",
    "Lines",
    "OpenAIConnection",
    "OpenAIModelConfiguration",
    "Prompt",
    "PromptTemplate",
    "Prompty",
    "QdrantConnection",
    "Secret",
    "SerpConnection",
    "ServerlessConnection",
    "WeaviateConnection",
    "connection",
    "fetched",
    "file_tool",
    "image_of",
    "log_metric",
    "package_tool",
    "pick",
    "trace",
    "with_images",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'farthing.flows' has no attribute '{name}'")
    from farthing.base.registry import imported

    return imported("part of flows", name, f"farthing.flows.{home}:{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
