"""Runs the user's functions in threads, plain and asynchronous ones alike, and reads their generators there."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import dataclasses
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from farthing.core.errors import FlowError
from farthing.flows.engine.ambient import Ambient
from farthing.flows.engine.pieces import pieces
from farthing.flows.engine.workers import Workers

_END = object()


class Outcome(NamedTuple):
    """What a function came to. error None: `value` is what it returned.

    A record and no exception, because futures cannot carry StopIteration and a loop does not survive
    SystemExit.
    """

    value: Any = None
    error: Exception | None = None


class Threads:
    """Calls functions; see `run`. Close it when nothing is read from their generators any more."""

    def __init__(self, size: int) -> None:
        """size: threads at most."""
        self._workers = Workers(size, name="farthing-flex")
        self._lock = threading.Lock()
        self._open: set[asyncio.Runner] = set()

    async def run(
        self,
        here: Ambient,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named: dict[str, Any],
        *,
        is_streaming: bool = False,
    ) -> Outcome:
        """Call a function in a thread, with this context's variables, and wait.

        What it awaits runs on a loop of its own in that thread, until `here` is closed. Generators in what
        it returns (itself, values of a dict, fields of a dataclass) are joined to texts; is_streaming: they
        become asynchronous generators for the loop of the caller.
        """
        context = contextvars.copy_context()
        outcome: Outcome = await self._workers.call(
            context.run, self._outcome, here, lambda: function(*args, **named), is_streaming
        )
        if not is_streaming or outcome.error is not None:
            return outcome
        value = _changed(outcome.value, Iterator, lambda each: self._streamed(here, context, each))
        return Outcome(value=value)

    def close(self) -> None:
        """Begin nothing more, and close the loops of generators that nobody read to their end."""
        self._workers.close()
        with self._lock:
            left, self._open = self._open, set()
        for runner in left:
            # One that is being read at this moment in a thread closes when it has been.
            with suppress(RuntimeError):
                runner.close()

    def _outcome(self, here: Ambient, call: Callable[[], Any], is_streaming: bool) -> Outcome:
        runner = asyncio.Runner()  # makes its loop when it first runs something
        reading = _Reading(here, runner, self._forget)
        try:
            value = call()
            if inspect.isawaitable(value):
                value = reading.wait(value)
            value = _changed(value, AsyncIterator, reading.plain)
            if not is_streaming:
                value = _changed(value, Iterator, lambda each: "".join(map(str, each)))
        except Exception as error:  # border: the user's function
            reading.count = 0
            return Outcome(error=error)
        except BaseException as error:  # sys.exit() ends a line, not the program
            reading.count = 0
            return Outcome(error=FlowError(f"It stopped with {type(error).__name__}."))
        finally:
            if reading.count:
                with self._lock:
                    self._open.add(runner)
            else:
                runner.close()
        return Outcome(value=value)

    def _forget(self, runner: asyncio.Runner) -> None:
        with self._lock:
            self._open.discard(runner)
        runner.close()

    async def _streamed(
        self, here: Ambient, context: contextvars.Context, source: Iterator[Any]
    ) -> AsyncGenerator[Any, None]:
        """A generator as an asynchronous one; each piece is made in a thread when it is asked for."""
        coming, is_over = pieces(source, self._workers, context), False
        try:
            async for piece in coming:
                yield piece
            is_over = True
        finally:
            if not is_over:
                here.close()  # what it waits for in the thread must not outlive its reader
            await coming.aclose()


class _Reading:
    """Reads what is asynchronous on one runner. count: generators that are not over."""

    def __init__(
        self, here: Ambient, runner: asyncio.Runner, forget: Callable[[asyncio.Runner], None]
    ) -> None:
        self._here = here
        self._runner = runner
        self._forget = forget
        self.count = 0

    def wait(self, work: Awaitable[Any]) -> Any:
        return self._runner.run(self._until_closed(work))

    def plain(self, pieces: AsyncIterator[Any]) -> Iterator[Any]:
        self.count += 1
        return self._plain(pieces)

    def _plain(self, pieces: AsyncIterator[Any]) -> Iterator[Any]:
        try:
            while (piece := self.wait(_next(pieces))) is not _END:
                yield piece
        finally:
            if isinstance(pieces, AsyncGenerator):
                self._runner.run(_close(pieces))
            self.count -= 1
            if not self.count:
                self._forget(self._runner)

    async def _until_closed(self, work: Awaitable[Any]) -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # this is a coroutine of a runner

        def stop() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(task.cancel)

        with self._here.stopping(stop):
            return await work


async def _next(pieces: AsyncIterator[Any]) -> Any:
    return await anext(pieces, _END)


async def _close(pieces: AsyncGenerator[Any, None]) -> None:
    await pieces.aclose()


def _changed(value: Any, kind: type[Any], change: Callable[[Any], Any]) -> Any:
    """The value with those of a kind changed: itself, the values of a dict, the fields of a dataclass."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        if not any(isinstance(each, kind) for each in value.values()):
            return value
        return {key: change(v) if isinstance(v, kind) else v for key, v in value.items()}
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    names = [
        each.name
        for each in dataclasses.fields(value)
        if isinstance(getattr(value, each.name, None), kind)
    ]
    if not names:
        return value
    made = copy.copy(value)
    for name in names:
        object.__setattr__(made, name, change(getattr(value, name)))  # it may be frozen
    return made
