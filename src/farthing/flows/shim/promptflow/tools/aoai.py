"""`promptflow.tools.aoai`: chat and completion with models of Azure OpenAI."""

from typing import Any

from farthing.flows.code.marks import PromptTemplate
from farthing.flows.code.tool import node
from farthing.flows.connections.types import AzureOpenAIConnection
from farthing.flows.shim.late import late
from farthing.flows.shim.model_tools import AzureOpenAI

__all__ = ["AzureOpenAI", "chat", "completion"]


@node
def chat(
    connection: AzureOpenAIConnection, prompt: PromptTemplate, deployment_name: str, **values: Any
) -> Any:
    """See `AzureOpenAI.chat`."""
    return AzureOpenAI(connection).chat(prompt, deployment_name, **values)


@node
def completion(
    connection: AzureOpenAIConnection, prompt: PromptTemplate, deployment_name: str, **values: Any
) -> Any:
    """See `AzureOpenAI.completion`."""
    return AzureOpenAI(connection).completion(prompt, deployment_name, **values)


__getattr__ = late("promptflow.tools.aoai", known=globals())
