"""Prices from data to exact integers: the settings' own, and the fixed ones."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from farthing.base.config.amounts import dollars_per_million
from farthing.base.config.settings import PriceSetting
from farthing.core.errors import ConfigError
from farthing.core.money import PICO_PER_DOLLAR_PER_MILLION
from farthing.core.prices import Price, Rates, Tier

#: Tokens that nobody charges for: local servers, and provisioned capacity (its hour is what is paid).
FREE = Price(
    tiers={"standard": Tier(rates=Rates(input=0, output=0))},
    source="no charge per token",
    date="2026-11-24",
)


def negotiated(setting: PriceSetting) -> Price:
    """A price from `farthing.toml`. It counts for every tier. Raises ConfigError for a bad amount."""
    try:
        rates = Rates(
            input=dollars_per_million(setting.input),
            output=dollars_per_million(setting.output),
            cached_input=_optional(setting.cached_input),
            cache_write=_optional(setting.cache_write),
            cache_write_1h=_optional(setting.cache_write_1h),
            reasoning=_optional(setting.reasoning),
            input_audio=_optional(setting.input_audio),
            output_audio=_optional(setting.output_audio),
        )
    except ValueError as error:
        raise ConfigError(f"A deployment's price is wrong: {error}.") from error
    return Price(tiers={"standard": Tier(rates=rates)}, source=setting.source, date=setting.date)


def picodollars_per_token(dollars_per_million: Decimal) -> int:
    """An exact decimal price of a million tokens as integer picodollars per token.

    Raises ValueError when it is finer than a picodollar: no published price is.
    """
    return whole(dollars_per_million * PICO_PER_DOLLAR_PER_MILLION)


def picodollars_each(dollars_per_thousand: Decimal) -> int:
    """An exact decimal price of a thousand requests or searches as picodollars for one."""
    return whole(dollars_per_thousand * 1_000_000_000)


def nearest_picodollar(dollars: Decimal) -> Decimal:
    """Dollars per million, cleared of what lies below a picodollar per token.

    A few rows of the price data were computed in binary floating point by whoever entered them
    (0.18000000000000002, seen 2026-11-24). No vendor publishes a price that fine.
    """
    return dollars.quantize(Decimal("0.000001"), rounding=ROUND_HALF_UP)


def whole(picodollars: Decimal) -> int:
    """The same number as an int. Raises ValueError when it is none."""
    if picodollars != picodollars.to_integral_value() or picodollars < 0:
        raise ValueError(f"{picodollars} picodollars is not a whole, positive number")
    return int(picodollars)


def _optional(value: str | float | int | None) -> int | None:
    return None if value is None else dollars_per_million(value)
