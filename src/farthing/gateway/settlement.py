"""The settlement: a call's charges become durable, exactly once."""

from __future__ import annotations

from farthing.gateway.call import Call
from farthing.gateway.shield import shielded


async def book(call: Call) -> None:
    """Write the charges of all tries and free the reservation. Later calls of this do nothing.

    A call of which nothing was sent (and nothing recalled) only gives its reservation back. A reader who
    leaves meanwhile waits for the end: a write that fails must still be put by for a second try.
    """
    if call.is_settled or call.reservation is None:
        return
    call.is_settled = True
    accounts, reservation = call.snapshot.shared.accounts, call.reservation
    if call.recalled is None and not _was_sent(call):
        if not accounts.release_now(reservation):
            await shielded(accounts.release(reservation))
        return
    record, unconfirmed = call.record, call.unconfirmed
    if not accounts.settle_now(reservation, record, unconfirmed_nanodollars=unconfirmed):
        await shielded(accounts.settle(reservation, record, unconfirmed_nanodollars=unconfirmed))


def _was_sent(call: Call) -> bool:
    for attempt in call.attempts:  # noqa: SIM110 -- a generator costs three times as much, at each call
        if attempt.was_sent:
            return True
    return False
