"""Threads for plain functions: few are woken while the work is short, all of them as soon as one is stuck.

Waking a thread costs more than most nodes do. So one worker takes what comes; a look every few milliseconds
finds work that it leaves lying, and wakes others. What workers tell the loop is gathered the same way.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

#: After so long, seconds, work that still waits is given to more threads; the loop's timers know no less.
LOOK_S = 0.001


class Workers:
    """Calls functions in threads, in the order in which they come. Belongs to the loop that runs now.

    size: threads at most. They are daemons: one whose function hangs does not keep the program from its end.
    """

    def __init__(self, size: int, *, name: str) -> None:
        self.loop = asyncio.get_running_loop()
        self._size = size
        self._name = name
        self._lock = threading.Lock()
        self._work: deque[tuple[Callable[..., None], Any]] = deque()
        self._idle: list[threading.Semaphore] = []
        self._count = 0
        self._awake = 0
        self._lost = 0
        self._taken = 0
        self._is_looking = False
        self._is_closed = False
        self._told: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._is_told = False

    def submit(self, function: Callable[[Any], None], argument: Any) -> None:
        """Have it called in a thread; on the loop. It must not raise."""
        with self._lock:
            self._work.append((function, argument))
            if not self._awake:
                self._wake(1)
                return
        if not self._is_looking:
            self._is_looking = True
            self.loop.call_later(LOOK_S, self._look, self._taken + len(self._work))

    async def call(self, function: Callable[[], Any]) -> Any:
        """What it returns in a thread. Raises what it raises."""
        future: asyncio.Future[None] = self.loop.create_future()
        came: list[Any] = [None, None]

        def work(_: None) -> None:
            try:
                came[0] = function()
            except BaseException as error:  # border: told to the loop, where it is raised
                came[1] = error
            self.tell(_set, future)

        self.submit(work, None)
        await future
        if came[1] is not None:
            raise came[1]
        return came[0]

    def tell(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have it called on the loop, which is woken once for many; from a thread."""
        self._told.append((function, arguments))
        if not self._is_told:
            self._is_told = True
            with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                self.loop.call_soon_threadsafe(self._hear)

    def lose(self, count: int) -> None:
        """So many functions hang and are waited for no longer: others may have threads in their place."""
        with self._lock:
            self._lost += count

    def find(self) -> None:
        """One of those has come back."""
        with self._lock:
            self._lost -= 1

    def close(self) -> None:
        """Begin nothing more. Idempotent."""
        with self._lock:
            self._is_closed = True
            self._work.clear()
            for idle in self._idle:
                idle.release()
            self._idle.clear()

    # --- private ---

    def _look(self, upto: int) -> None:
        """Give what has waited since the last look to more threads. upto: how many were to be taken."""
        with self._lock:
            self._is_looking = bool(self._work) and not self._is_closed
            if not self._is_looking:
                return
            left = upto - self._taken
            if left > 0:
                self._wake(left)
            upto = self._taken + len(self._work)
        self.loop.call_later(LOOK_S, self._look, upto)

    def _wake(self, count: int) -> None:
        """Wake so many, or make them; under the lock."""
        for _ in range(count):
            if self._idle:
                self._idle.pop().release()
            elif self._count - self._lost < self._size and not self._is_closed:
                self._count += 1
                threading.Thread(
                    target=self._run, name=f"{self._name}-{self._count}", daemon=True
                ).start()
            else:
                return
            self._awake += 1

    def _run(self) -> None:
        wake = threading.Semaphore(0)
        while True:
            try:
                function, argument = self._work.popleft()
            except IndexError:
                if not self._rest(wake):
                    return
                continue
            # Two at once may count one: it is a hint, and a look too many harms nothing.
            self._taken += 1
            function(argument)

    def _rest(self, wake: threading.Semaphore) -> bool:
        """Wait for work. False: there will be none, or others have this one's place."""
        with self._lock:
            if self._work:
                return True
            self._awake -= 1
            if self._is_closed or self._count - self._lost > self._size:
                self._count -= 1
                return False
            self._idle.append(wake)
        wake.acquire()
        return True

    def _hear(self) -> None:
        # Before the first is taken: what comes from now on wakes the loop again.
        self._is_told = False
        while self._told:
            function, arguments = self._told.popleft()
            function(*arguments)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
