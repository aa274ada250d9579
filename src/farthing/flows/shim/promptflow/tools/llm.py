"""`promptflow.tools.llm`: a chat or a completion with the model that a connection leads to."""

from farthing.flows.shim.late import late
from farthing.flows.shim.model_tools import llm

__all__ = ["llm"]

__getattr__ = late("promptflow.tools.llm", known=globals())
