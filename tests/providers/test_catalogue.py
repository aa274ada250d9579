from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import FakeClock
from farthing.core.errors import ConfigError
from farthing.core.prices import cost, rates_for
from farthing.core.usage import Usage
from farthing.providers import overlay, pricedata
from farthing.providers.catalogue import Catalogue, spellings
from farthing.providers.pricedata import Record
from farthing.providers.tariff import price_of

TODAY = date(2026, 11, 24)
NOVEMBER = FakeClock(start=1_795_478_400.0)  # 2026-11-24


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return Catalogue.load(
        clock=NOVEMBER, user_overlay=tmp_path_factory.mktemp("none") / "none.toml"
    )


# --- the installed data ---


def test_the_price_data_is_read_without_importing_its_package(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys; from farthing.providers.catalogue import Catalogue; "
        "assert Catalogue.load().model('openai', 'gpt-4o'); "
        "print([m for m in ('genai_prices', 'pydantic', 'aiohttp') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_record_of_the_installed_data_has_a_price_or_none_but_never_fails(
    catalogue: Catalogue,
) -> None:
    count = 0
    for vendor, records in pricedata.load().items():
        for record in records:
            model = catalogue.model(vendor, record.get("id"))
            assert model is not None
            count += model.price is not None
    assert count > 1500


def test_every_listed_model_says_where_its_price_is_from_and_of_when(catalogue: Catalogue) -> None:
    for model in catalogue.models():
        assert model.price is not None
        assert model.price.source
        assert model.price.date, f"{model.provider}/{model.name}"


