"""From a record of the price data to a `Price`: dates, times of day, service tiers and input steps."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Any

from farthing.core.prices import LongContext, Price, Rates, Tier
from farthing.providers.pricedata import Record, constraint
from farthing.providers.prices import nearest_picodollar, picodollars_each, picodollars_per_token

#: Field of the data → rate of ours, for prices per million tokens.
_TOKEN_FIELDS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cached_input_audio",
    "output_audio_mtok": "output_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
}
#: The same for prices per thousand.
_EACH_FIELDS = {"web_searches_kcount": "web_search", "requests_kcount": "request"}
#: Request context of a variant → our tier. Other contexts (a route, a kind of search) are no tiers.
_TIERS = {
    ("processing", "batch"): "batch",
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("service_tier", "fast"): "fast",
    ("speed", "fast"): "fast",
}
_DATE = re.compile(r"20\d\d-\d\d-\d\d")

#: Price fields of one moment: name of the data's field → Decimal or a `TieredPrices` record.
Fields = dict[str, Any]


def price_of(model: Record, *, today: date, is_embedding: bool, source: str) -> Price | None:
    """The price of a `ModelInfo` record on a day; None when the data does not price its tokens.

    Of dated prices the latest that has begun holds. Where the price depends on the time of day the
    dearest hour counts around the clock, because a reservation must bound the charge and the vendor
    bills by the hour of its own clock; the source says so.
    """
    base, has_peak = _current(model, today)
    if "input_mtok" not in base or ("output_mtok" not in base and not is_embedding):
        return None
    tiers = {"standard": _tier(base)}
    for variant in model.get("price_variants") or ():
        begun = constraint(variant)
        when = tuple(variant.get("when").items())
        if len(when) != 1 or when[0] not in _TIERS or (isinstance(begun, date) and begun > today):
            continue
        # Later variants of one tier replace earlier ones; fields that a variant omits stay standard.
        tiers[_TIERS[when[0]]] = _tier(base | _fields(variant.get("prices")))
    return Price(
        tiers=tiers,
        source=source + ("; peak hours' price around the clock" if has_peak else ""),
        date=stated_date(model, today),
    )


def _current(model: Record, today: date) -> tuple[Fields, bool]:
    prices = model.get("prices")
    if isinstance(prices, Record):
        return _fields(prices), False
    base: Fields = {}
    peaks: list[Fields] = []
    for conditional in prices:
        when = constraint(conditional)
        fields = _fields(conditional.get("prices"))
        if when is None or (isinstance(when, date) and when <= today):
            base, peaks = fields, []
        elif isinstance(when, tuple):
            peaks.append(fields)
    dearest = max([base, *peaks], key=_weight)
    return dearest, bool(peaks)


def _weight(fields: Fields) -> Decimal:
    return _at(fields.get("input_mtok", Decimal(0)), None) + _at(
        fields.get("output_mtok", Decimal(0)), None
    )


def _fields(prices: Record) -> Fields:
    return {name: value for name, value in prices.fields.items() if value is not None}


def _tier(fields: Fields) -> Tier:
    starts = sorted(
        {
            step.get("start")
            for value in fields.values()
            if isinstance(value, Record)
            for step in value.get("tiers")
        }
    )
    return Tier(
        rates=_rates(fields, None),
        long_context=tuple(
            LongContext(above_input_tokens=start, rates=_rates(fields, start)) for start in starts
        ),
    )


def _rates(fields: Fields, above: int | None) -> Rates:
    rates = {
        ours: picodollars_per_token(nearest_picodollar(_at(fields[theirs], above)))
        for theirs, ours in _TOKEN_FIELDS.items()
        if theirs in fields
    }
    rates |= {
        ours: picodollars_each(_at(fields[theirs], above))
        for theirs, ours in _EACH_FIELDS.items()
        if theirs in fields
    }
    return Rates(**rates)


def _at(value: Decimal | Record, above: int | None) -> Decimal:
    """A field's price once the input is larger than `above` tokens."""
    if isinstance(value, Decimal):
        return value
    price: Decimal = value.get("base")
    for step in sorted(value.get("tiers"), key=lambda step: step.get("start")):
        if above is not None and above >= step.get("start"):
            price = step.get("price")
    return price


def stated_date(model: Record, today: date) -> str:
    """The newest day, not after today, that the record itself names; empty when it names none."""
    days = set(_DATE.findall(model.get("price_comments") or ""))
    prices = model.get("prices")
    conditionals = [] if isinstance(prices, Record) else list(prices)
    for record in (*conditionals, *(model.get("price_variants") or ())):
        begun = constraint(record)
        if isinstance(begun, date):
            days.add(begun.isoformat())
    return max((day for day in days if day <= today.isoformat()), default="")
