"""Group sync: many that wait for the disk share one wait."""

from __future__ import annotations

import asyncio
import threading

from farthing.base.storage.journal import Journal
from farthing.core.errors import StorageError


class Syncer:
    """Syncs a journal on a thread of its own.

    A thread and not the loop's pool: at the interpreter's exit, when a background client closes, pools
    are gone.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_closed = False
        threading.Thread(target=self._run, name="farthing-sync", daemon=True).start()

    async def sync(self) -> None:
        """Return once the disk has everything appended before. Raises StorageError."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((loop, future))
        self._wake.set()
        await future

    def close(self) -> None:
        """End the thread."""
        self._is_closed = True
        self._wake.set()

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                waiting, self._waiting = self._waiting, []
            failure: StorageError | None = None
            if waiting:
                try:
                    self._journal.sync()
                except StorageError as error:
                    failure = error
            for loop, future in waiting:
                try:
                    loop.call_soon_threadsafe(_finish, future, failure)
                except RuntimeError:
                    pass  # the loop is closed: nobody waits for it any more


def _finish(future: asyncio.Future[None], failure: StorageError | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)
