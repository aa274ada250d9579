"""Model calls of workers: made by the parent's gateway, booked to the last nanodollar, given up with their line."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks._laws import balance
from farthing.cli.flow_templates import templates, write_template
from farthing.flows.isolation import flow as isolated
from tests.flows.apart import PROMPTY, Place, Ran, asking, place, rows, written

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="as tests/flows/test_isolation.py"),
    pytest.mark.slow,
]


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as made:
        yield made


def spent(ran: Ran) -> dict[str, Any]:
    told = msgspec.to_builtins(ran.run)
    return {k: told[k] for k in ("calls", "input_tokens", "output_tokens", "nanodollars")}


async def test_answers_streams_and_costs_are_those_of_one_process(
    it: Place, tmp_path: Path
) -> None:
    folder = asking(tmp_path / "f")
    words = rows("a farthing", "a florin", "a groat", "a crown", "a guinea", "a mark")
    here = await it.ran(folder, words, None, "here")
    apart = await it.ran(folder, words, "2", "apart")
    assert here.run.completed == 6
    assert apart.outputs == here.outputs
    assert spent(apart) == spent(here)
    assert spent(here)["calls"] == 18
    found = await balance(it.gateway.accounts, it.sim.invoice.rows)
    total = spent(here)["nanodollars"] + spent(apart)["nanodollars"]
    assert (found.ledger, found.invoice, found.held) == (total, total, 0)
    assert (found.missing, found.wrong) == ((), ())


@pytest.mark.parametrize(
    "stream",
    [
        "next(iter(streamed)); streamed.close(); return [whole]",  # leaves a stream early
        "next(iter(streamed)); os._exit(1)",  # takes the process with it
    ],
)
async def test_calls_that_are_given_up_are_booked_as_the_provider_bills_them(
    it: Place, tmp_path: Path, stream: str
) -> None:
    ran = await it.ran(asking(tmp_path / "f", stream), rows(*"abcd"), "2")
    assert ran.run.completed + ran.run.failed == 4
    assert ran.run.calls == 12
    found = await balance(it.gateway.accounts, it.sim.invoice.rows)
    assert found.missing == found.wrong == ()
    assert found.ledger == spent(ran)["nanodollars"] > 0
    assert found.ledger + found.held >= found.invoice


async def test_a_line_out_of_time_gives_up_its_call(
    it: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "GRACE_S", 0.2)
    waiting = "import time; time.sleep(60)"
    ran = await it.ran(asking(tmp_path / "f", waiting), rows("a"), "1", line_timeout_s=3.0)
    assert "longer than 3 s; it was at: work" in ran.errors[0]
    found = await balance(it.gateway.accounts, it.sim.invoice.rows)
    assert found.missing == found.wrong == ()


async def test_a_nodes_code_sees_the_errors_of_models_as_they_are(
    it: Place, tmp_path: Path
) -> None:
    code = """
    from pathlib import Path
    from promptflow.core import Prompty
    from farthing.core.errors import FarthingError

    @tool
    def work(x: str) -> list:
        prompty = Prompty.load(Path(__file__).parent / "tell.prompty")
        try:
            return [prompty(x=x)]
        except FarthingError as error:
            return [type(error).__name__, error.status, error.code, str(error)]
    """
    folder = written(tmp_path / "f", code)
    text = (PROMPTY % "false").replace("sim/large", "no-such-model")
    (folder / "tell.prompty").write_text(text)
    here = await it.ran(folder, rows("a"), None, "here")
    apart = await it.ran(folder, rows("a"), "1", "apart")
    assert here.errors == {}
    assert "asks for 'no-such-model'" in here.outputs[0]["y"][3]
    assert apart.outputs == here.outputs


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(templates()))
async def test_a_template_does_the_same_in_processes(it: Place, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "mine"
    write_template(folder, name)
    lines = [msgspec.json.decode(t) for t in (folder / "data.jsonl").read_text().splitlines()[:3]]
    here = await it.ran(folder, lines, None, "here")
    apart = await it.ran(folder, lines, "2", "apart")
    assert here.run.completed == 3
    assert apart.outputs == here.outputs
    assert (apart.errors, apart.run.metrics) == (here.errors, here.run.metrics)
    assert spent(apart) == spent(here)
