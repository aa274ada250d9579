"""The errors of package tools, under the names that flows catch (promptflow-tools 1.6.1).

Each is a FlowError, so that a line shows its message and hint, and one of prompt flow's exceptions, so that
`except UserErrorException` in a flow's code catches it.
"""

from __future__ import annotations

from typing import Any

from farthing.core.errors import FlowError, UpstreamError
from farthing.flows.prompts.chat import ChatFormatError
from farthing.flows.prompts.requests import RequestFormatError
from farthing.flows.shim.exceptions import (
    ErrorTarget,
    SystemErrorException,
    UserErrorException,
)


class ToolError(FlowError):
    """A package tool failed. upstream_status: what the service answered with, if it did."""

    code = "tool_failed"
    status = 502

    def __init__(self, message: str = "", *, hint: str | None = None, **told: Any) -> None:
        super().__init__(message, hint=hint)
        self.target: ErrorTarget = told.get("target", ErrorTarget.TOOL)


class ToolValidationError(ToolError, UserErrorException):
    """A tool was given what it cannot take."""

    code = "tool_input_invalid"
    status = 400


class InvalidConnectionType(ToolValidationError):  # noqa: N818 -- the name that flows catch
    """A tool was given a connection of another type than it asks with."""


class SerpAPIUserError(ToolError, UserErrorException):
    """SerpAPI refused the search: its key, its quota, its words."""


class SerpAPISystemError(ToolError, SystemErrorException):
    """SerpAPI could not be asked, or broke."""


class AzureContentSafetyInputValueError(ToolError, UserErrorException):
    """A sensitivity that there is not, or a category that the service did not judge."""


class AzureContentSafetySystemError(ToolError, SystemErrorException):
    """Content Safety refused the text, could not be asked, or broke."""


class OpenModelLLMUserError(ToolError, UserErrorException):
    """The endpoint or the prompt of an open model will not do."""


class OpenModelLLMKeyValidationError(ToolValidationError):
    """The connection of an open model lacks a key."""


class OpenModelLLMOnlineEndpointError(ToolError, UserErrorException):
    """The endpoint of an open model refused the call, could not be asked, or broke."""


class RerankError(ToolError, UserErrorException):
    """Results cannot be ranked: the ranker, the results, or the service."""


#: What the vendors' client raised is here an error of the gateway; flows catch it by this name.
WrappedOpenAIError = UpstreamError
ChatAPIInvalidRole = ChatAPIFunctionRoleInvalidFormat = ChatAPIToolRoleInvalidFormat = (
    ChatFormatError
)
ChatAPIInvalidFunctions = ChatAPIInvalidTools = RequestFormatError
