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


class Mail:
    """What threads tell one loop, which is woken once for many."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._told: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._is_told = False

    def tell(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have it called on the loop; from a thread."""
        self._told.append((function, arguments))
        if not self._is_told:
            self._is_told = True
            with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                self.loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        # Before the first is taken: what comes from now on wakes the loop again.
        self._is_told = False
        while self._told:
            function, arguments = self._told.popleft()
            function(*arguments)


class Workers:
    """Calls functions in threads, in the order in which they come; for any loop.

    size: threads at most. They are daemons: one whose function hangs does not keep the program from its end.
    """

    def __init__(self, size: int, *, name: str) -> None:
        self._size = size
        self._name = name
        self._mail: Mail | None = None
        self._lock = threading.Lock()
        self._work: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._idle: list[threading.Semaphore] = []
        self._count = 0
        self._awake = 0
        self._lost = 0
        self._taken = 0
        self._looking: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def mail(self) -> Mail:
        """Where threads leave what the loop that runs now is to hear."""
        loop, mail = asyncio.get_running_loop(), self._mail
        if mail is None or mail.loop is not loop:
            mail = self._mail = Mail(loop)
        return mail

    def submit(self, function: Callable[[Any], None], argument: Any) -> None:
        """Have it called in a thread; on the loop. It must not raise."""
        with self._lock:
            self._work.append((function, argument))
            if not self._awake:
                self._wake(1)
                return
        loop = asyncio.get_running_loop()
        if self._looking is not loop:  # nor does a loop that has ended look any more
            self._looking = loop
            loop.call_later(LOOK_S, self._look, self._taken + len(self._work))

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What it returns in a thread. Raises what it raises, and RuntimeError once this is closed.

        A call that is cancelled is not begun. One that has begun is lost until it returns: another thread
        may have its place.
        """
        if self._is_closed:
            raise RuntimeError("These threads are closed.")
        call = _Call(function, arguments, self.mail())
        self.submit(self._answer, call)
        try:
            await call.future
        except asyncio.CancelledError:
            self._leave(call)
            raise
        if call.error is None:
            return call.value
        try:
            raise call.error
        finally:
            del call  # the error knows this frame, which must not know the error

    def lose(self, count: int) -> None:
        """So many functions hang and are waited for no longer: others may have threads in their place."""
        with self._lock:
            self._lost += count

    def find(self) -> None:
        """One of those has come back."""
        with self._lock:
            self._lost -= 1

    def close(self) -> None:
        """Begin nothing more; calls that were not begun are cancelled. Idempotent."""
        with self._lock:
            self._is_closed = True
            left = [argument for _, argument in self._work if isinstance(argument, _Call)]
            self._work.clear()
            for idle in self._idle:
                idle.release()
            self._idle.clear()
        for call in left:
            call.future.cancel()

    # --- private ---

    def _answer(self, call: _Call) -> None:
        """Call it, and tell the loop; in a thread."""
        with self._lock:
            if call.is_left:
                return
            call.is_running = True
        try:
            call.value = call.function(*call.arguments)
        except BaseException as error:  # border: told to the loop, where it is raised
            call.error = error
        with self._lock:
            call.is_running = False
            if call.is_left:
                self._lost -= 1
                return
        call.mail.tell(_set, call.future)

    def _leave(self, call: _Call) -> None:
        with self._lock:
            call.is_left = True
            self._lost += call.is_running

    def _look(self, upto: int) -> None:
        """Give what has waited since the last look to more threads. upto: how many were to be taken."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._looking is not loop:
                return
            if self._is_closed or not self._work:
                self._looking = None
                return
            left = upto - self._taken
            if left > 0:
                self._wake(left)
            upto = self._taken + len(self._work)
        loop.call_later(LOOK_S, self._look, upto)

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


class _Call:
    """A function on its way through a thread. is_left: nobody waits for it."""

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], mail: Mail
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.mail = mail
        self.future: asyncio.Future[None] = mail.loop.create_future()
        self.value: Any = None
        self.error: BaseException | None = None
        self.is_running = self.is_left = False


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