@pytest.mark.parametrize(
    ("vendor", "name", "known_as"),
    [
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("google", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("azure", "gpt-4o", "gpt-4o"),
    ],
)
def test_a_model_is_found_under_the_names_that_people_use(
    catalogue: Catalogue, vendor: str, name: str, known_as: str
) -> None:
    model = catalogue.model(vendor, name)
    assert model is not None
    assert model.name == known_as


def test_a_bare_name_is_found_at_its_maker_before_a_reseller(catalogue: Catalogue) -> None:
    for name, vendor in (("gpt-4o", "openai"), ("claude-opus-5-5", "anthropic")):
        model = catalogue.find(name)
        assert model is not None
        assert model.provider == vendor
    assert catalogue.find("no-such-model-anywhere") is None


def test_the_price_of_gpt_4o_is_openais_list_to_the_picodollar(catalogue: Catalogue) -> None:
    """developers.openai.com/api/docs/pricing, 2026-10-14: $2.50 in, $1.25 cached, $10 out; batch half."""
    model = catalogue.model("openai", "gpt-4o")
    assert model is not None
    assert model.price is not None
    usage = Usage(input_tokens=1_000_000, cached_input_tokens=400_000, output_tokens=100_000)
    assert cost(usage, model.price) == 3_000_000_000
    assert cost(usage, model.price, tier="priority") == 5_100_000_000
    assert model.price.is_tier_priced("batch")
    assert not model.price.is_tier_priced("no-such-tier")


def test_a_long_input_is_repriced_as_a_whole(catalogue: Catalogue) -> None:
    model = catalogue.model("google", "gemini-2.5-pro")
    assert model is not None
    assert model.price is not None
    assert rates_for(model.price, input_tokens=200_000).input == 1_250_000
    assert rates_for(model.price, input_tokens=200_001).input == 2_500_000


def test_a_retired_model_is_priced_but_not_listed(catalogue: Catalogue) -> None:
    assert "gpt-4.1-nano" not in catalogue.names("openai")
    model = catalogue.model("openai", "gpt-4.1-nano")
    assert model is not None
    assert model.retires == "2026-10-23"


def test_azure_costs_what_openai_does_and_a_tenth_more_in_a_region(catalogue: Catalogue) -> None:
    by_scope = {
        scope: model.price.standard.input
        for scope in (None, "global", "data_zone", "regional")
        if (model := catalogue.model("azure", "gpt-4o", scope=scope)) and model.price
    }
    assert by_scope == {
        None: 2_500_000,
        "global": 2_500_000,
        "data_zone": 2_750_000,
        "regional": 2_750_000,
    }


def test_figures_from_memory_say_so(catalogue: Catalogue) -> None:
    model = catalogue.model("azure", "gpt-4o")
    assert model is not None
    assert model.price is not None
    assert "(unverified)" in model.price.source


# --- one record at a time ---


def record(prices: object, **more: object) -> Record:
    return Record("ModelInfo", {"id": "m", "prices": prices, **more})


def flat(**fields: Any) -> Record:
    return Record("ModelPrice", {name: Decimal(value) for name, value in fields.items()})


def when(prices: Record, constraint: Record | None = None) -> Record:
    return Record("ConditionalPrice", {"prices": prices, "constraint": constraint})


def starting(day: date) -> Record:
    return Record("StartDateConstraint", {"start_date": day})


def test_of_dated_prices_the_latest_that_has_begun_holds() -> None:
    model = record(
        [
            when(flat(input_mtok="1", output_mtok="1")),
            when(flat(input_mtok="2", output_mtok="2"), starting(TODAY)),
            when(flat(input_mtok="3", output_mtok="3"), starting(date(2026, 11, 25))),
        ]
    )
    price = price_of(model, today=TODAY, is_embedding=False, source="s")
    assert price is not None
    assert price.standard.input == 2_000_000
    assert price.date == "2026-11-24"


def test_of_the_hours_of_a_day_the_dearest_counts() -> None:
    night = Record("TimeOfDateConstraint", {"start_time": time(0), "end_time": time(6)})
    cheap, dear = flat(input_mtok="1", output_mtok="1"), flat(input_mtok="2", output_mtok="4")
    for base, other in ((cheap, dear), (dear, cheap)):
        model = record([when(base), when(other, night)])
        price = price_of(model, today=TODAY, is_embedding=False, source="s")
        assert price is not None
        assert price.standard.output == 4_000_000
        assert "peak" in price.source


def test_a_price_without_output_is_unknown_unless_it_embeds() -> None:
    model = record(flat(input_mtok="1"))
    assert price_of(model, today=TODAY, is_embedding=False, source="s") is None
    assert price_of(model, today=TODAY, is_embedding=True, source="s") is not None
    assert price_of(record(flat()), today=TODAY, is_embedding=True, source="s") is None


def test_what_a_tier_leaves_out_stays_at_the_standard_price() -> None:
    batch = Record(
        "PriceVariant", {"when": {"processing": "batch"}, "prices": flat(input_mtok="0.5")}
    )
    model = record(flat(input_mtok="1", output_mtok="8"), price_variants=[batch])
    price = price_of(model, today=TODAY, is_embedding=False, source="s")
    assert price is not None
    assert price.tiers["batch"].rates.input == 500_000
    assert price.tiers["batch"].rates.output == 8_000_000


def test_dust_of_binary_arithmetic_is_cleared_from_the_data() -> None:
    model = record(flat(input_mtok="0.18000000000000002", output_mtok="1"))
    price = price_of(model, today=TODAY, is_embedding=False, source="s")
    assert price is not None
    assert price.standard.input == 180_000


# --- overlays ---

OVERLAY = """
[[models]]
provider = "openai"
names = ["gpt-4o", "house-model"]
context_tokens = 999
tiers.standard.rates = { input = "1.25", output = "$5", cached_input = "0.000001" }
tiers.standard.above = [{ above_input_tokens = 100, input = "2.5", output = "10" }]
source = "contract 17"
date = "2026-11-01"
"""


def test_a_projects_own_prices_win_and_can_add_models(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(OVERLAY)
    catalogue = Catalogue.load(clock=NOVEMBER, user_overlay=file)
    for name in ("gpt-4o", "gpt-4o-2024-08-06", "house-model"):
        model = catalogue.model("openai", name)
        assert model is not None
        assert model.price is not None
        assert model.price.source == "contract 17"
        assert model.context_tokens == 999
        assert model.price.standard.cached_input == 1
        assert rates_for(model.price, input_tokens=101).input == 2_500_000
    assert "house-model" in catalogue.names("openai")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"1.25"', '"1.2500001"'),
        ('"1.25"', '"cheap"'),
        ('"1.25"', '"-1"'),
        ('"1.25"', "1.25"),
        ("context_tokens", "contxt_tokens"),
        ("[[models]]", "[[models"),
    ],
)
def test_a_mistake_in_an_overlay_is_told_with_its_file(tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(OVERLAY.replace(old, new))
    with pytest.raises(ConfigError, match=r"prices\.toml"):
        overlay.user(file)


def test_spellings_begin_with_the_name_as_given() -> None:
    assert spellings("GPT-4o-2024-08-06")[0] == "GPT-4o-2024-08-06"
    assert "gpt-4o" in spellings("GPT-4o-2024-08-06")
