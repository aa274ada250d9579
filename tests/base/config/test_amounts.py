"""Amounts in settings become exact integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.base.config.amounts import dollars, dollars_per_million


@pytest.mark.parametrize(
    ("written", "nanodollars"),
    [
        ("25", 25 * 10**9),
        (25, 25 * 10**9),
        (0.1, 10**8),
        ("$1,000.25", 1_000_250_000_000),
        (1e-9, 1),
    ],
)
def test_dollars_are_exact(written: str | float | int, nanodollars: int) -> None:
    assert dollars(written) == nanodollars


@given(st.integers(0, 10**12))
def test_a_price_of_six_decimals_survives_as_text_and_as_a_number(pico: int) -> None:
    text = f"{pico // 10**6}.{pico % 10**6:06d}"
    assert dollars_per_million(text) == pico
    assert dollars_per_million(float(text)) == pico


@pytest.mark.parametrize("written", ["0.0000001", "-1", -0.5, "", "ten", "1e3", "½"])
def test_what_is_no_price_is_refused(written: str | float) -> None:
    with pytest.raises(ValueError, match=r"decimals|amount"):
        dollars_per_million(written)
