"""The templates of `farthing flow new`: each loads, is found to run, and runs in a batch on simulated models."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from farthing.base.clock import SystemClock
from farthing.base.config.settings import Provider, Server, Settings, Storage
from farthing.cli.demo_flow import CHEAP, RICH, flow_chapter
from farthing.cli.flow import flow as commands
from farthing.cli.flow_templates import templates, write_template
from farthing.core.calls import Caller
from farthing.core.errors import FlowError
from farthing.core.money import format_dollars
from farthing.flows.batch.batch import Batch
from farthing.flows.batch.records import Definition
from farthing.flows.batch.runs import Runs
from farthing.flows.check.check import check, find_flows
from farthing.flows.check.findings import Known
from farthing.flows.connections.connections import Connections
from farthing.flows.models import GatewayModels
from farthing.flows.open import open_flow
from farthing.gateway.client import open_gateway
from tests.flows.batches import open_runs

NAMES = ("dsl", "hub-chain", "lesson", "summarise-then-ask", "triage")
LINES = 3


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]


@asynccontextmanager
async def _batches(folder: Path, tmp_path: Path) -> AsyncIterator[tuple[Batch, Runs]]:
    """Batches of the flow on the simulator, and the store of their runs."""
    settings = Settings(
        server=Server(detect=False),
        storage=Storage(url=f"sqlite:{tmp_path / 'farthing.db'}"),
        providers={"sim": Provider(type="sim", scenario="demo")},
    )
    clock = SystemClock()
    async with (
        open_gateway(settings, environ={}) as gateway,
        open_runs(settings.storage.url, clock) as runs,
    ):
        flow = open_flow(
            folder,
            models=GatewayModels(gateway, Caller(key_id="local", name="test", is_local=True)),
            connections=Connections(tmp_path, environ={}),
            clock=clock,
        )
        yield Batch(flow, runs, clock), runs
        await flow.aclose()


def test_the_templates_are_these_and_say_what_they_do() -> None:
    assert tuple(templates()) == NAMES
    assert all(description.endswith(".") for description in templates().values())


@pytest.mark.parametrize("name", NAMES)
def test_a_template_has_twenty_examples_and_nothing_to_complain_of(
    name: str, tmp_path: Path
) -> None:
    made = write_template(tmp_path / "mine", name)
    assert len(_rows(tmp_path / "mine")) >= 20
    assert tmp_path / "mine" / "README.md" in made
    known = Known(connections=frozenset(), why_no_model=lambda _: None)
    findings = [check(file, known).findings for file in find_flows(tmp_path / "mine")]
    assert not list(itertools.chain.from_iterable(findings))


@pytest.mark.parametrize("name", NAMES)
async def test_a_template_runs_in_a_batch_and_a_line_costs_what_its_readme_says(
    name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    write_template(folder, name)
    rows, definition = _rows(folder), Definition(flow=str(folder))
    async with _batches(folder, tmp_path) as (batch, runs):
        one = await batch.start("one", definition, rows=rows[:1])
        run = await batch.start("some", definition, rows=rows[:LINES])
        lines = await runs.lines_after(run.id, status="completed", limit=LINES)
    assert format_dollars(one.nanodollars) in (folder / "README.md").read_text()
    assert (run.status, run.completed, run.failed) == ("completed", LINES, 0)
    assert len(lines) == LINES
    assert run.metrics
    assert run.calls >= 2 * LINES


def test_a_copy_asks_the_models_it_is_told_and_overwrites_nothing(tmp_path: Path) -> None:
    write_template(tmp_path / "mine", "summarise-then-ask", cheap="sim/large", rich="gpt-4.1")
    assert "deployment_name: gpt-4.1" in (tmp_path / "mine" / "flow.dag.yaml").read_text()
    assert "deployment: sim/large" in (tmp_path / "mine" / "summarise.prompty").read_text()
    with pytest.raises(FlowError, match="is there already"):
        write_template(tmp_path / "mine", "triage")
    with pytest.raises(FlowError, match="triage"):
        write_template(tmp_path / "other", "triag")


def test_the_command_lists_and_copies_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "farthing.toml").write_text(
        '[server]\ndetect = false\n[providers.sim]\ntype = "sim"\nscenario = "demo"\n'
    )
    listed = CliRunner().invoke(commands, ["new", "--list"])
    assert all(name in listed.stdout for name in NAMES)
    made = CliRunner().invoke(commands, ["new", "mine", "--template", "triage", "--json"])
    assert json.loads(made.stdout)["template"] == "triage"
    text = (tmp_path / "mine" / "flow.dag.yaml").read_text()
    assert "sim/small" in text
    assert "sim/large" in text


# --- what the templates' own code makes of real answers ---


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Loads a template's module that imports nothing but the standard library and its neighbours."""
    before = set(sys.modules)

    def module(template: str, name: str) -> ModuleType:
        folder = tmp_path / template
        write_template(folder, template)
        spec = importlib.util.spec_from_file_location(f"template_{name}", folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    yield module
    for name in set(sys.modules) - before:
        if name.startswith("template_"):
            del sys.modules[name]


def test_the_language_accepts_what_its_grammar_allows(load: Any) -> None:
    judged = load("dsl", "language").judged
    program = (
        'rule "Heavy"\nwhen order.weight > 30.5 and not (order.country = "CH" or order.gift = yes)\n'
        'then set shipping.carrier to "freight" and send "Heavy" to "warehouse" and hold\nend\n'
        'rule "No"\nwhen customer.is_new = no\nthen refuse "Please call us"\nend'
    )
    assert judged(f"Here it is:\n```\n{program}\n```\n") == {
        "program": program,
        "is_valid": True,
        "problem": "",
    }


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("", 'Line 1, column 1: the program ends here, "rule" was expected.'),
        ('rule "a"\nwhen order.color = 1\nthen hold\nend', "Line 2, column 6: 'order.color'"),
        ('rule "a"\nwhen order.total > \nthen hold\nend', "Line 3, column 1: 'then'"),
        ('rule "a" when order.total > 5 then hold', "column 40: the program ends here"),
        ('rule "a" when order.total ? 5', "column 27: '?'"),
        ('rule "a" when (order.total > 5 then hold end', "column 32: 'then' stands here, \")\""),
        ('rule "a" when order.total > 1e3 then hold end', "column 29: '1'"),
    ],
)
def test_the_language_says_where_a_program_breaks_it(load: Any, program: str, problem: str) -> None:
    found = load("dsl", "language").judged(program)
    assert not found["is_valid"]
    assert problem in found["problem"]


def test_an_object_is_found_in_an_answer_with_text_around_it(load: Any) -> None:
    read = load("lesson", "answers").read_object
    assert read('Sure {not this}:\n```json\n{"a": {"b": 1}}\n```') == {"a": {"b": 1}}
    assert read("none") == {}


# --- the demo ---


async def test_the_demo_runs_a_whole_project_and_states_its_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(
        server=Server(detect=False),
        storage=Storage(url=f"sqlite:{tmp_path / 'farthing.db'}"),
        providers={"sim": Provider(type="sim", scenario="demo")},
        aliases={CHEAP: "sim/small", RICH: "sim/large"},
    )
    async with open_gateway(settings, environ={}) as gateway:
        await flow_chapter(gateway, tmp_path, settings.storage.url)
    told = capsys.readouterr().out
    assert "20 of 20 lines completed" in told
    assert "60 model calls" in told
    assert "$0.0099248" in told
