"""`promptflow.tools.llm_vision`: a chat about images with the model that a connection leads to."""

from farthing.flows.shim.late import late
from farthing.flows.shim.model_tools import llm_vision

__all__ = ["llm_vision"]

__getattr__ = late("promptflow.tools.llm_vision", known=globals())
