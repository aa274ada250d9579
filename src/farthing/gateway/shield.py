"""Finish what must be finished although the caller is being cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def shielded(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end even when this task is cancelled meanwhile, then pass the cancellation on.

    `asyncio.shield` alone would return at once and leave the work unattended; a settlement must be over
    before the call's context is left.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.done():
                break
            cancelled = error
    task.result()
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            # It holds this frame, which would hold it: memory of each call that a client left.
            del cancelled
