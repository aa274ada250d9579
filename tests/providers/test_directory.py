from __future__ import annotations

from pathlib import Path

import pytest

from farthing.base.clock import FakeClock
from farthing.base.config.settings import Deployment, PriceSetting, Provider, Route, Settings
from farthing.core.errors import ConfigError, UnknownModelError
from farthing.core.protocols import Provider as ProviderSocket
from farthing.providers.catalogue import Catalogue
from farthing.providers.detect import Detected
from farthing.providers.directory import Directory, build_directory, provider_types
from farthing.providers.vendors import vendors

CLOCK = FakeClock(start=1_795_478_400.0)  # 2026-11-24
CATALOGUE = Catalogue.load(clock=CLOCK, user_overlay=Path("/nonexistent/prices.toml"))


def directory(settings: Settings, *detected: Detected) -> Directory:
    return build_directory(
        settings, catalogue=CATALOGUE, clock=CLOCK, environ={}, detected=detected
    )


def names(found: Directory, name: str) -> list[list[str]]:
    return [[deployment.name for deployment in group] for group in found.route(name).groups]


TWO = {
    "openai": Provider(type="openai"),
    "az": Provider(type="azure", base_url="https://a.example"),
}


def test_a_route_groups_its_deployments_by_priority() -> None:
    settings = Settings(
        providers=TWO,
        deployments={
            "paid": Deployment(provider="openai", model="gpt-4o", priority=1),
            "east": Deployment(provider="az", model="gpt-4o", remote_name="prod", weight=3),
        },
        routes={
            "chat": Route(deployments=("paid", "east"), fallbacks=("gpt-4o-mini",), cache=True)
        },
    )
    found = directory(settings)
    assert names(found, "chat") == [["east"], ["paid"]]
    route = found.route("chat")
    assert route.fallbacks == ("gpt-4o-mini",)
    assert route.is_cached
    assert route.groups[0][0].remote_name == "prod"


def test_a_models_name_means_its_deployments_before_the_catalogue() -> None:
    settings = Settings(
        providers=TWO, deployments={"east": Deployment(provider="az", model="gpt-4o")}
    )
    assert names(directory(settings), "gpt-4o") == [["east"]]
    assert names(directory(settings), "gpt-4o-mini") == [["openai/gpt-4o-mini"]]


def test_providers_whose_deployments_have_their_own_names_do_not_offer_models_by_name() -> None:
    with pytest.raises(UnknownModelError):
        directory(Settings(providers={"az": TWO["az"]})).route("gpt-4o")


def test_an_alias_leads_to_what_it_names_and_keeps_its_own_name() -> None:
    settings = Settings(providers=TWO, aliases={"fast": "quick", "quick": "openai/gpt-4o-mini"})
    route = directory(settings).route("fast")
    assert route.name == "fast"
    assert route.groups[0][0].model == "gpt-4o-mini"


def test_an_unlisted_model_can_be_asked_of_a_provider_but_has_no_price() -> None:
    found = directory(Settings(providers=TWO))
    deployment = found.route("openai/brand-new-model").groups[0][0]
    assert deployment.price is None
    assert deployment.remote_name == "brand-new-model"
    assert "openai/brand-new-model" not in found.deployments


def test_a_provider_that_lists_its_models_offers_no_others() -> None:
    settings = Settings(providers={"openai": Provider(type="openai", models=("gpt-4o",))})
    found = directory(settings)
    assert names(found, "gpt-4o") == [["openai/gpt-4o"]]
    with pytest.raises(UnknownModelError):
        found.route("openai/gpt-4o-mini")


def test_an_unknown_name_is_told_with_its_neighbours() -> None:
    with pytest.raises(UnknownModelError) as caught:
        directory(Settings(providers=TWO)).route("gpt-4o-mni")
    assert "'gpt-4o-mini'" in str(caught.value)
    assert "farthing models" in str(caught.value)
    assert caught.value.param == "model"


def test_a_negotiated_price_wins_and_a_provisioned_one_keeps_what_its_spill_over_costs() -> None:
    settings = Settings(
        providers=TWO,
        deployments={
            "own": Deployment(
                provider="az",
                model="gpt-4o",
                price=PriceSetting(input="1.10", output=4, source="EA"),
            ),
            "ptu": Deployment(
                provider="az",
                model="gpt-4o",
                is_provisioned=True,
                provisioned_hourly_dollars="50",
            ),
        },
    )
    found = directory(settings).deployments
    assert found["own"].price is not None
    assert found["own"].price.standard.input == 1_100_000
    assert found["own"].price.source == "EA"
    assert found["ptu"].price is not None
    assert found["ptu"].is_provisioned
    assert found["ptu"].price.standard.output > 0
    assert found["ptu"].provisioned_hourly_nanodollars == 50_000_000_000


def test_a_misspelled_dialect_of_a_deployment_is_told_with_the_near_one() -> None:
    place = Deployment(provider="openai", model="gpt-4o", dialects=("openai-response",))
    with pytest.raises(ConfigError, match="no dialect 'openai-response'") as caught:
        directory(Settings(providers=TWO, deployments={"d": place}))
    assert "openai-responses" in str(caught.value)


def test_what_was_detected_is_offered_beside_what_is_configured() -> None:
    ollama = Detected(
        name="ollama",
        type="ollama",
        title="Ollama",
        base_url="http://127.0.0.1:11434/v1",
        models=("llama3.2",),
    )
    keyed = Detected(name="openai", type="openai", title="OpenAI", variable="OPENAI_API_KEY")
    found = directory(Settings(), ollama, keyed)
    assert set(found.providers) == {"ollama", "openai"}
    local = found.route("llama3.2").groups[0][0]
    assert local.price is not None
    assert local.price.standard.input == 0
    assert not local.is_simulated


def test_with_nothing_at_all_the_simulator_is_offered_and_labelled() -> None:
    found = directory(Settings())
    assert list(found.providers) == ["sim"]
    assert found.deployments
    assert all(deployment.is_simulated for deployment in found.deployments.values())


def test_every_name_that_is_listed_can_be_found() -> None:
    settings = Settings(
        providers=TWO,
        deployments={"east": Deployment(provider="az", model="gpt-4o")},
        aliases={"best": "east"},
    )
    found = directory(settings)
    for name in found.names():
        assert found.route(name).groups


def test_an_unknown_type_of_provider_lists_the_near_ones() -> None:
    with pytest.raises(ConfigError, match="mistral"):
        directory(Settings(providers={"x": Provider(type="mistrl")}))


@pytest.mark.parametrize("name", sorted(set(vendors()) - {"sim", "replay"}))
def test_every_type_of_provider_can_be_made_and_speaks_a_dialect(name: str) -> None:
    settings = Provider(type=name, base_url="http://127.0.0.1:1")
    made = provider_types().get(name)("p", settings, {}, CLOCK)
    assert isinstance(made, ProviderSocket)
    deployment = directory(Settings(providers=TWO)).route("gpt-4o").groups[0][0]
    assert made.dialects(deployment, "chat")


def test_finding_a_route_makes_no_provider_and_imports_no_http_client(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = """
import sys
from farthing.base.clock import SystemClock
from farthing.base.config.settings import Provider, Settings
from farthing.providers.catalogue import Catalogue
from farthing.providers.directory import build_directory
found = build_directory(
    Settings(providers={"openai": Provider(type="openai")}),
    catalogue=Catalogue.load(), clock=SystemClock(), environ={},
)
found.route("openai/new"), found.route("gpt-4o"), found.names()
print("aiohttp" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
