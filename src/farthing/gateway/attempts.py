"""Tries: one deployment after the other until an answer has begun."""

from __future__ import annotations

import logging

from farthing.core.errors import (
    FarthingError,
    RateLimitedError,
    UpstreamProtocolError,
    UpstreamRateLimitedError,
)
from farthing.core.models import Deployment
from farthing.gateway import retry
from farthing.gateway.call import Call
from farthing.gateway.running import Running

_log = logging.getLogger("farthing.gateway")


async def open_answer(call: Call) -> None:
    """Try the plan's deployments in order, then repeat where that makes sense, until content has come.

    Raises the error of the last try, RateLimitedError when all of them are out of quota, or at once an
    error that holds everywhere.
    """
    snapshot = call.snapshot
    snapshot.retry_budget.note_first()
    failed: list[tuple[Deployment, FarthingError]] = []
    for deployment in call.plan.steps[: snapshot.settings.retry.max_tries]:
        error = await _try(call, deployment)
        if error is None:
            return
        failed.append((deployment, error))
    await _repeat(call, failed)


async def _repeat(call: Call, failed: list[tuple[Deployment, FarthingError]]) -> None:
    """Ask those that have failed once more, as far as settings and the retry budget allow."""
    snapshot = call.snapshot
    settings, budget = snapshot.settings.retry, snapshot.retry_budget
    tries = len(failed)
    for repeat in range(1, settings.same_deployment):
        for deployment, last in list(failed)[: len(call.plan.steps)]:
            pause = budget.pause_s(repeat, last)
            if tries >= settings.max_tries or not retry.may_repeat_here(last) or pause is None:
                continue
            if not budget.take():
                break
            await snapshot.shared.clock.sleep(pause)
            error = await _try(call, deployment)
            if error is None:
                return
            tries += 1
            failed.append((deployment, error))
    raise _verdict(call, [error for _, error in failed])


async def _try(call: Call, deployment: Deployment) -> FarthingError | None:
    """One try. None: its answer has begun and is the call's. An error: another place may do better.

    Raises what holds everywhere, and whatever stops the call.
    """
    running = call.running = Running(call, deployment)
    try:
        await running.open()
    except FarthingError as error:
        await running.fail(error)
        if not retry.may_go_elsewhere(error):
            raise
        return error
    # Border: a provider may be a plug-in; its fault is the place's, not the call's.
    except Exception as error:
        _log.exception("Deployment '%s' failed by a fault of its own.", deployment.name)
        fault = UpstreamProtocolError(
            f"Deployment '{deployment.name}' failed by a fault in its provider's code "
            f"({type(error).__name__}).",
            hint="The gateway's log has the place.",
        )
        await running.fail(fault)
        return fault
    call.source = running.source()
    if running.is_over:
        call.running = None
    return None


def _verdict(call: Call, errors: list[FarthingError]) -> FarthingError:
    if not all(isinstance(error, UpstreamRateLimitedError) for error in errors):
        return errors[-1]
    waits = [error.retry_after_s for error in errors if error.retry_after_s is not None]
    return RateLimitedError(
        f"Every deployment that serves '{call.request.head.model}' is out of quota now.",
        hint="Try again after the time in Retry-After, or add a deployment or a fallback.",
        retry_after_s=min(waits, default=1.0),
    )
