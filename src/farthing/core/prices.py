"""Prices and the invoice formula: from usage to exact picodollars, as the vendors publish it."""

from __future__ import annotations

import msgspec

from farthing.core.money import ZERO, Nanodollars, to_nanodollars
from farthing.core.usage import Usage

#: The service tiers that vendors price apart. `standard` is what a call gets when it asks for nothing.
TIERS = ("standard", "batch", "flex", "priority")
#: Vendors' other words for a tier (OpenAI answers `default`, Anthropic `standard_only`).
TIER_ALIASES = {
    "default": "standard",
    "auto": "standard",
    "standard_only": "standard",
    "on_demand": "standard",
}


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Picodollars per token (per request for `request`, per search for `web_search`).

    A rate that is None falls back as its line says: the vendor publishes no separate price for it.
    """

    input: int
    output: int = 0
    cached_input: int | None = None  # → input
    cache_write: int | None = None  # → input
    cache_write_1h: int | None = None  # → cache_write
    reasoning: int | None = None  # → output
    input_audio: int | None = None  # → input
    cached_input_audio: int | None = None  # → cached_input when that is priced, else input_audio
    output_audio: int | None = None  # → output
    input_image: int | None = None  # → input
    output_image: int | None = None  # → output
    web_search: int = 0
    request: int = 0


class LongContext(msgspec.Struct, frozen=True, kw_only=True):
    """Rates for the *whole* call once its input is larger than `above_input_tokens`.

    Google and Anthropic reprice every token of such a call, not only the tokens above the line.
    """

    above_input_tokens: int
    rates: Rates


class Tier(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rates of one service tier, with its long-context steps in ascending order."""

    rates: Rates
    long_context: tuple[LongContext, ...] = ()


