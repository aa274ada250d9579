"""`@farthing.node`: a function that a flow written in Python awaits, and that each line keeps a trace of."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, cast, overload

from farthing.flows.code import tool
from farthing.flows.python import line

P = ParamSpec("P")
T = TypeVar("T")
Node = Callable[P, Coroutine[Any, Any, T]]


@overload
def node(function: Callable[P, Coroutine[Any, Any, T]], /) -> Node[P, T]: ...
@overload
def node(function: Callable[P, T], /) -> Node[P, T]: ...
@overload
def node(*, name: str) -> Callable[[Callable[P, Any]], Node[P, Any]]: ...
def node(function: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Any:
    """Make a node of a plain or asynchronous function: it is awaited from then on.

    Awaited in a flow, a plain function runs in a thread of the flow's pool and an asynchronous one on its
    loop; the line's result has what it returned and how long it took, under `name`, by default the
    function's. Elsewhere it runs without a trace. A file with one of them is a node of a flow.dag.yaml too.
    """
    if function is None:
        return functools.partial(_named, name=name)
    return _named(function, name=name)


def _named(function: Callable[P, Any], *, name: str | None) -> Node[P, Any]:
    called = name or str(getattr(function, "__name__", "node"))
    is_async = tool.is_async(function)

    @functools.wraps(function)
    async def run(*args: P.args, **named: P.kwargs) -> Any:
        call = functools.partial(function, *args, **named)
        here = line.current()
        if here is not None:
            return await here.call(called, call, is_async=is_async)
        if is_async:
            return await cast(Awaitable[Any], call())
        value = await asyncio.to_thread(call)
        return await value if inspect.isawaitable(value) else value

    marked = tool.node(name=called)
    return marked(run)
