"""The order of a call, on one screen. Every step is somewhere else; nothing is computed here."""

from __future__ import annotations

from farthing.gateway import steps
from farthing.gateway.call import Call
from farthing.gateway.shield import shielded


async def begin(call: Call) -> None:
    """Everything up to the first content. What fails here is raised; later failures are events."""
    steps.find_route(call)
    steps.check_scope(call)
    steps.recall_answer(call)
    steps.make_plan(call)
    await steps.reserve_budget(call)
    await steps.attempt(call)


async def end(call: Call, error: BaseException | None) -> None:
    """Settle the call, exactly once, however it is left: at its end, by an error, by a client that hung up.

    Settlement sits behind a shield from cancellation, and before the last event of a whole answer.
    """
    if error is not None:
        steps.note_failure(call, error)
    try:
        if not call.is_over:
            await shielded(steps.settle(call))
    finally:
        steps.measure(call)
        steps.let_go(call)
