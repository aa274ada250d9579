"""Invoices written by hand from the vendors' published formulas, against what the gateway books."""

from __future__ import annotations

import itertools

import pytest

from benchmarks._golden import (
    Book,
    Hours,
    Invoice,
    books,
    charge,
    difference,
    differs_from_catalogue,
)
from farthing.core.prices import amortised
from farthing.providers.catalogue import Catalogue

BOOKS = books()
INVOICES = [(invoice, book) for book in BOOKS.values() for invoice in book.invoice]


@pytest.mark.parametrize(
    ("invoice", "book"), INVOICES, ids=[f"{i.codec}: {i.name}" for i, _ in INVOICES]
)
def test_the_vendors_invoice_is_met_to_the_nanodollar(invoice: Invoice, book: Book) -> None:
    assert difference(invoice, book) == 0, charge(invoice, book)


@pytest.mark.parametrize(
    "hours", [h for b in BOOKS.values() for h in b.hours], ids=lambda h: h.name
)
def test_a_provisioned_hour_is_shared_by_the_second(hours: Hours) -> None:
    assert hours.difference == 0


def test_hours_cut_into_parts_sum_to_the_fee() -> None:
    """Each part is the difference of two running sums, so nothing is lost by rounding."""
    fee, cuts = 15_000_000_000, [0, 1, 61, 1000, 2399, 2400, 3599, 3600]
    parts = [amortised(fee, b) - amortised(fee, a) for a, b in itertools.pairwise(cuts)]
    assert sum(parts) == fee


def test_the_catalogue_has_the_regional_prices_that_the_vendor_states() -> None:
    catalogue = Catalogue.load()
    rows = [row for book in BOOKS.values() for row in book.prices.values() if row.catalogue]
    assert rows
    assert not [row.source for row in rows if differs_from_catalogue(row, catalogue)]


def test_the_set_is_large_and_every_price_says_where_it_is_from() -> None:
    assert len(INVOICES) >= 60
    assert all(row.source and row.date for book in BOOKS.values() for row in book.prices.values())
    used = {(name, i.price) for name, book in BOOKS.items() for i in book.invoice}
    assert used == {(name, price) for name, book in BOOKS.items() for price in book.prices}