class Price(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one model costs at one place. source and date say where the figures are from.

    tiers: by name (`TIERS`); `standard` is always there. A call in a tier without a price of its own is
    charged at standard, which `is_tier_priced` lets the caller notice.
    """

    tiers: dict[str, Tier]
    source: str
    date: str

    @property
    def standard(self) -> Rates:
        """The rates of an ordinary call."""
        return self.tiers["standard"].rates

    def is_tier_priced(self, tier: str | None) -> bool:
        """Whether `tier` has rates of its own."""
        return tier_name(tier) in self.tiers


class LineItem(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an invoice: units × picodollars per unit."""

    item: str
    units: int
    rate: int

    @property
    def picodollars(self) -> int:
        """The line's amount."""
        return self.units * self.rate


def tier_name(tier: str | None) -> str:
    """Our name for a vendor's service tier; None and unknown words are read as given or `standard`."""
    if tier is None:
        return "standard"
    return TIER_ALIASES.get(tier, tier)


def rates_for(price: Price, *, input_tokens: int, tier: str | None = None) -> Rates:
    """The rates that apply to a call with this much input in this tier."""
    tiers = price.tiers
    chosen = tiers.get(tier_name(tier)) or tiers["standard"]
    rates = chosen.rates
    for step in chosen.long_context:
        if input_tokens > step.above_input_tokens:
            rates = step.rates
    return rates


def itemise(usage: Usage, rates: Rates) -> tuple[LineItem, ...]:
    """The invoice of one call, line by line, without empty lines.

    Each token stands in exactly one line. Cached audio is counted under cached audio, not under audio
    and not under cached input; the remainder after all special kinds is plain input and output.
    """
    cached_audio = usage.cached_input_audio_tokens
    cached = usage.cached_input_tokens - cached_audio
    write_1h = usage.cache_write_1h_tokens
    write_5m = usage.cache_write_tokens - write_1h
    audio = usage.input_audio_tokens - cached_audio
    image = usage.input_image_tokens
    plain = usage.input_tokens - cached - cached_audio - write_5m - write_1h - audio - image
    spoken = usage.output_tokens
    spoken -= usage.reasoning_tokens + usage.output_audio_tokens + usage.output_image_tokens
    cache_write = _or(rates.cache_write, rates.input)
    input_audio = _or(rates.input_audio, rates.input)
    lines = (
        LineItem(item="input", units=plain, rate=rates.input),
        LineItem(item="cached_input", units=cached, rate=_or(rates.cached_input, rates.input)),
        LineItem(item="cache_write", units=write_5m, rate=cache_write),
        LineItem(
            item="cache_write_1h", units=write_1h, rate=_or(rates.cache_write_1h, cache_write)
        ),
        LineItem(item="input_audio", units=audio, rate=input_audio),
        LineItem(
            item="cached_input_audio",
            units=cached_audio,
            rate=_or(rates.cached_input_audio, _or(rates.cached_input, input_audio)),
        ),
        LineItem(item="input_image", units=image, rate=_or(rates.input_image, rates.input)),
        LineItem(item="output", units=spoken, rate=rates.output),
        LineItem(
            item="reasoning", units=usage.reasoning_tokens, rate=_or(rates.reasoning, rates.output)
        ),
        LineItem(
            item="output_audio",
            units=usage.output_audio_tokens,
            rate=_or(rates.output_audio, rates.output),
        ),
        LineItem(
            item="output_image",
            units=usage.output_image_tokens,
            rate=_or(rates.output_image, rates.output),
        ),
        LineItem(item="web_search", units=usage.web_search_requests, rate=rates.web_search),
        LineItem(item="request", units=1, rate=rates.request),
    )
    return tuple(line for line in lines if line.picodollars)


def cost(usage: Usage, price: Price, *, tier: str | None = None) -> Nanodollars:
    """What the vendor charges for this usage: all lines summed exactly, rounded once, half up."""
    rates = rates_for(price, input_tokens=usage.input_tokens, tier=tier)
    if (
        usage.cache_write_tokens
        or usage.cache_write_1h_tokens
        or usage.reasoning_tokens
        or usage.input_audio_tokens
        or usage.cached_input_audio_tokens
        or usage.output_audio_tokens
        or usage.input_image_tokens
        or usage.output_image_tokens
        or usage.web_search_requests
    ):
        return to_nanodollars(sum(line.picodollars for line in itemise(usage, rates)))
    # All tokens are plain text or read from a cache, as nearly always: the same sum without its lines.
    pico = usage.input_tokens * rates.input + usage.output_tokens * rates.output + rates.request
    cached = usage.cached_input_tokens
    if cached:
        pico += cached * (_or(rates.cached_input, rates.input) - rates.input)
    return to_nanodollars(pico)


class Ceiling(msgspec.Struct, frozen=True):
    """The dearest rates of a tier: `steps` of (above this many input tokens, input, output, request).

    Worked out once for a price, so that the bound of a call is a few multiplications.
    """

    steps: tuple[tuple[int, int, int, int], ...]

    def nanodollars(self, input_tokens: int, output_tokens: int) -> int:
        """The most a call of this size can cost, rounded up."""
        most = 0
        for above, input_rate, output_rate, request in self.steps:
            if input_tokens > above:
                pico = input_tokens * input_rate + output_tokens * output_rate + request
                most = max(most, pico)
        return -(-most // 1000)


def ceiling(price: Price, tier: str | None = None) -> Ceiling:
    """Every token at the dearest rate of its side, whatever kind it turns out to be."""
    chosen = price.tiers.get(tier_name(tier)) or price.tiers["standard"]
    steps = [(-1, chosen.rates), *((s.above_input_tokens, s.rates) for s in chosen.long_context)]
    return Ceiling(tuple((above, *_dearest(rates)) for above, rates in steps))


def upper_bound(
    price: Price, *, input_tokens: int, output_tokens: int, tier: str | None = None
) -> Nanodollars:
    """The most a call of this size can cost, whatever kinds of tokens it turns out to use.

    input_tokens, output_tokens: upper bounds of the counts. Every token is priced at the dearest rate of
    its side, in the dearest step that the input can reach. Searches are not bounded here.
    """
    if input_tokens == output_tokens == 0:
        return ZERO
    return Nanodollars(ceiling(price, tier).nanodollars(input_tokens, output_tokens))


def amortised(hourly_nanodollars: int, seconds: int) -> Nanodollars:
    """The share of an hourly fee (provisioned throughput) for a span, rounded half up."""
    return Nanodollars((hourly_nanodollars * seconds + 1800) // 3600)


def _dearest(rates: Rates) -> tuple[int, int, int]:
    inputs = (
        rates.input,
        rates.cached_input,
        rates.cache_write,
        rates.cache_write_1h,
        rates.input_audio,
        rates.input_image,
    )
    outputs = (rates.output, rates.reasoning, rates.output_audio, rates.output_image)
    return max(rate or 0 for rate in inputs), max(rate or 0 for rate in outputs), rates.request


def _or(rate: int | None, fallback: int) -> int:
    return fallback if rate is None else rate
