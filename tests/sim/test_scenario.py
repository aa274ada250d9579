"""Scenario files and the command that serves them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from farthing.cli.sim import sim
from farthing.core.errors import ConfigError
from farthing.sim.faults import MENU
from farthing.sim.scenario import builtin, load, parse, price_of
from tests.sim.worlds import scenario

GOOD = """
name = "x"
[models.small]
price = { input = 0.15 }
source = "test"
date = "2026-11-24"
[regions.here.deployments.small]
model = "small"
quota = { tokens_per_minute = 1000 }
"""


def test_the_builtin_scenarios_have_three_regions_and_state_their_prices() -> None:
    assert set(builtin()) >= {"default", "demo"}
    for name in builtin():
        made = load(name)
        assert len(made.regions) == 3
        assert all("simulated" in price_of(model).source for model in made.models.values())


def test_prices_are_exact_picodollars() -> None:
    assert price_of(parse(GOOD).models["small"]).standard.input == 150_000


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('model = "small"', 'model = "smal"', "Did you mean 'small'?"),
        ("tokens_per_minute", "tokens_per_minut", "Did you mean 'tokens_per_minute'"),
        ("quota = {", 'flavour = "x"\nquota = {', "flavour"),
        ("input = 0.15", "input = 'cheap'", "not an exact price"),
        ("quota = { tokens_per_minute = 1000 }", "", "needs either `quota` or `provisioned`"),
        ("[models.small]", "[models.small", "no TOML"),
    ],
)
def test_a_mistake_is_told_with_the_nearest_name(old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(old, new))
    assert said in str(caught.value)


def test_an_unknown_fault_in_a_schedule_is_told_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'silence'"):
        scenario(region='faults = [{ name = "silense" }]')


def test_a_missing_file_names_the_builtin_scenarios(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="default, demo"):
        load(tmp_path / "none.toml")


def test_the_command_lists_every_fault_with_what_is_billed() -> None:
    shown = json.loads(CliRunner().invoke(sim, ["faults", "--json"]).output)
    assert set(shown) == set(MENU)
    assert shown["silence"]["billed"] == "cut"


def test_the_command_checks_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(GOOD)
    result = CliRunner().invoke(sim, ["check", str(path)])
    assert result.exit_code == 0 and "'x' is valid (1 region)" in result.output


def test_the_command_serves_until_interrupted_and_stops_cleanly() -> None:
    started = subprocess.Popen(
        [sys.executable, "-c", "from farthing.cli.main import main; main()", "sim", "up", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert started.stdout is not None
    shown = json.loads(started.stdout.readline())
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=20)
    assert set(shown["regions"]) == {"eastus", "westeurope", "global"}
    assert started.returncode == 0 and errors == b""
