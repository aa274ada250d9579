"""Which models the code of a flow reaches: those of the runner whose line it is part of, else the default.

A prompty is called like a function, from a thread of the pool, from a loop of the user's own or from the
gateway's. What it calls through is not passed to it: a runner says so in a context variable while a line runs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from typing import Any, TypeVar

from farthing.base.clock import Clock, SystemClock
from farthing.core.errors import FlowError
from farthing.flows.models import GatewayModels, Models, Spent

T = TypeVar("T")


class Ambient:
    """What a line works with. loop: the gateway's. spent: where its model calls are counted.

    While a `with` block of it runs, code of this context and of its copies calls these models. An exception,
    a cancellation too, gives up what the line still waits for.
    """

    def __init__(
        self, models: Models, spent: Spent, clock: Clock, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.models = models
        self.spent = spent
        self.clock = clock
        self.loop = loop
        self._lock = threading.Lock()
        self._stops: list[Callable[[], object]] = []
        self._is_closed = False
        self._token: Token[Ambient | None] | None = None

    def __enter__(self) -> Ambient:
        self._token = _HERE.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._token is not None  # it was entered
        _HERE.reset(self._token)
        if kind is not None:
            self.close()

    @contextmanager
    def stopping(self, stop: Callable[[], object]) -> Iterator[None]:
        """Have `stop` called when the line is given up while the block runs; at once if it was."""
        with self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._stops.append(stop)
        if is_closed:
            stop()
        try:
            yield
        finally:
            with self._lock, suppress(ValueError):
                self._stops.remove(stop)

    def close(self) -> None:
        """Give the line up: what waits for a model is told, and later calls are refused."""
        with self._lock:
            self._is_closed, stops = True, self._stops
            self._stops = []
        for stop in stops:
            stop()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the gateway's loop and block until it is over; from any other thread."""
        if _running() is self.loop:
            work.close()
            raise FlowError(
                "A model was called without await on the loop that the call itself needs.",
                hint="Make the node a plain function, or await: a prompty is awaited as AsyncPrompty.",
            )
        return self._begin(work).result()

    async def hand_over(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine that needs the gateway's loop, from that loop or from another."""
        if _running() is self.loop:
            return await work
        return await asyncio.wrap_future(self._begin(work))

    def iterate(self, pieces: AsyncGenerator[T, None]) -> Iterator[T]:
        """An asynchronous generator of the gateway's loop as a plain one."""
        try:
            while (piece := self.wait(_next(pieces))) is not _END:
                yield piece  # type: ignore[misc]  # mypy does not narrow by identity
        finally:
            self._let_go(pieces)

    async def aiterate(self, pieces: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """An asynchronous generator of the gateway's loop, for the loop that runs here."""
        try:
            while (piece := await self.hand_over(_next(pieces))) is not _END:
                yield piece  # type: ignore[misc]  # mypy does not narrow by identity
        finally:
            await self.hand_over(_close(pieces))

    def _begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            if self._is_closed:
                work.close()
                raise FlowError(
                    "The line that this call belongs to is over.",
                    hint="Raise the line's time-out, or do not call models from what outlives a line.",
                )
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
            self._stops.append(future.cancel)
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: Future[Any]) -> None:
        with self._lock, suppress(ValueError):
            self._stops.remove(future.cancel)

    def _let_go(self, pieces: AsyncGenerator[Any, None]) -> None:
        """Close a generator of the loop, from wherever the last reference to it went."""
        if self.loop.is_closed() or not self.loop.is_running():
            return
        closing = asyncio.run_coroutine_threadsafe(_close(pieces), self.loop)
        if _running() is not self.loop:
            closing.result()


_HERE: ContextVar[Ambient | None] = ContextVar("farthing_flow_line", default=None)


def line(models: Models, spent: Spent, clock: Clock) -> Ambient:
    """The line that begins now, on the gateway's loop; `with line(…)` it is `current`."""
    return Ambient(models, spent, clock, asyncio.get_running_loop())


def current() -> Ambient:
    """The line's, or outside of a runner the one that `farthing.chat` uses, opened on first use."""
    here = _HERE.get()
    if here is not None:
        return here
    from farthing.gateway.python import background  # only code outside of lines needs one

    client = background()
    models = GatewayModels(client.gateway, client.caller)
    return Ambient(models, Spent(), SystemClock(), client.loop)


def clock() -> Clock:
    """The line's clock, else the machine's; it opens nothing."""
    here = _HERE.get()
    return here.clock if here is not None else SystemClock()


class _End:
    """Nothing that a generator yields."""


_END = _End()


async def _next(pieces: AsyncGenerator[T, None]) -> T | _End:
    return await anext(pieces, _END)


async def _close(pieces: AsyncGenerator[Any, None]) -> None:
    await pieces.aclose()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
