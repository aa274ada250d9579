"""The steps of a call, in the order of the pipeline. Each does one thing to the call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from hashlib import blake2b

import msgspec

from farthing.accounts.accounts import Hold
from farthing.base.tokens import estimate_tokens
from farthing.core.calls import Event
from farthing.core.errors import (
    BadRequestError,
    BudgetExceededError,
    ContextTooLongError,
    FarthingError,
    UnknownPriceError,
)
from farthing.core.models import Deployment, Plan
from farthing.gateway import billing
from farthing.gateway.attempts import open_answer
from farthing.gateway.cache import Cached, cache_key
from farthing.gateway.call import ABORTED, ABORTED_STATUS, Call, CallHead, Ready
from farthing.gateway.policy import can_serve
from farthing.gateway.settlement import book
from farthing.gateway.shield import shielded
from farthing.gateway.snapshot import can_be_priced

#: The token estimate may be this far off; only a text beyond it is refused without asking the provider.
ESTIMATE_SLACK = 1.5


def find_route(call: Call) -> None:
    """Which deployments serve the name that was asked for. Raises UnknownModelError."""
    call.route = call.snapshot.directory.route(call.request.head.model)


def check_scope(call: Call) -> None:
    """Whether the key may call this model through this face. Raises PermissionDeniedError."""
    call.snapshot.shared.accounts.check_scope(
        call.caller, model=call.request.head.model, face=call.request.face
    )


def recall_answer(call: Call) -> None:
    """Look for an answer that exists: of the same idempotency key, or in the cache.

    Raises ConflictError when the idempotency key is taken.
    """
    request, shared = call.request, call.snapshot.shared
    if request.idempotency_key:
        fingerprint = _fingerprint(call)
        answer = shared.idempotency.begin(call.caller.key_id, request.idempotency_key, fingerprint)
        call.fingerprint = fingerprint
        if answer is not None:
            _replay(call, answer, "replayed")
            return
        call.collect()
    if not _is_cacheable(call):
        return
    call.cache_key = cache_key(request, call.caller)
    answer = shared.cache.get(call.cache_key)
    if answer is not None:
        _replay(call, answer, "hit")
        return
    call.cache = "miss"
    call.collect()


def make_plan(call: Call) -> None:
    """Order the deployments, the route's own first, then its fallbacks'.

    Raises UnknownPriceError, BadRequestError (nothing can do what is asked), ContextTooLongError.
    """
    if call.recalled is not None:
        return
    assert call.route is not None
    snapshot = call.snapshot
    lineup = snapshot.lineup(call.route)
    draw = snapshot.shared.clock.random()
    plan: Plan | None = None
    for route, places in lineup.ranks:
        offers = [place.breaker.offer(place.deployment) for place in places]
        found = snapshot.policy.plan(call.request.head, route, offers, draw=draw)
        plan = found if plan is None else _joined(plan, found)
    assert plan is not None, "a lineup begins with the route itself"
    if not plan.steps:
        raise _nothing_fits(call)
    if not lineup.is_priced:
        plan = msgspec.structs.replace(plan, steps=_priced(plan.steps))
    least = lineup.least_context_tokens
    if least is not None and len(call.request.body) > least:  # a token has at least one byte
        plan = msgspec.structs.replace(plan, steps=_roomy(call, plan.steps))
    call.plan = plan


async def reserve_budget(call: Call) -> None:
    """Hold the most that one try of the plan can cost; durable when this returns.

    Raises BudgetExceededError, StorageError.
    """
    snapshot = call.snapshot
    accounts, most = snapshot.shared.accounts, 0
    for deployment in call.plan.steps:
        most = max(most, call.most(snapshot.place(deployment).terms))
    call.reserved = most
    wish = Hold(
        call_id=call.call_id,
        caller=call.caller,
        model=call.request.head.model,
        tags=call.tags,
        nanodollars=most,
        at_s=call.at_s,
        tokens=call.likely_tokens() if accounts.counts_tokens else 0,
    )
    try:
        call.reservation = accounts.reserve_now(wish)
        if call.reservation is None:
            # A client that leaves while the hold is being written must not leave the hold behind.
            await shielded(_reserve(call, wish))
    except BudgetExceededError as error:
        tokens = billing.affordable_output(call.request, call.plan.steps, error.left_nanodollars)
        if tokens:
            error.hint = f"Lower max_tokens to {tokens:,} or less, or {error.remedy}."
        raise


async def _reserve(call: Call, wish: Hold) -> None:
    call.reservation = await call.snapshot.shared.accounts.reserve(wish)


async def attempt(call: Call) -> None:
    """Try the plan until an answer has begun, unless one was recalled."""
    if call.recalled is None:
        await open_answer(call)
    else:
        call.source = _recalled_events(call, call.recalled)


def note_failure(call: Call, error: BaseException) -> None:
    """Name the outcome of a call that is left by an exception."""
    if isinstance(error, FarthingError):
        error.call_id = call.call_id
        call.outcome, call.status = error.code, error.status
    elif call.outcome is None and (
        call.source is not None or isinstance(error, asyncio.CancelledError | GeneratorExit)
    ):
        call.outcome, call.status = ABORTED, ABORTED_STATUS
    elif call.outcome is None:
        call.outcome, call.status = "internal_error", 500


async def settle(call: Call) -> None:
    """Close the answer, write the charges, free the reservation: once, however the call ended."""
    try:
        if call.source is not None and not isinstance(call.source, Ready):
            await call.source.aclose()
        if call.running is not None:
            await call.running.abort()
    finally:  # a provider that fails while it is closed must not keep the money or the key
        if call.outcome is None:
            call.outcome, call.status = ABORTED, ABORTED_STATUS
        try:
            await book(call)
        finally:
            _free_idempotency_key(call)


def _free_idempotency_key(call: Call) -> None:
    if call.fingerprint is not None and call.request.idempotency_key:
        call.snapshot.shared.idempotency.finish(
            call.caller.key_id, call.request.idempotency_key, call.collected()
        )
        call.fingerprint = None


def measure(call: Call) -> None:
    """Hand the finished record on, and keep a complete answer where that is wanted."""
    answer = call.collected() if call.cache_key is not None else None
    if answer is not None and call.cache_key is not None:
        call.snapshot.shared.cache.put(call.cache_key, answer)
    call.snapshot.report(call.record)


def let_go(call: Call) -> None:
    """Free the try, which holds the call that holds it: no garbage is left for the collector."""
    call.running = None
    call.source = None


def _is_cacheable(call: Call) -> bool:
    wish = call.request.use_cache
    if wish is False:
        return False
    route_wants = call.route is not None and call.route.is_cached
    return route_wants or (bool(wish) and call.caller.is_cache_allowed)


def _replay(call: Call, answer: Cached, cache: str) -> None:
    call.recalled, call.cache = answer, cache
    call.head = CallHead(
        model=answer.model,
        deployment=answer.deployment,
        provider=answer.provider,
        is_simulated=answer.is_simulated,
        nanodollars=0,
        cache=cache,
    )


async def _recalled_events(call: Call, answer: Cached) -> AsyncGenerator[Event, None]:
    call.outcome = "ok"
    await book(call)
    for event in answer.events:
        yield event


def _fingerprint(call: Call) -> bytes:
    return blake2b(
        cache_key(call.request, call.caller), digest_size=20, person=b"idempotency"
    ).digest()


def _joined(first: Plan, then: Plan) -> Plan:
    more = tuple(step for step in then.steps if step not in first.steps)
    return Plan(steps=first.steps + more, reason=f"{first.reason}; {then.reason}")


def _priced(steps: tuple[Deployment, ...]) -> tuple[Deployment, ...]:
    """Without the deployments whose calls nobody could count."""
    priced = tuple(filter(can_be_priced, steps))
    if priced:
        return priced
    name = steps[0].name
    raise UnknownPriceError(
        f"The price of '{name}' is not known, so its cost could not be counted.",
        hint=f'State it in farthing.toml: price = {{…}} under [deployments."{name}"], or set '
        'ledger.unknown_price = "zero_and_warn" to book such calls as zero.',
        deployment=name,
    )


def _roomy(call: Call, steps: tuple[Deployment, ...]) -> tuple[Deployment, ...]:
    """Without the deployments whose context is certainly too small."""
    if call.request.head.features & {"images", "files", "audio"}:
        return steps
    least = round(estimate_tokens(call.request.body, steps[0].model) / ESTIMATE_SLACK)
    roomy = tuple(d for d in steps if d.context_tokens is None or d.context_tokens >= least)
    if roomy:
        return roomy
    widest = max(d.context_tokens or 0 for d in steps)
    raise ContextTooLongError(
        f"The request has at least {least:,} tokens and '{call.request.head.model}' takes {widest:,}.",
        hint="Shorten the input, or ask a model with a larger context (`farthing models`).",
    )


def _nothing_fits(call: Call) -> FarthingError:
    head = call.request.head
    assert call.route is not None
    deployments = [d for group in call.route.groups for d in group]
    kinds = {d.kind for d in deployments}
    if kinds and head.kind not in kinds:
        verb = "embeds texts" if "embed" in kinds else "answers chats"
        return BadRequestError(
            f"'{head.model}' {verb}; this request is of another kind.",
            hint="`farthing models` lists what each model can do.",
            param="model",
        )
    missing = {
        feature
        for d in deployments
        if not can_serve(d, head)
        for feature in head.features - d.capabilities
    }
    needs = ", ".join(sorted(missing)) or "what the request asks for"
    return BadRequestError(
        f"No deployment of '{head.model}' supports {needs}.",
        hint="Leave it out, or ask another model (`farthing models`).",
        param="model",
    )
