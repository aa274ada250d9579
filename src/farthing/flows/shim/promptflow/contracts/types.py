"""`promptflow.contracts.types`: the texts that mark parameters."""

from farthing.flows.code.marks import AssistantDefinition, FilePath, PromptTemplate, Secret
from farthing.flows.shim.late import late

__all__ = ["AssistantDefinition", "FilePath", "PromptTemplate", "Secret"]

__getattr__ = late("promptflow.contracts.types", known=globals())
