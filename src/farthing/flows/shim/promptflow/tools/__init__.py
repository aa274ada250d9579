"""`promptflow.tools`: the tools for models."""

from farthing.flows.shim.late import late
from farthing.flows.shim.model_tools import AzureOpenAI, OpenAI

__all__ = ["AzureOpenAI", "OpenAI"]

__getattr__ = late("promptflow.tools", known=globals())
