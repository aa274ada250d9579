"""Generators that a flow gave away, read piece by piece: asynchronous ones here, plain ones in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

#: Plain generators that are read at once; each waits in a thread for its next piece.
THREADS = 64

_END = object()
T = TypeVar("T")


class Threads:
    """The threads that plain generators run in; they are made when they are needed."""

    def __init__(self, size: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="farthing-stream")

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call it in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Begin nothing more. Idempotent."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def is_generator(value: object) -> bool:
    """Whether it is read piece by piece."""
    return isinstance(value, Iterator | AsyncIterator)


async def pieces(
    source: Iterator[Any] | AsyncIterator[Any],
    threads: Threads,
    context: contextvars.Context | None = None,
) -> AsyncGenerator[Any, None]:
    """What a generator yields, as it comes. Its end closes the generator, as does closing this one.

    context: what a plain one sees; the reader's unless it is given.
    """
    try:
        if isinstance(source, AsyncIterator):
            async for piece in source:
                yield piece
        else:
            # One context for all pieces: a generator may set a variable in one and read it in the next.
            context = context or contextvars.copy_context()
            while True:
                piece = await threads.call(context.run, next, source, _END)
                if piece is _END:
                    return
                yield piece
    finally:
        await close(source, threads)


async def close(source: Iterator[Any] | AsyncIterator[Any], threads: Threads) -> None:
    """Tell a generator that nobody reads on."""
    if isinstance(source, AsyncIterator):
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            await aclose()
        return
    shut = getattr(source, "close", None)
    if shut is not None:
        try:
            await threads.call(shut)
        except (ValueError, RuntimeError):
            pass  # it is at its next piece in a thread, which nothing can interrupt; or we are closing
