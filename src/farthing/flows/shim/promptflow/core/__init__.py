"""`promptflow.core`: the decorator of tools, prompties, model configurations, metrics."""

from farthing.flows.batch.metrics import log_metric
from farthing.flows.code.tool import ToolProvider
from farthing.flows.code.tool import node as tool
from farthing.flows.connections.model_configuration import (
    AzureOpenAIModelConfiguration,
    ModelConfiguration,
    OpenAIModelConfiguration,
)
from farthing.flows.shim.late import late

__all__ = [
    "AzureOpenAIModelConfiguration",
    "ModelConfiguration",
    "OpenAIModelConfiguration",
    "ToolProvider",
    "log_flow_metric",
    "log_metric",
    "tool",
]
__version__ = "1.18.5"

log_flow_metric = log_metric

__getattr__ = late(
    "promptflow.core",
    {
        "AsyncFlow": "farthing.flows.client:AsyncFlow",
        "AsyncPrompty": "farthing.flows.prompty.prompty:AsyncPrompty",
        "Flow": "farthing.flows.client:Flow",
        "Prompty": "farthing.flows.prompty.prompty:Prompty",
    },
    known=globals(),
)
