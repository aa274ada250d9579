"""`promptflow.tools.open_model_llm`: open models behind endpoints of Azure Machine Learning."""

from farthing.flows.shim.late import late
from farthing.flows.tools.open_model import API, ModelFamily, OpenModelLLM

__all__ = ["API", "ModelFamily", "OpenModelLLM"]

__getattr__ = late("promptflow.tools.open_model_llm", known=globals())
