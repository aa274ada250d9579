"""`promptflow.tools.exception`: what the tools raise."""

from farthing.flows.shim.late import late
from farthing.flows.tools.errors import (
    AzureContentSafetyInputValueError,
    AzureContentSafetySystemError,
    ChatAPIFunctionRoleInvalidFormat,
    ChatAPIInvalidFunctions,
    ChatAPIInvalidRole,
    ChatAPIInvalidTools,
    ChatAPIToolRoleInvalidFormat,
    InvalidConnectionType,
    OpenModelLLMKeyValidationError,
    OpenModelLLMOnlineEndpointError,
    OpenModelLLMUserError,
    SerpAPISystemError,
    SerpAPIUserError,
    ToolValidationError,
    WrappedOpenAIError,
)

__all__ = [
    "AzureContentSafetyInputValueError",
    "AzureContentSafetySystemError",
    "ChatAPIFunctionRoleInvalidFormat",
    "ChatAPIInvalidFunctions",
    "ChatAPIInvalidRole",
    "ChatAPIInvalidTools",
    "ChatAPIToolRoleInvalidFormat",
    "InvalidConnectionType",
    "OpenModelLLMKeyValidationError",
    "OpenModelLLMOnlineEndpointError",
    "OpenModelLLMUserError",
    "SerpAPISystemError",
    "SerpAPIUserError",
    "ToolValidationError",
    "WrappedOpenAIError",
]

__getattr__ = late("promptflow.tools.exception", known=globals())
