"""The settlement: a call's charges become durable, exactly once."""

from __future__ import annotations

from farthing.accounts.accounts import Reservation
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
    await shielded(_write(call, call.reservation))


async def _write(call: Call, reservation: Reservation) -> None:
    accounts = call.snapshot.shared.accounts
    if call.recalled is None and not [each for each in call.attempts if each.was_sent]:
        await accounts.release(reservation)
        return
    await accounts.settle(reservation, call.record, unconfirmed_nanodollars=call.unconfirmed)
