"""`promptflow.exceptions`: what user code raises and catches."""

from farthing.flows.shim.exceptions import (
    ErrorTarget,
    PromptflowException,
    SystemErrorException,
    UserErrorException,
    ValidationException,
)
from farthing.flows.shim.late import late

__all__ = [
    "ErrorTarget",
    "PromptflowException",
    "SystemErrorException",
    "UserErrorException",
    "ValidationException",
]

__getattr__ = late("promptflow.exceptions", known=globals())
