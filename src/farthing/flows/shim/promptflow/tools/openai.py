"""`promptflow.tools.openai`: chat and completion with models of OpenAI."""

from typing import Any

from farthing.flows.code.marks import PromptTemplate
from farthing.flows.code.tool import node
from farthing.flows.connections.types import OpenAIConnection
from farthing.flows.shim.late import late
from farthing.flows.shim.model_tools import OpenAI

__all__ = ["OpenAI", "chat", "completion"]


@node
def chat(
    connection: OpenAIConnection, prompt: PromptTemplate, model: str = "", **values: Any
) -> Any:
    """See `OpenAI.chat`."""
    return OpenAI(connection).chat(prompt, model, **values)


@node
def completion(
    connection: OpenAIConnection, prompt: PromptTemplate, model: str = "", **values: Any
) -> Any:
    """See `OpenAI.completion`."""
    return OpenAI(connection).completion(prompt, model, **values)


__getattr__ = late("promptflow.tools.openai", known=globals())
