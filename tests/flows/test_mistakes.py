"""Each mistake in a flow project: its error says which file, line, node and field, and what to do next."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farthing.base.clock import SystemClock
from farthing.core.errors import FlowError, FlowFormatError
from farthing.flows.connections.connections import (
    AzureOpenAIConnection,
    CognitiveSearchConnection,
    Connections,
    OpenAIConnection,
)
from farthing.flows.models import GatewayModels, Models
from farthing.flows.open import open_flow
from tests.flows.broken_flows import PROJECT, TABLE, Slip, broken
from tests.gateway.world import LOCAL, world
from tests.mistakes import PAGE, is_on_page, masked, row

_GIVEN = {
    "main": AzureOpenAIConnection("https://main.example", "k"),
    "other": OpenAIConnection("k"),
    "search": CognitiveSearchConnection("https://search.example", "k"),
}


@pytest.fixture
async def models(tmp_path: Path) -> AsyncIterator[Models]:
    (tmp_path / "data").mkdir()
    async with world(tmp_path / "data", {"a": []}) as it:
        yield GatewayModels(it.gateway, LOCAL)


@pytest.fixture(autouse=True)
def _variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_BROKEN_FLOW", "before")  # put back when the test is over


async def told(slip: Slip, folder: Path, models: Models) -> FlowError:
    """The error that the mistake leads to."""
    connections = Connections(folder, environ={}, given=_GIVEN)
    try:
        flow = open_flow(
            broken(folder, slip),
            models=models,
            connections=connections,
            clock=SystemClock(),
            variant=slip.variant,
            init=slip.init,
        )
    except FlowError as error:
        return error
    line = await flow.run(slip.inputs or {"question": "Why"})
    await flow.aclose()
    assert isinstance(line.error, FlowError), "nothing was told"
    return line.error


@pytest.mark.parametrize("slip", TABLE, ids=lambda slip: slip.did)
async def test_a_mistake_is_told_with_its_place_and_what_to_do_next(
    slip: Slip, tmp_path: Path, models: Models
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    error = await told(slip, folder, models)
    assert is_on_page(line(slip, error, folder)), "run tools/generate_mistakes.py"
    assert slip.near in (error.hint or "") and (error.hint or slip.says or slip.at), str(error)
    assert slip.says in error.message
    assert error.node == slip.node, str(error)
    if not isinstance(error, FlowFormatError):
        assert not slip.at, "a line is told by a FlowFormatError only"
        assert slip.field in (None, error.param)
        return
    assert error.field == slip.field or slip.field is None, (error.field, str(error))
    if slip.file:
        assert error.path == os.fspath(folder / slip.file), str(error)
    if slip.at:
        text = (folder / slip.file).read_text(encoding="utf-8")
        assert error.line == text.count("\n", 0, text.index(slip.at)) + 1, str(error)


async def test_the_project_without_a_mistake_opens(tmp_path: Path, models: Models) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    for path in ("graph", "flex", "chat.prompty"):
        flow = open_flow(
            broken(folder, Slip("did nothing", path=path)),
            models=models,
            connections=Connections(folder, environ={}, given=_GIVEN),
            clock=SystemClock(),
        )
        assert flow.flow.inputs[0].name == "question"
        await flow.aclose()


def test_the_table_is_long_and_names_each_mistake_once() -> None:
    assert len(TABLE) >= 80
    assert len({slip.did for slip in TABLE}) == len(TABLE)
    assert {name for slip in TABLE for name in slip.gone} <= set(PROJECT)
    assert PAGE.read_text(encoding="utf-8").count("\n| A flow's author ") == len(TABLE)


def line(slip: Slip, error: FlowError, folder: Path) -> str:
    """The mistake's line on the page."""
    return row(f"A flow's author {slip.did}", str(error.status), masked(str(error), folder))


async def lines(folder: Path) -> list[str]:
    """All lines of the page that this table writes."""
    written = []
    (folder / "data").mkdir()
    async with world(folder / "data", {"a": []}) as it:
        models = GatewayModels(it.gateway, LOCAL)
        for number, slip in enumerate(TABLE):
            here = folder / str(number)
            here.mkdir()
            written.append(line(slip, await told(slip, here, models), here))
    return written
