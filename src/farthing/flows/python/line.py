"""One line of a flow written in Python: where its nodes run, and what is kept of each."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from farthing.base.clock import Clock
from farthing.core.errors import FarthingError, FlowError
from farthing.flows.engine.line import failure
from farthing.flows.engine.plan import Trace
from farthing.flows.engine.workers import Workers


class PythonLine:
    """What the nodes of one line come to. values: by node; a node's second call is `name (2)`.

    workers: for plain functions; not the one that the flow's own function waits in.
    """

    def __init__(self, workers: Workers, clock: Clock) -> None:
        self._workers = workers
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._failed: tuple[str, BaseException] | None = None
        self.values: dict[str, Any] = {}
        self.traces: list[Trace] = []

    async def call(self, name: str, call: Callable[[], Any], *, is_async: bool) -> Any:
        """Run a node. What it raises is raised as it is, so that the flow may go on without it."""
        called = self._numbered(name)
        started_s = self._clock.now()
        try:
            value = await call() if is_async else await self._in_thread(call)
        except asyncio.CancelledError:
            self._trace(called, "cancelled", started_s)
            raise
        except Exception as error:  # border: the user's function
            self._failed = (called, error)
            self._trace(called, "failed", started_s, failure(called, error))
            raise
        self.values[called] = value
        self._trace(called, "ok", started_s)
        return value

    def told(self, error: FarthingError) -> FarthingError:
        """The error of the line, naming the node when what a node raised has ended it."""
        if self._failed is None:
            return error
        name, cause = self._failed
        if error is cause and isinstance(error, FlowError):
            error.node = name
            return error
        if error.__cause__ is cause and isinstance(cause, Exception):
            return failure(name, cause)
        return error

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        context = contextvars.copy_context()
        value, error = await self._workers.call(context.run, _outcome, call)
        if error is not None:
            raise error
        return await value if inspect.isawaitable(value) else value

    def _numbered(self, name: str) -> str:
        with self._lock:
            count = self._counts[name] = self._counts.get(name, 0) + 1
        return name if count == 1 else f"{name} ({count})"

    def _trace(
        self, name: str, status: str, started_s: float, error: FarthingError | None = None
    ) -> None:
        self.traces.append(
            Trace(
                node=name,
                status=status,
                started_s=started_s,
                latency_s=self._clock.now() - started_s,
                error=error.code if error is not None else None,
            )
        )


_HERE: contextvars.ContextVar[PythonLine | None] = contextvars.ContextVar(
    "farthing_python_line", default=None
)


def current() -> PythonLine | None:
    """The line that this code is part of."""
    return _HERE.get()


@contextmanager
def within(line: PythonLine) -> Iterator[None]:
    """While the block runs, nodes that this context and its copies await belong to `line`."""
    token = _HERE.set(line)
    try:
        yield
    finally:
        _HERE.reset(token)


def _outcome(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return call(), None
    except StopIteration as error:
        told = RuntimeError("The function raised StopIteration.")
        told.__cause__ = error
        return None, told
    except Exception as error:  # border: the user's function
        return None, error
    except BaseException as error:  # sys.exit() ends a line, not the program
        return None, FlowError(f"It stopped with {type(error).__name__}.")
