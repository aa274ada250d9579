"""The order of a call, on one screen. Every step is somewhere else; nothing is computed here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from farthing.core.calls import Caller, Request
from farthing.gateway import steps
from farthing.gateway.call import Call
from farthing.gateway.shield import shielded
from farthing.gateway.snapshot import Snapshot


@asynccontextmanager
async def run(snapshot: Snapshot, request: Request, caller: Caller) -> AsyncIterator[Call]:
    """Run one call. What fails before the first content is raised here, later failures are events.

    However the block is left (end, error, a client that hung up), the call is settled exactly once:
    settlement sits behind a shield from cancellation, and before the last event of a whole answer.
    """
    call = Call(snapshot, request, caller)
    try:
        steps.find_route(call)
        steps.check_scope(call)
        steps.recall_answer(call)
        steps.make_plan(call)
        await steps.reserve_budget(call)
        await steps.attempt(call)
        yield call
    except BaseException as error:
        steps.note_failure(call, error)
        raise
    finally:
        try:
            await shielded(steps.settle(call))
        finally:
            steps.measure(call)
