"""Amounts of money as people write them in settings → exact integers."""

from __future__ import annotations

from decimal import Decimal

from farthing.core.money import Nanodollars, Picodollars, parse_dollars

#: A price per million tokens may have this many decimals: 10**-6 dollars per million is one picodollar.
_RATE_DECIMALS = 6


def dollars(value: str | float | int) -> Nanodollars:
    """`25`, `0.5`, `"$1,000.25"` → nanodollars. Raises ValueError with what is wrong.

    A float stands for the decimal a person typed (its shortest repr), not for its binary expansion.
    """
    return parse_dollars(_plain(value))


def dollars_per_million(value: str | float | int) -> Picodollars:
    """Dollars per million tokens → picodollars per token. Raises ValueError with what is wrong."""
    nanodollars = parse_dollars(_plain(value))
    pico, rest = divmod(nanodollars, 10 ** (9 - _RATE_DECIMALS))
    if rest:
        raise ValueError("a price per million tokens has at most six decimals")
    return Picodollars(pico)


def _plain(value: str | float | int) -> str:
    if isinstance(value, str):
        return value
    return format(Decimal(repr(value)), "f")
