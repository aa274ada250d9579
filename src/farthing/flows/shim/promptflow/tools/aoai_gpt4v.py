"""`promptflow.tools.aoai_gpt4v`: chats about images with models of Azure OpenAI."""

from farthing.flows.shim.late import late
from farthing.flows.shim.model_tools import AzureVision as AzureOpenAI

__all__ = ["AzureOpenAI"]

__getattr__ = late("promptflow.tools.aoai_gpt4v", known=globals())
