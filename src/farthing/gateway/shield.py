"""Finish what must be finished although the caller is being cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


async def shielded(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end even when this task is cancelled meanwhile, then pass the cancellation on.

    `asyncio.shield` alone would return at once and leave the work unattended; a settlement must be over
    before the call's context is left. Work that ends without waiting for anything cannot be cancelled in
    the middle: it is over at once, and a task is made only for what is left when it begins to wait.
    """
    try:
        first = work.send(None)
    except StopIteration:
        return
    task = asyncio.ensure_future(_finish(work, first))
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


async def _finish(work: Coroutine[Any, Any, None], first: Any) -> None:
    await _Rest(work, first)


class _Rest:
    """A coroutine that has begun, awaited from where it waits: `first` is what it waits for."""

    def __init__(self, work: Coroutine[Any, Any, None], first: Any) -> None:
        self._work = work
        self._first = first

    def __await__(self) -> Generator[Any, Any, None]:
        work, awaited = self._work, self._first
        while True:
            try:
                try:
                    sent = yield awaited
                except BaseException as error:  # border: what the loop throws in is the work's
                    awaited = work.throw(error)
                else:
                    awaited = work.send(sent)
            except StopIteration:
                return
