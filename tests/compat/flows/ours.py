"""One flow of the examples, run by Farthing: what the recorder does with the original."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from farthing.base.clock import SystemClock
from farthing.base.config.settings import Storage
from farthing.base.storage import connect
from farthing.core.errors import FarthingError
from farthing.flows.batch.batch import Batch
from farthing.flows.batch.records import Definition
from farthing.flows.batch.runs import Runs
from farthing.flows.check.check import check
from farthing.flows.check.findings import Known
from farthing.flows.connections.connections import (
    AzureOpenAIConnection,
    Connection,
    Connections,
    CustomConnection,
)
from farthing.flows.jobs import try_line
from farthing.flows.open import open_flow
from farthing.flows.remote import RemoteModels
from farthing.flows.runnable import Runnable
from tests.compat.flows import cases
from tests.compat.flows.endpoint import Endpoint


class Ours:
    """Runs a case against an endpoint. folder: for the database, outside the flows' copy."""

    def __init__(self, root: Path, name: str, endpoint: Endpoint, folder: Path) -> None:
        self.root = root
        self.case = cases.case(root, name)
        self.endpoint = endpoint
        self.folder = folder
        self.connections = Connections(given=connections(endpoint.url))

    async def results(self) -> dict[str, Any]:
        """By what was asked: outputs, metrics, error and requests."""
        async with self.running():
            made = {"single": await self.single(None), "batch": await self._batch()}
            for node, variant in self.case.variants:
                made[f"{node}.{variant}"] = await self.single(f"${{{node}.{variant}}}")
        return made

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The environment, the folder and the models of the case, for the block."""
        os.environ.update(cases.values_of(cases.ENVIRONMENT, self.endpoint.url))
        os.chdir(self.case.file.parent)
        async with RemoteModels(self.endpoint.url, None) as models:
            self.models = models
            yield

    def findings(self) -> list[str]:
        """What a check says of the flow, notes left out."""
        known = Known(connections=(*cases.AZURE, *cases.CUSTOM), why_no_model=lambda name: None)
        found = check(self.case.file, known).findings
        return [f"{each.kind}: {each.message}" for each in found if each.kind != "note"]

    def _open(self, variant: str | None) -> Runnable:
        return open_flow(
            self.case.file,
            models=self.models,
            connections=self.connections,
            clock=SystemClock(),
            variant=variant,
            init=self.case.init or None,
        )

    async def single(self, variant: str | None) -> dict[str, Any]:
        """One line, and what is behind it."""
        self.endpoint.asked.clear()
        try:
            flow = self._open(variant)
        except FarthingError as error:
            return self._told({"error": "refused", "trace": _trace(error)})
        try:
            tried = await try_line(flow, self.case.single)
            outputs = tried.line.outputs
        finally:
            await flow.aclose()
        failure = tried.line.error
        bare = tried.line.is_bare and set(outputs) == {"output"}
        value: Any = outputs["output"] if bare else outputs
        told = {
            "outputs": None if failure else cases.seen(value, self.root, self.folder),
            "metrics": cases.seen(dict(tried.behind.metrics), self.root, self.folder),
            "error": error_of(failure),
        }
        return self._told({**told, "trace": _trace(failure)} if failure else told)

    async def _batch(self) -> dict[str, Any]:
        self.endpoint.asked.clear()
        data = self.folder / "data.jsonl"
        data.write_text("".join(f"{json.dumps(row)}\n" for row in self.case.rows))
        clock = SystemClock()
        database = connect(Storage(url=f"sqlite:///{self.folder / 'runs.db'}"))
        flow = None
        try:
            flow = self._open(None)
            async with Runs(database, clock) as runs:
                definition = Definition(
                    flow=str(self.case.file), data=str(data), column_mapping=dict(self.case.mapping)
                )
                run = await Batch(flow, runs, clock).start("proof", definition)
                lines = await runs.lines_after(run.id)
        except FarthingError as error:
            return self._told({"error": "refused", "trace": _trace(error)})
        finally:
            if flow is not None:
                await flow.aclose()
        outputs = [
            {**msgspec.json.decode(line.outputs or "{}"), "line_number": line.number}
            for line in lines
            if line.status == "completed"
        ]
        told = {
            "outputs": cases.seen(outputs, self.root, self.folder),
            "metrics": cases.seen(dict(run.metrics), self.root, self.folder),
            "completed": run.completed,
            "failed": run.failed,
            "error": None if run.status == "completed" else "refused",
        }
        traces = [line.error_message for line in lines if line.status == "failed"]
        return self._told({**told, "trace": [run.error_message, traces]} if traces else told)

    def _told(self, told: dict[str, Any]) -> dict[str, Any]:
        asked = list(self.endpoint.asked)
        return {
            **told,
            "requests": cases.requests(asked, self.root),
            "asked": cases.seen(asked, self.root, self.root),
        }


def connections(url: str) -> dict[str, Connection]:
    """All connections that the examples name, all leading to the endpoint."""
    made: dict[str, Connection] = {
        name: AzureOpenAIConnection(api_base=url, api_key="key", name=name) for name in cases.AZURE
    }
    for name, (configs, secrets) in cases.CUSTOM.items():
        made[name] = CustomConnection(
            secrets=secrets, configs=cases.values_of(configs, url), name=name
        )
    return made


def error_of(error: FarthingError | None) -> str | None:
    """The class of what the user's code raised, else that it was refused."""
    if error is None:
        return None
    cause = getattr(error, "cause", "")
    # A reference that leads nowhere is no error of the user's code.
    return "refused" if cause in ("", "PathError") else cause


def _trace(error: BaseException | None) -> str:
    """What a person who looks for a difference wants to see; it is not compared."""
    words = []
    while error is not None:
        words.append(f"{type(error).__name__}: {error} {getattr(error, 'hint', '')}")
        error = error.__cause__
    return " <- ".join(words)
