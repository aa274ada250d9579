"""Farthing gets the right answer from language models for the fewest tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from farthing.core.errors import FarthingError
    from farthing.flows.python.flow import flow
    from farthing.flows.python.node import node
    from farthing.flows.variants.python import compare_variants
    from farthing.gateway.python import Client, Reply, Vectors, chat, embed, stream

__version__ = "0.1.0"

__all__ = [
    "Client",
    "FarthingError",
    "Reply",
    "Vectors",
    "chat",
    "compare_variants",
    "embed",
    "flow",
    "node",
    "stream",
]


def __getattr__(name: str) -> Any:
    # Imported when first used, so that commands start quickly.
    if name == "FarthingError":
        from farthing.core.errors import FarthingError

        return FarthingError
    if name == "flow":
        from farthing.flows.python.flow import flow

        return flow
    if name == "node":
        from farthing.flows.python.node import node

        return node
    if name == "compare_variants":
        from farthing.flows.variants.python import compare_variants

        return compare_variants
    if name in __all__:
        from farthing.gateway import python

        return getattr(python, name)
    raise AttributeError(f"module 'farthing' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
