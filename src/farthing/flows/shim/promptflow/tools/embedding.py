"""`promptflow.tools.embedding`: vectors of texts."""

from farthing.flows.shim.late import late
from farthing.flows.shim.model_tools import EmbeddingModel, embedding

__all__ = ["EmbeddingModel", "embedding"]

__getattr__ = late("promptflow.tools.embedding", known=globals())
