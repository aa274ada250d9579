"""Waits, in code without an event loop, for work on the loop of the process's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from farthing.core.errors import FlowError
from farthing.gateway.python import background

T = TypeVar("T")


def wait(work: Coroutine[Any, Any, T]) -> T:
    """Run it on the loop of the process's own client, and wait. Raises FlowError on a running loop."""
    if _is_on_a_loop():
        work.close()
        raise FlowError(
            "A flow was run and waited for where an event loop runs.",
            hint="Await the flow itself here: `await answer(…)`.",
        )
    future = asyncio.run_coroutine_threadsafe(work, background().loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()  # Ctrl-C here stops the work there
        raise


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
