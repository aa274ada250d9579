"""Writes that failed and are tried again in the background until they are done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from farthing.base.clock import Clock
from farthing.core.errors import StorageError

_log = logging.getLogger("farthing.accounts")

#: Writes that wait for a database that cannot be written; beyond it new ones are given up (their holds
#: still cover them, and become orphans at the next start).
MAX_PENDING = 10_000
#: Pauses between tries, seconds; the last one repeats.
_PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0)
#: What waits may take at the end, seconds.
_LAST_S = 10


class Later:
    """Tries each write again until it succeeds. A write must be harmless when it is done twice."""

    def __init__(self, clock: Clock, count_failure: Callable[[str], None]) -> None:
        self._clock = clock
        self._count_failure = count_failure
        self._pending: set[asyncio.Task[None]] = set()

    def add(self, operation: str, call_id: str, write: Callable[[], Awaitable[None]]) -> None:
        """Try it later. operation: its name in the metrics."""
        if len(self._pending) >= MAX_PENDING:
            _log.error("The %s of call %s is given up: too many wait.", operation, call_id)
            return
        task = asyncio.create_task(self._until_written(operation, call_id, write))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def aclose(self) -> None:
        """Give what waits a last moment."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=_LAST_S)
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)

    async def _until_written(
        self, operation: str, call_id: str, write: Callable[[], Awaitable[None]]
    ) -> None:
        tries = 0
        while True:
            await self._clock.sleep(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
            tries += 1
            try:
                await write()
            except StorageError:
                self._count_failure(operation)
            else:
                _log.info("The %s of call %s is written.", operation, call_id)
                return
