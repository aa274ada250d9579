"""Generators that a flow gave away, read piece by piece: asynchronous ones here, plain ones in threads."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

from farthing.flows.engine.workers import Workers

#: Plain generators that are read at once; each waits in a thread for its next piece.
THREADS = 64

_END = object()


def stream_threads() -> Workers:
    """Threads for plain generators; they are made when they are needed."""
    return Workers(THREADS, name="farthing-stream")


def is_generator(value: object) -> bool:
    """Whether it is read piece by piece."""
    kind = type(
        value
    )  # each value of each line is asked, and an abstract class takes ten times as long
    return hasattr(kind, "__next__") or hasattr(kind, "__anext__")


async def pieces(
    source: Iterator[Any] | AsyncIterator[Any],
    threads: Workers,
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


async def close(source: Iterator[Any] | AsyncIterator[Any], threads: Workers) -> None:
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
