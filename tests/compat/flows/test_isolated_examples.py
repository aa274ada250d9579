"""A batch of each of prompt flow's examples gives the same in processes as in one: outputs, metrics, requests.

What is needed, and what its environment is, says `test_promptflow_examples.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import SystemClock
from farthing.base.config.settings import Storage
from farthing.base.storage import connect
from farthing.core.errors import FarthingError
from farthing.flows.batch.batch import Batch
from farthing.flows.batch.records import Definition
from farthing.flows.batch.runs import Runs
from farthing.flows.isolation.settings import isolation_of
from farthing.flows.jobs import opened
from farthing.flows.remote import RemoteModels
from tests.compat.flows import cases, results, test_promptflow_examples
from tests.compat.flows.endpoint import Endpoint
from tests.compat.flows.here import NAMES, clean, pytestmark, root
from tests.compat.flows.ours import connections

EXPECTED = test_promptflow_examples.EXPECTED["flows"]
__all__ = ["clean", "pytestmark", "root"]


class Both:
    """Batches of one example, in this process and in others."""

    def __init__(self, root: Path, name: str, endpoint: Endpoint, folder: Path) -> None:
        self._root, self._endpoint, self._folder = root, endpoint, folder
        self._case = cases.case(root, name)
        os.environ.update(cases.environment(endpoint.url))
        os.chdir(self._case.file.parent)
        self._data = folder / "data.jsonl"
        self._data.write_text("".join(f"{json.dumps(row)}\n" for row in self._case.rows))

    async def batch(self, isolate: str | None) -> dict[str, Any]:
        """What comes of the batch."""
        self._endpoint.asked.clear()
        try:
            told = await self._ran(isolate)
        except FarthingError as error:
            told = {"refused": str(error)}
        asked = list(self._endpoint.asked)
        return {**told, "requests": results.requests(asked, self._root)}

    async def _ran(self, isolate: str | None) -> dict[str, Any]:
        database = connect(Storage(url=f"sqlite:///{self._folder / f'{isolate}.db'}"))
        async with (
            RemoteModels(self._endpoint.url, None) as models,
            Runs(database, SystemClock()) as runs,
            opened(
                self._case.file,
                models=models,
                connections=connections_of(self._endpoint),
                clock=SystemClock(),
                init=self._case.init or None,
                isolation=isolation_of(isolate),
            ) as flow,
        ):
            definition = Definition(
                flow=str(self._case.file),
                data=str(self._data),
                column_mapping=dict(self._case.mapping),
            )
            run = await Batch(flow, runs, SystemClock(), in_flight=2).start("r", definition)
            lines = await runs.lines_after(run.id)
        kept = [(e.number, e.status, e.inputs, e.outputs, e.error_message) for e in lines]
        return {
            "lines": results.seen(kept, self._root, self._folder),
            "metrics": results.seen(dict(run.metrics), self._root, self._folder),
            "error": run.error_message,
        }


def connections_of(endpoint: Endpoint) -> Any:
    from farthing.flows.connections.connections import Connections

    return Connections(given=connections(endpoint.url))


@pytest.fixture
def both(request: pytest.FixtureRequest, root: Path, tmp_path: Path, clean: None) -> Iterator[Both]:
    with Endpoint() as endpoint:
        yield Both(root, request.param, endpoint, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("both", NAMES or ["none"], indirect=True)
async def test_an_example_does_the_same_in_processes(
    both: Both, request: pytest.FixtureRequest
) -> None:
    here, apart = await both.batch(None), await both.batch("2")
    expected = EXPECTED.get(request.node.callspec.params["both"], {}).get("batch", {})
    for part in ("outputs", "requests"):
        if expected.get(part) == "changing":  # from run to run, in the original too
            for each in (here, apart):
                each.pop("lines" if part == "outputs" else part, None)
    assert apart == here
