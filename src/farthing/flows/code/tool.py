"""`@node` (and prompt flow's `@tool`): marks the function that a file offers as a node."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from farthing.core.errors import FlowError

if TYPE_CHECKING:
    from farthing.flows.connections.connections import Connections

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__farthing_node__"


@overload
def node(function: F, /) -> F: ...
@overload
def node(*, name: str | None = None, **told: object) -> Callable[[F], F]: ...
def node(function: Callable[..., Any] | None = None, /, **told: Any) -> Any:
    """Mark a function as a node: `@node`, or `@node(name="…")`. It stays the function that it was.

    told: what an editor shows (description, icon, input settings); kept, not read by the engine.
    """

    def mark(function: F) -> F:
        setattr(function, _MARK, told)
        return function

    return mark(function) if function is not None else mark


def is_node(thing: object) -> bool:
    """Whether it was marked."""
    return callable(thing) and hasattr(thing, _MARK)


def told_of(function: Callable[..., Any]) -> dict[str, Any]:
    """What the mark says."""
    found: dict[str, Any] = getattr(function, _MARK, {})
    return found


class ToolProvider:
    """A class whose marked methods are nodes that share what its constructor made."""


class NamesConnections(ToolProvider):
    """A provider whose nodes say in an input of their own which connection they want.

    connections: where to look; whoever makes a node sets it. None: the project in the working folder.
    """

    connections: Connections | None = None


def marked_functions(module: object) -> dict[str, Callable[..., Any]]:
    """The functions of a module that are marked there, not those that it imports."""
    name = getattr(module, "__name__", None)
    return {
        key: thing
        for key, thing in vars(module).items()
        if is_node(thing) and getattr(thing, "__module__", None) == name
    }


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function, without those of `*args` and `**kwargs`. Raises FlowError."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError:
        signature = inspect.signature(function)  # annotations that only a type checker can see
    except (TypeError, ValueError):
        raise FlowError(f"'{function}' has no signature that can be read.") from None
    wild = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each for each in signature.parameters.values() if each.kind not in wild]


def accepts_more(function: Callable[..., Any]) -> bool:
    """Whether it has `**kwargs`."""
    parameters = inspect.signature(function).parameters.values()
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives an awaitable."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(
        getattr(inner, "__call__", None)  # noqa: B004 -- the method itself is looked at
    )
