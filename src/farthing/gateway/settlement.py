"""The settlement: a call's charges become durable, exactly once."""

from __future__ import annotations

from farthing.gateway.call import Call


async def book(call: Call) -> None:
    """Write the charges of all tries and free the reservation. Later calls of this do nothing.

    A call of which nothing was sent (and nothing recalled) only gives its reservation back.
    """
    if call.is_settled or call.reservation is None:
        return
    call.is_settled = True
    accounts = call.snapshot.shared.accounts
    if call.recalled is None and not any(attempt.was_sent for attempt in call.attempts):
        await accounts.release(call.reservation)
        return
    await accounts.settle(call.reservation, call.record, unconfirmed_nanodollars=call.unconfirmed)
