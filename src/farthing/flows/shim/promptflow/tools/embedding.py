"""`promptflow.tools.embedding`: vectors of texts."""

from farthing.flows.shim.late import late
from farthing.flows.shim.model_tools import embedding

__all__ = ["embedding"]

__getattr__ = late("promptflow.tools.embedding", known=globals())
