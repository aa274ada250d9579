"""`promptflow.tools.openai_gpt4v`: chats about images with models of OpenAI."""

from farthing.flows.shim.late import late
from farthing.flows.shim.model_tools import OpenAIVision as OpenAI

__all__ = ["OpenAI"]

__getattr__ = late("promptflow.tools.openai_gpt4v", known=globals())
