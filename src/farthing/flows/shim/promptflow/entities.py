"""`promptflow.entities`: settings of tools' inputs, and the types of connections once more."""

from farthing.flows.connections.types import (
    AzureContentSafetyConnection,
    AzureOpenAIConnection,
    CognitiveSearchConnection,
    CustomConnection,
    CustomStrongTypeConnection,
    FormRecognizerConnection,
    OpenAIConnection,
    SerpConnection,
    ServerlessConnection,
)
from farthing.flows.shim.late import late
from farthing.flows.shim.settings import DynamicList, InputSetting

__all__ = [
    "AzureContentSafetyConnection",
    "AzureOpenAIConnection",
    "CognitiveSearchConnection",
    "CustomConnection",
    "CustomStrongTypeConnection",
    "DynamicList",
    "FormRecognizerConnection",
    "InputSetting",
    "OpenAIConnection",
    "SerpConnection",
    "ServerlessConnection",
]

__getattr__ = late(
    "promptflow.entities",
    {"FlowContext": "farthing.flows.client:FlowContext", "Run": "farthing.flows.client:Run"},
    known=globals(),
)
