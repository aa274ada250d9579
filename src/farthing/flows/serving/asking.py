"""Models for a flow that many callers share: each call is on the account of whoever asked for the line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec

from farthing.core.errors import FlowError
from farthing.flows.models import Models, Spent


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a line: who pays, and what it has cost so far."""

    models: Models
    spent: Spent


#: The request that the running code belongs to; a context variable, so that lines do not see each other's.
_ASKING: ContextVar[Asking] = ContextVar("farthing_flow_asking")


class CallersModels(Models):
    """A `Models` for all callers. Outside `asking` it refuses, so that no call is on a wrong account."""

    async def ask(self, api: str, body: dict[str, Any], spent: Spent) -> dict[str, Any]:
        """See `Models.ask`."""
        asking, mine = _current(), Spent()
        try:
            return await asking.models.ask(api, body, mine)
        finally:
            _book(mine, asking, spent)

    async def stream(
        self, api: str, body: dict[str, Any], spent: Spent
    ) -> AsyncGenerator[str, None]:
        """See `Models.stream`."""
        asking, mine = _current(), Spent()
        try:
            async with aclosing(asking.models.stream(api, body, mine)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            _book(mine, asking, spent)


@contextmanager
def asking(models: Models) -> Iterator[Spent]:
    """In this block, calls go through `models`. Gives what they have cost."""
    spent = Spent()
    token = _ASKING.set(Asking(models=models, spent=spent))
    try:
        yield spent
    finally:
        _ASKING.reset(token)


def _current() -> Asking:
    found = _ASKING.get(None)
    if found is None:
        raise FlowError(
            "A model was called where no request is being answered.",
            hint="Call it in the node itself; a thread of your own needs contextvars.copy_context().",
        )
    return found


def _book(mine: Spent, asking: Asking, spent: Spent) -> None:
    asking.spent.add(mine)
    spent.add(mine)
