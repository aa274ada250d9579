"""What a process of ours asks of Python: which event loop runs, and how often garbage is looked for."""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: Objects that are made before the collector looks at them; Python's own 700 are about five calls, and a
#: tenth of what a command takes to start.
_YOUNG_OBJECTS = 20_000


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop where it is installed, else on asyncio's own loop."""
    import asyncio  # a command that only prints something needs no loop

    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def spare_the_collector() -> None:
    """Look seldom for garbage in cycles: neither imports nor calls leave much of it."""
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)


def keep_the_start() -> None:
    """Count what there is now as made for ever.

    A full collection would else visit every object of the start, some 20 ms in which no call moves.
    """
    gc.collect()
    gc.freeze()
