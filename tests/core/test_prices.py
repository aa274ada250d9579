"""The invoice formula: each token in one line, each rate with its fallback, one rounding."""

from hypothesis import given
from hypothesis import strategies as st

from farthing.core.prices import (
    LongContext,
    Price,
    Rates,
    Tier,
    amortised,
    cost,
    itemise,
    rates_for,
    upper_bound,
)
from farthing.core.usage import Usage

PLAIN = Rates(input=2_500_000, output=10_000_000, cached_input=1_250_000)


def price(standard: Rates, **tiers: Tier) -> Price:
    return Price(
        tiers={"standard": Tier(rates=standard), **tiers}, source="test", date="2026-11-24"
    )


def test_cached_input_is_not_charged_as_plain_input_too() -> None:
    usage = Usage(input_tokens=1_000, cached_input_tokens=600, output_tokens=10)
    lines = {line.item: line.units for line in itemise(usage, PLAIN)}
    assert lines == {"input": 400, "cached_input": 600, "output": 10}
    assert cost(usage, price(PLAIN)) == 400 * 2_500 + 600 * 1_250 + 10 * 10_000


def test_reasoning_is_part_of_output_and_charged_once() -> None:
    usage = Usage(output_tokens=100, reasoning_tokens=80)
    assert cost(usage, price(PLAIN)) == 100 * 10_000
    apart = Rates(input=0, output=10_000_000, reasoning=4_000_000)
    assert cost(usage, price(apart)) == 20 * 10_000 + 80 * 4_000


def test_cache_writes_of_five_minutes_and_one_hour_have_their_own_rates() -> None:
    rates = Rates(
        input=3_000_000, cache_write=3_750_000, cache_write_1h=6_000_000, output=15_000_000
    )
    usage = Usage(input_tokens=350, cache_write_tokens=300, cache_write_1h_tokens=100)
    assert cost(usage, price(rates)) == 50 * 3_000 + 200 * 3_750 + 100 * 6_000


def test_cached_audio_stands_in_one_line_only() -> None:
    rates = Rates(
        input=4_000_000, cached_input=400_000, input_audio=32_000_000, cached_input_audio=400_000
    )
    usage = Usage(
        input_tokens=100,
        cached_input_tokens=50,
        input_audio_tokens=60,
        cached_input_audio_tokens=30,
    )
    lines = {line.item: line.units for line in itemise(usage, rates)}
    assert lines == {"input": 20, "cached_input": 20, "input_audio": 30, "cached_input_audio": 30}


def test_long_context_reprices_the_whole_call_not_only_the_excess() -> None:
    long = Rates(input=2_500_000, output=15_000_000)
    tier = Tier(
        rates=Rates(input=1_250_000, output=10_000_000),
        long_context=(LongContext(above_input_tokens=200_000, rates=long),),
    )
    p = Price(tiers={"standard": tier}, source="test", date="2026-11-24")
    assert cost(Usage(input_tokens=200_000), p) == 200_000 * 1_250
    assert cost(Usage(input_tokens=200_001), p) == 200_001 * 2_500


def test_a_tier_has_its_own_rates_and_aliases_mean_standard() -> None:
    p = price(PLAIN, batch=Tier(rates=Rates(input=1_250_000, output=5_000_000)))
    assert rates_for(p, input_tokens=1, tier="batch").input == 1_250_000
    assert rates_for(p, input_tokens=1, tier="default") is p.standard
    assert not p.is_tier_priced("priority")


def test_fractions_of_a_nanodollar_are_summed_before_they_are_rounded() -> None:
    rates = Rates(input=37_500, output=150_300)  # 37.5 and 150.3 nanodollars a token
    assert cost(Usage(input_tokens=1, output_tokens=1), price(rates)) == 188  # 187.8, not 38 + 150


counts = st.integers(min_value=0, max_value=300_000)
rates_strategy = st.builds(
    Rates,
    input=st.integers(0, 10**8),
    output=st.integers(0, 10**8),
    cached_input=st.none() | st.integers(0, 10**8),
    cache_write=st.none() | st.integers(0, 10**8),
    cache_write_1h=st.none() | st.integers(0, 10**8),
    reasoning=st.none() | st.integers(0, 10**8),
    input_audio=st.none() | st.integers(0, 10**8),
    output_audio=st.none() | st.integers(0, 10**8),
    request=st.integers(0, 10**10),
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    plain, cached, audio, cached_audio, write, write_1h = (draw(counts) for _ in range(6))
    spoken, reasoning, audio_out = (draw(counts) for _ in range(3))
    return Usage(
        input_tokens=plain + cached + cached_audio + audio + write + write_1h,
        cached_input_tokens=cached + cached_audio,
        cached_input_audio_tokens=cached_audio,
        input_audio_tokens=audio + cached_audio,
        cache_write_tokens=write + write_1h,
        cache_write_1h_tokens=write_1h,
        output_tokens=spoken + reasoning + audio_out,
        reasoning_tokens=reasoning,
        output_audio_tokens=audio_out,
    )


@given(usages(), rates_strategy)
def test_every_token_stands_in_exactly_one_line(usage: Usage, rates: Rates) -> None:
    dear = Rates(input=1, output=1)
    units = sum(line.units for line in itemise(usage, dear) if line.item != "request")
    assert units == usage.total_tokens


@given(usages(), rates_strategy, st.booleans())
def test_no_usage_of_that_size_costs_more_than_its_upper_bound(
    usage: Usage, rates: Rates, is_long: bool
) -> None:
    steps = (LongContext(above_input_tokens=1000, rates=Rates(input=10**8, output=5)),)
    tier = Tier(rates=rates, long_context=steps if is_long else ())
    p = Price(tiers={"standard": tier}, source="test", date="2026-11-24")
    bound = upper_bound(p, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    assert cost(usage, p) <= bound


def test_hourly_fees_are_shared_by_the_second() -> None:
    assert amortised(3_600_000_000_000, 1) == 1_000_000_000
    assert amortised(7, 1800) == 4  # 3.5 rounds up
