"""`connection`: what a flow written in Python knows of its project's connections."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from farthing.core.errors import FlowError
from farthing.flows.connections.connections import Connections
from farthing.flows.connections.types import (
    Connection,
    CustomConnection,
    CustomStrongTypeConnection,
    as_strong_type,
)
from farthing.flows.graph import Node
from farthing.flows.prompts.requests import Vendor

_GIVEN: ContextVar[Connections | None] = ContextVar("farthing_flow_connections", default=None)


def connection(name: str, *kinds: str | type[Connection]) -> Any:
    """The connection of that name: of the runner that runs this, else of the project in this folder.

    kinds: the classes that will do, or their names. A custom connection becomes an object of a class of
    your own. Raises ConnectionMissingError, FlowFormatError: it is of another type.
    """
    strong = [each for each in kinds if _is_strong(each)]
    wanted = [CustomConnection if each in strong else each for each in kinds]
    names = [each if isinstance(each, str) else each.__name__ for each in wanted]
    found = _connections().get(name, None, names)
    if strong and isinstance(found, CustomConnection):
        return strengthened(found, strong[0])
    return found


@contextmanager
def known(connections: Connections | None) -> Iterator[None]:
    """While the block runs, code of this context and of its copies finds these; None: the project's."""
    token = _GIVEN.set(connections)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def strengthened(found: CustomConnection, kind: Any) -> CustomStrongTypeConnection:
    """What a custom connection holds, as an object of the user's own class. Raises FlowError."""
    try:
        return as_strong_type(found, kind)
    except TypeError as error:
        raise FlowError(
            f"The connection '{found.name}' cannot become a {kind.__name__}.",
            hint="Let its class take configs and secrets, as its base does.",
        ) from error


def vendor_of(name: str | None, provider: Vendor) -> Vendor:
    """Whose form the requests have. Raises FlowFormatError: the connection serves no models."""
    if name is None:
        return provider
    return _connections().vendor(name, Node(name="prompt", kind="llm", provider=provider))


def _connections() -> Connections:
    return _GIVEN.get() or Connections(Path.cwd(), environ=os.environ)


def _is_strong(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, CustomStrongTypeConnection)
