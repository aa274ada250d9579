"""`trace` and what goes with it, as flows call them: functions stay what they are, nothing is started.

What is worth tracing of a flow, its nodes and its model calls, is traced by the engine and the gateway.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def trace(function: F | None = None, **_told: Any) -> Any:
    """The function itself; `@trace` and `@trace()` both work."""
    if function is None:
        return lambda later: later
    return function


def start_trace(*_told: Any, **_named: Any) -> None:
    """Nothing: there is no service to be started."""


class ThreadPoolExecutorWithContext(ThreadPoolExecutor):
    """A pool whose threads have the context variables of whoever gave them the work."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See `ThreadPoolExecutor.submit`."""
        context = contextvars.copy_context()
        return super().submit(context.run, fn, *args, **kwargs)
