"""`promptflow.tools`: the tools for models and services."""

from farthing.flows.shim.late import late
from farthing.flows.shim.model_tools import AzureOpenAI, OpenAI

__all__ = ["AzureOpenAI", "OpenAI"]

__getattr__ = late(
    "promptflow.tools",
    {"SerpAPI": "farthing.flows.tools.serpapi:SerpAPI"},
    known=globals(),
)
