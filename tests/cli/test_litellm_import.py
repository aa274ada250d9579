"""A LiteLLM proxy config becomes settings that load, and nothing is lost without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from farthing.base.config import load
from farthing.base.config.settings import Settings
from farthing.cli.litellm_import import Conversion, convert
from farthing.core.errors import ConfigError

SOURCE = """\
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/prod-gpt4o
      api_base: https://eu-one.openai.azure.com
      api_key: os.environ/AZURE_EU
      api_version: "2024-10-21"
      rpm: 600
      tpm: 100000
      weight: 0.9
      order: 1
    model_info:
      base_model: azure/gpt-4o
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: sk-canary-written-out
      weight: 0.1
      input_cost_per_token: 0.0000025
      output_cost_per_token: 1e-05
      cache_read_input_token_cost: 0.00000125
  - model_name: claude
    litellm_params:
      model: anthropic/claude-sonnet-4-5
      timeout: 30
  - model_name: embed
    litellm_params:
      model: text-embedding-3-small
    model_info:
      mode: embedding
  - model_name: local
    litellm_params:
      model: ollama/llama3.1:8b
      api_base: http://127.0.0.1:11434
  - model_name: exotic
    litellm_params:
      model: sagemaker/foo
router_settings:
  routing_strategy: usage-based-routing-v2
  num_retries: 2
  timeout: 45
  allowed_fails: 3
  cooldown_time: 30
  fallbacks: [{"gpt-4o": ["claude", "nowhere"]}]
  model_group_alias: {"gpt-4": "gpt-4o"}
  redis_host: os.environ/REDIS
litellm_settings:
  drop_params: true
  cache: true
  cache_params:
    type: redis
    ttl: 600
  callbacks: ["prometheus", "langsmith"]
  max_budget: 250.5
  budget_duration: 30d
  brand_new_setting: 1
general_settings:
  master_key: sk-canary-master
  database_url: postgresql://u:canary@h/db
  alerting: ["slack"]
environment_variables:
  OPENAI_API_KEY: sk-canary-env
"""


@pytest.fixture
def conversion() -> Conversion:
    return convert(SOURCE)


@pytest.fixture
def settings(conversion: Conversion, tmp_path: Path) -> Settings:
    path = tmp_path / "farthing.toml"
    path.write_text(conversion.toml, encoding="utf-8")
    return load(path, {}).settings


def test_entries_of_one_name_become_deployments_of_one_route(settings: Settings) -> None:
    assert settings.routes["gpt-4o"].deployments == ("azure-eu-one-prod-gpt4o", "openai-gpt-4o")
    azure = settings.deployments["azure-eu-one-prod-gpt4o"]
    assert (azure.model, azure.remote_name) == ("gpt-4o", "prod-gpt4o")
    assert (azure.requests_per_minute, azure.tokens_per_minute) == (600, 100000)
    assert (azure.weight, azure.priority) == (90, 1)
    assert settings.providers["azure-eu-one"].key == "env:AZURE_EU"
    assert settings.providers["azure-eu-one"].api_version == "2024-10-21"
    assert settings.deployments["openai-text-embedding-3-small"].kind == "embed"
    assert settings.deployments["ollama-llama3.1-8b"].model == "llama3.1:8b"


def test_prices_per_token_become_exact_prices_per_million(settings: Settings) -> None:
    price = settings.deployments["openai-gpt-4o"].price
    assert price is not None
    assert (price.input, price.output, price.cached_input) == ("2.5", "10", "1.25")


def test_router_and_proxy_settings_are_carried_over(settings: Settings) -> None:
    assert settings.retry.max_tries == 3
    assert settings.timeouts.total_s == 45
    assert (settings.breaker.failures, settings.breaker.open_s) == (4, 30)
    assert settings.routes["gpt-4o"].fallbacks == ("claude",)
    assert settings.aliases == {"gpt-4": "gpt-4o"}
    assert settings.cache.ttl_s == 600
    assert all(route.cache for route in settings.routes.values())
    assert settings.budgets["imported"].dollars == "250.5"
    assert settings.budgets["imported"].window == "month"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("api_key: sk-canary-written", "was not copied: put it into OPENAI_API_KEY"),
        ("timeout: 30", "timeout: timeouts are set for all deployments"),
        ("sagemaker", "'sagemaker/foo': this vendor is not supported"),
        ("routing_strategy", "'usage-based-routing-v2' has no equivalent"),
        ("", "fallback 'nowhere' of 'gpt-4o' is not in model_list"),
        ("", "all were multiplied by 100"),
        ("redis_host", "redis_host: not needed"),
        ("drop_params", "drop_params: not needed"),
        ("cache_params:", "cache type 'redis' has no equivalent"),
        ("callbacks", "callback 'prometheus'"),
        ("brand_new", "brand_new_setting: not carried over"),
        ("master_key", "farthing keys create"),
        ("database_url", "FARTHING_STORAGE__URL"),
        ("alerting", "alerts.webhook_url"),
        ("environment_variables", "set these in the environment"),
    ],
)
def test_what_stays_behind_is_told_by_line(conversion: Conversion, place: str, words: str) -> None:
    lines = [number for number, text in enumerate(SOURCE.split("\n"), 1) if place in text]
    line = lines[0] if place else 0
    assert any(n.line == line and words in n.message for n in conversion.notes), conversion.notes


def test_no_secret_is_copied_or_told(conversion: Conversion) -> None:
    assert "canary" not in conversion.toml
    assert not any("canary" in note.message for note in conversion.notes)


def test_a_wildcard_becomes_a_provider_that_offers_its_catalogue(tmp_path: Path) -> None:
    text = 'model_list: [{model_name: "*", litellm_params: {model: "openai/*"}}]'
    converted = convert(text)
    path = tmp_path / "farthing.toml"
    path.write_text(converted.toml, encoding="utf-8")
    settings = load(path, {}).settings
    assert settings.providers["openai"].models is None
    assert "callers ask for 'openai/MODEL'" in converted.notes[0].message


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [", "not valid YAML"), ("a: 1", "no model_list"), ("- 1", "no model_list")],
)
def test_what_is_no_litellm_config_is_an_error(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        convert(text)
