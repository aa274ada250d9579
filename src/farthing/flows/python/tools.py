"""Tools that are functions elsewhere: in a Python file of a flow, or in a package that brings them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from farthing.flows.code.packages import package_tool as found_in_package
from farthing.flows.code.parameters import Signature, signature_of
from farthing.flows.code.source import load_function, on_path, provider_of
from farthing.flows.code.tool import is_async
from farthing.flows.connections.types import CustomConnection
from farthing.flows.python.connection import strengthened


def file_tool(
    file: Path,
    *,
    function: str | None = None,
    folder: Path | None = None,
    beside: Iterable[Path] = (),
) -> Callable[..., Any]:
    """The function of a file that is marked `@tool` or `@node`, or the one of that name.

    folder: what the file's imports are looked for in, by default its own; beside: further such folders.
    Raises FlowFormatError.
    """
    home = (folder or file.parent).resolve()
    with ExitStack() as path:
        for each in reversed([home, *beside]):
            path.enter_context(on_path(each))
        found = load_function(home, str(file.resolve().relative_to(home)), function)
    return _called_by_name(found, provider_of(found))


def package_tool(name: str) -> Callable[..., Any]:
    """The tool of that id of an installed package, or of ours. Raises FlowError."""
    found = found_in_package(name)
    return _called_by_name(found.function, found.provider, found.inputs)


def _called_by_name(
    function: Callable[..., Any], provider: type | None, described: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """The function, with the values that go to its class's constructor among its own."""
    signature = signature_of(function, described)
    bound = function if provider is None else _Bound(function.__name__, provider)

    if is_async(function):

        @functools.wraps(function)
        async def wait(**values: Any) -> Any:
            return await bound(**_strong(values, signature))

        return wait

    @functools.wraps(function)
    def call(**values: Any) -> Any:
        return bound(**_strong(values, signature))

    return call


class _Bound:
    """A method, its object made when it is first called: its class may need a connection."""

    def __init__(self, method: str, kind: type) -> None:
        self._method = method
        self._kind = kind
        self._constructor = signature_of(kind)
        self._lock = threading.Lock()
        self._object: Any = None

    def __call__(self, **values: Any) -> Any:
        own = {key: values.pop(key) for key in self._constructor.parameters if key in values}
        with self._lock:
            if self._object is None:
                self._object = self._kind(**_strong(own, self._constructor))
        return getattr(self._object, self._method)(**values)


def _strong(values: dict[str, Any], signature: Signature) -> dict[str, Any]:
    """The values, with custom connections made what the parameters want them to be."""
    made = {}
    for name, value in values.items():
        parameter = signature.parameters.get(name)
        strong = parameter.strong if parameter is not None else None
        is_custom = strong is not None and type(value) is CustomConnection
        made[name] = strengthened(value, strong) if is_custom else value
    return made
