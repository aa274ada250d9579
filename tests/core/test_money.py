"""Amounts are integers of nanodollars; text in and out is exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.money import format_dollars, parse_dollars, to_nanodollars


@pytest.mark.parametrize(
    ("text", "nanodollars"),
    [
        ("25", 25_000_000_000),
        ("$0.50", 500_000_000),
        ("0.000000001", 1),
        ("1_000", 1_000_000_000_000),
        ("1,000.10", 1_000_100_000_000),
        (".5", 500_000_000),
    ],
)
def test_dollars_are_read_exactly(text: str, nanodollars: int) -> None:
    assert parse_dollars(text) == nanodollars


@pytest.mark.parametrize("text", ["", "-1", "1e3", "ten", "1.2.3", "0.0000000001", "٣"])
def test_what_is_no_amount_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"dollars|decimals"):
        parse_dollars(text)


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_formatting_and_reading_are_inverse(nanodollars: int) -> None:
    assert parse_dollars(format_dollars(nanodollars)) == nanodollars


def test_formatting_shows_two_decimals_at_least_and_no_needless_zeros() -> None:
    assert format_dollars(0) == "$0.00"
    assert format_dollars(1_500_000_000) == "$1.50"
    assert format_dollars(123_000) == "$0.000123"
    assert format_dollars(-2_000_000_000) == "-$2.00"
    assert format_dollars(1_234_567_890_000_000_000) == "$1,234,567,890.00"


def test_fixed_decimals_round_half_up() -> None:
    assert format_dollars(1_005_000_000, decimals=2) == "$1.01"
    assert format_dollars(999_999_999, decimals=2) == "$1.00"
    assert format_dollars(1_499_999_999, decimals=0) == "$1"


def test_picodollars_round_half_up_once() -> None:
    assert to_nanodollars(499) == 0
    assert to_nanodollars(500) == 1
    assert to_nanodollars(1_499) == 1
