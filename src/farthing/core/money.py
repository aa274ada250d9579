"""Money: integer nanodollars for amounts, integer picodollars for prices of one token."""

from __future__ import annotations

from typing import NewType

#: An amount of money. 1 dollar = 1,000,000,000 nanodollars. Never a float.
Nanodollars = NewType("Nanodollars", int)
#: A price of one unit (token, request). 1 dollar = 10**12 picodollars; $1 per million tokens = 1,000,000.
Picodollars = NewType("Picodollars", int)

NANO_PER_DOLLAR = 1_000_000_000
PICO_PER_NANO = 1_000
#: Picodollars per token for a price of one dollar per million tokens.
PICO_PER_DOLLAR_PER_MILLION = 1_000_000

ZERO = Nanodollars(0)
#: The largest amount that is read: a billion dollars. Databases keep 64 bits, sums of such included.
MOST = Nanodollars(10**18)


def to_nanodollars(picodollars: int) -> Nanodollars:
    """Round half up to whole nanodollars. Rounding happens once per charge, never per line of it."""
    return Nanodollars((picodollars + PICO_PER_NANO // 2) // PICO_PER_NANO)


def parse_dollars(text: str) -> Nanodollars:
    """`"12.5"`, `"$0.000001"`, `"1_000"` → nanodollars. Raises ValueError with what is wrong.

    More than nine decimals cannot be represented and are refused rather than rounded; so is more
    than `MOST`.
    """
    cleaned = text.strip().removeprefix("$").replace("_", "").replace(",", "")
    whole, _, fraction = cleaned.partition(".")
    if not (whole + fraction).isdigit() or not (whole + fraction).isascii():
        raise ValueError(f"{text!r} is not an amount of dollars; write it like 25 or 0.50")
    if len(fraction) > 9:
        raise ValueError(
            f"{text!r} has more than nine decimals; the smallest amount is $0.000000001"
        )
    amount = int(whole[-40:] or "0") * NANO_PER_DOLLAR + int(fraction.ljust(9, "0") or "0")
    if len(whole) > 40 or amount > MOST:
        raise ValueError(f"{text[:40]!r} is more than a billion dollars; write a smaller amount")
    return Nanodollars(amount)


def format_dollars(amount: int, *, decimals: int | None = None) -> str:
    """`$1.50`, `$0.000123`, `-$2.00`: exact, at least two decimals, no trailing zeros beyond.

    decimals: a fixed number of decimals instead (0 to 9); the amount is then rounded half up.
    """
    sign = "-" if amount < 0 else ""
    value = abs(amount)
    if decimals is not None:
        step = 10 ** (9 - decimals)
        value = (value + step // 2) // step * step if step > 1 else value
        whole, rest = divmod(value, NANO_PER_DOLLAR)
        fraction = f"{rest:09d}"[:decimals]
        return f"{sign}${whole:,}" + (f".{fraction}" if decimals else "")
    whole, rest = divmod(value, NANO_PER_DOLLAR)
    fraction = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{fraction}"
