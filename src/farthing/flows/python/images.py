"""`fetched`: images that the inputs of a flow written in Python give by their addresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar, cast

from farthing.flows.prompts.images import unfetched

if TYPE_CHECKING:
    from farthing.flows.prompts.fetch import ImageFetcher

T = TypeVar("T")

_GIVEN: ContextVar[ImageFetcher | None] = ContextVar("farthing_flow_images", default=None)


async def fetched(value: T, name: str) -> T:
    """The value with the bytes of each image in it that has only its address, as a graph's inputs have them.

    name: of the input, for errors. Fetched by the rules of the runner that runs this, else from public
    hosts only. Raises FlowInputError.
    """
    if next(unfetched(value), None) is None:
        return value
    fetcher = _GIVEN.get()
    if fetcher is None:
        from farthing.flows.prompts.fetch import ImageFetcher  # few flows fetch

        fetcher = ImageFetcher()
    return cast(T, (await fetcher.fetched({name: value}))[name])


@contextmanager
def fetching(images: ImageFetcher | None) -> Iterator[None]:
    """While the block runs, code of this context and of its copies fetches by this; None: by the default."""
    token = _GIVEN.set(images)
    try:
        yield
    finally:
        _GIVEN.reset(token)
