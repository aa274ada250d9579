"""The laws of money: whatever happens to calls, nothing that the provider bills is lost or booked twice."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, example, given, settings

from benchmarks._laws import Wish, crowd, run, wishes


def stream(**more: object) -> Wish:
    """A streamed call."""
    return Wish(dialect="openai-chat", stream=True, **more)  # type: ignore[arg-type]


@given(calls=wishes())
@example(calls=[stream(leave_after=n, is_cut=True) for n in range(6)])
@example(calls=[stream(fault="missing_usage@last"), stream(fault="reset_mid_body@middle")])
# A try that failed after its head is billed too: two lines of the invoice for one call.
@example(calls=[stream(fault="reset_after_headers@first", leave_after=1, is_cut=True)] * 3)
@example(calls=[stream(cancel_after=n) for n in range(0, 400, 70)])
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_ledger_and_holds_cover_the_invoice_and_equal_it_once_reconciled(calls: list[Wish]) -> None:
    assert asyncio.run(run(calls)).broken == []


@pytest.mark.parametrize("leave_after", range(0, 45, 4))
async def test_a_client_that_hangs_up_after_any_event_is_charged_what_the_provider_bills(
    leave_after: int,
) -> None:
    found = await run([stream(leave_after=leave_after, words=20)])
    assert found.broken == []
    assert found.ended.ledger + found.ended.held >= found.ended.invoice > 0


async def test_calls_that_spill_over_from_provisioned_units_are_paid_by_token() -> None:
    found = await run([stream(model="sim/spilling", words=30) for _ in range(6)])
    assert found.broken == []
    assert found.ended.ledger == found.ended.invoice > 0


async def test_a_hundred_calls_at_once_do_not_overspend_a_budget_that_fits_seven() -> None:
    assert await crowd(100, 7) == 7
