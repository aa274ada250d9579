"""Exports: every row once, money to the last nanodollar, nothing invented."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.accounts import ledger
from farthing.accounts.export import csv_lines, exact_dollars, focus, json_lines, plain
from farthing.accounts.ledger import Entry
from farthing.core.usage import Usage
from tests.accounts.books import books

CALL = Entry(
    call_id="call_1",
    at=1_800_000_000_123,
    key_id="key_1",
    model="m",
    team='re"d, and more',
    tags=("x", "y"),
    deployment="west",
    provider="azure",
    served_model="gpt",
    usage=Usage(input_tokens=10, output_tokens=5),
    nanodollars=1_234_567_891,
)


@given(st.integers(-(10**15), 10**15))
def test_dollars_are_exact(nanodollars: int) -> None:
    text = exact_dollars(nanodollars)
    assert Decimal(text) == Decimal(nanodollars) / 10**9
    assert "E" not in text


def test_focus_says_what_was_billed_and_leaves_out_what_only_an_invoice_knows() -> None:
    row = focus(CALL, {"key_1": "alice"})
    assert row["BilledCost"] == row["EffectiveCost"] == row["ListCost"] == "1.234567891"
    assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == ("15", "Tokens")
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
        "2027-01-01T00:00:00Z",
        "2027-02-01T00:00:00Z",
    )
    assert row["BillingAccountId"] is row["SkuId"] is row["InvoiceId"] is None
    assert json.loads(str(row["Tags"])) == {"x": True, "y": True}


def test_a_simulated_call_bills_nothing_and_says_what_it_would_have_cost() -> None:
    row = focus(_flagged(ledger.SIMULATED), {})
    assert (row["BilledCost"], row["x_SimulatedCost"]) == ("0", "1.234567891")


def test_a_correction_is_marked_and_has_no_quantity() -> None:
    row = focus(_flagged(ledger.CORRECTION), {})
    assert (row["ChargeClass"], row["PricingQuantity"]) == ("Correction", None)


async def test_the_files_hold_every_row_of_a_long_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "PAGE", 3)
    async with books(f"sqlite:{tmp_path / 'farthing.db'}") as b:
        for amount in range(7):
            await b.spend(amount)

        async def rows() -> AsyncIterator[dict[str, object]]:
            async for entry in b.accounts.export():
                yield plain(entry, {"key_1": "alice"})

        table = list(
            csv.DictReader("".join([line async for line in csv_lines(rows())]).splitlines())
        )
        lines = [json.loads(line) async for line in json_lines(rows())]
    assert [Decimal(row["dollars"]) * 10**9 for row in table] == list(range(7))
    assert [row["call_id"] for row in lines] == [row["call_id"] for row in table]


def _flagged(flags: int) -> Entry:
    import msgspec

    return msgspec.structs.replace(CALL, flags=flags)
