"""The exceptions that flows raise under prompt flow's names. They are the user's; ours are in core.errors."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class ErrorTarget(StrEnum):
    """Which part of the system an error names as its own."""

    EXECUTOR = "Executor"
    BATCH = "Batch"
    CORE = "Core"
    FLOW_EXECUTOR = "FlowExecutor"
    NODE_EXECUTOR = "NodeExecutor"
    TOOL = "Tool"
    RUNTIME = "Runtime"
    UNKNOWN = "Unknown"
    CONTROL_PLANE_SDK = "ControlPlaneSDK"
    SERVING_APP = "ServingApp"
    FLOW_INVOKER = "FlowInvoker"


class PromptflowException(Exception):  # noqa: N818 -- the name that user code imports
    """The root of them. message: with its `message_format` filled in from the other words."""

    def __init__(
        self,
        message: str = "",
        message_format: str = "",
        target: ErrorTarget = ErrorTarget.UNKNOWN,
        module: str | None = None,
        **told: Any,
    ) -> None:
        self.message = str(message) or message_format.format(**told) or type(self).__name__
        self.message_format = message_format
        self.target = target
        self.module = module
        self.inner_exception = told.get("error")
        super().__init__(self.message)


class UserErrorException(PromptflowException):
    """The one who uses the flow can set it right."""


class SystemErrorException(PromptflowException):
    """Something around the flow went wrong."""


class ValidationException(UserErrorException):
    """A value is not what it has to be."""
