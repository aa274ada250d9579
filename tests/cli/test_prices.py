from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from farthing.cli.models import models
from farthing.cli.prices import prices
from farthing.core.errors import BadRequestError, ConflictError, NotFoundError, UnknownModelError

LITELLM = {
    "sample_spec": {"input_cost_per_token": 0},
    "house-model": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 1.5e-07,
        "output_cost_per_token": 6e-07,
        "input_cost_per_token_batches": 7.5e-08,
        "output_cost_per_token_batches": 3e-07,
        "input_cost_per_token_above_200k_tokens": 3e-07,
        "cache_read_input_token_cost": 7.5e-08,
        "cost_of_something_new": 1,
        "max_input_tokens": 128000,
        "max_output_tokens": 16384,
    },
    "bedrock/thing": {"litellm_provider": "bedrock", "mode": "chat", "input_cost_per_token": 1e-06},
    "dall-e": {"litellm_provider": "openai", "mode": "image_generation"},
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(prices, arguments, catch_exceptions=False)


def shown(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_list_names_each_models_price_and_its_day() -> None:
    rows = {row["model"]: row for row in shown("list", "--provider", "openai")}
    assert rows["gpt-4o"]["picodollars_per_token"]["standard.input"] == 2_500_000
    assert rows["gpt-4o"]["date"]
    assert "$2.50" in run("list", "--provider", "openai").stdout


def test_show_tells_tiers_source_and_an_example_to_the_nanodollar() -> None:
    text = run("show", "gpt-4o").stdout
    assert "1,000 tokens in and 500 out, standard: $0.0075" in text
    assert "genai-prices" in text
    assert "batch" in text


def test_figures_from_memory_are_marked() -> None:
    assert "(unverified)" in run("show", "gpt-4o", "--provider", "azure").stdout


def test_an_unknown_model_or_vendor_is_told_with_its_neighbours() -> None:
    with pytest.raises(UnknownModelError, match="gpt-4o"):
        run("show", "gpt-4oo")
    with pytest.raises(NotFoundError, match="openai"):
        run("list", "--provider", "opnai")


def test_diff_with_a_saved_list_shows_what_changed(elsewhere: Path) -> None:
    saved = elsewhere / "saved.json"
    saved.write_text(run("list", "--json").stdout)
    assert shown("diff", str(saved)) == []
    rows = json.loads(saved.read_text())
    next(r for r in rows if r["model"] == "gpt-4o")["picodollars_per_token"]["standard.input"] = 1
    saved.write_text(json.dumps(rows))
    (change,) = shown("diff", str(saved))
    assert (change["rate"], change["before"], change["after"]) == (
        "standard.input",
        "$0.000001",
        "$2.50",
    )


def test_diff_refuses_what_is_no_saved_list(elsewhere: Path) -> None:
    (elsewhere / "x.json").write_text('[{"model": 1}]')
    with pytest.raises(BadRequestError, match="prices list --json"):
        run("diff", "x.json")


def test_import_writes_exact_prices_and_reports_the_rest(elsewhere: Path) -> None:
    (elsewhere / "litellm.json").write_text(json.dumps(LITELLM))
    told = shown("import", "litellm.json", "--date", "2026-11-01")
    assert told["models"] == 1
    assert sorted(note.split(":")[0] for note in told["notes"]) == [
        "bedrock/thing",
        "dall-e",
        "house-model",
    ]
    assert shown("show", "house-model")["picodollars_per_token"] == {
        "standard.input": 150_000,
        "standard.output": 600_000,
        "standard.cached_input": 75_000,
        "standard>200000.input": 300_000,
        "standard>200000.output": 600_000,
        "standard>200000.cached_input": 75_000,
        "batch.input": 75_000,
        "batch.output": 300_000,
    }


def test_import_does_not_overwrite_unasked(elsewhere: Path) -> None:
    (elsewhere / "litellm.json").write_text(json.dumps(LITELLM))
    run("import", "litellm.json")
    with pytest.raises(ConflictError, match="--force"):
        run("import", "litellm.json")
    assert run("import", "litellm.json", "--force").exit_code == 0


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_import_refuses_what_is_no_price_map(elsewhere: Path, text: str) -> None:
    (elsewhere / "bad.json").write_text(text)
    with pytest.raises(BadRequestError):
        run("import", "bad.json")


def test_models_lists_simulated_ones_as_such_when_there_are_no_others() -> None:
    found = CliRunner().invoke(models, ["--no-detect", "--json"], catch_exceptions=False)
    rows = json.loads(found.stdout)
    assert rows
    assert all(row["is_simulated"] for row in rows)


def test_models_lists_what_the_settings_offer(elsewhere: Path) -> None:
    (elsewhere / "farthing.toml").write_text('[providers.openai]\ntype = "openai"\n')
    found = CliRunner().invoke(models, ["gpt-4o", "mini", "--no-detect"], catch_exceptions=False)
    assert "openai/gpt-4o-mini" in found.stdout
    assert "$0.15" in found.stdout
    assert "openai/gpt-4o " not in found.stdout
