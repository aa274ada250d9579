"""One flow of the copy, run by Farthing: what original.py does with the original.

As a program, `python -m tests.compat.flows.ours ROOT`: for each name on a line of its input, the flow's results as a
line of JSON. So the packages that the examples were written for come first there and only there, and nothing that a
flow does to its process, ending it included, happens to the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from farthing.base.clock import Clock, SystemClock
from farthing.base.config.settings import Server, Settings, Storage
from farthing.base.storage import connect
from farthing.cli.pf_flow import validate_flow
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
from farthing.flows.models import Models
from farthing.flows.open import open_flow
from farthing.flows.remote import RemoteModels
from farthing.flows.runnable import Runnable
from farthing.gateway.client import open_gateway
from farthing.server.flowserver import flow_app
from farthing.server.listener import listen
from farthing.server.serve import serving
from tests.compat.flows import cases, results
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
            if self.case.kind != "prompty":
                made["validate"] = self._validate()
            try:
                made["serve"] = await self._serve()
            except FarthingError as error:
                made["serve"] = {"error": "refused", "trace": _trace(error)}
        return made

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The environment, the folder and the models of the case, for the block."""
        os.environ.update(cases.environment(self.endpoint.url))
        os.chdir(self.case.file.parent)
        async with RemoteModels(self.endpoint.url, None) as models:
            self.models = models
            yield

    def findings(self) -> list[str]:
        """What a check says of the flow, notes left out."""
        known = Known(connections=(*cases.AZURE, *cases.CUSTOM), why_no_model=lambda name: None)
        found = check(self.case.file, known).findings
        return [f"{each.kind}: {each.message}" for each in found if each.kind != "note"]

    def _open(self, variant: str | None, *, is_streaming: bool = False) -> Runnable:
        return open_flow(
            self.case.file,
            models=self.models,
            connections=self.connections,
            clock=SystemClock(),
            variant=variant,
            init=self.case.init or None,
            is_streaming=is_streaming,
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
            "outputs": None if failure else results.seen(value, self.root, self.folder),
            "metrics": results.seen(dict(tried.behind.metrics), self.root, self.folder),
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
            "outputs": results.seen(outputs, self.root, self.folder),
            "metrics": results.seen(dict(run.metrics), self.root, self.folder),
            "completed": run.completed,
            "failed": run.failed,
            "error": None if run.status == "completed" else "refused",
        }
        traces = [line.error_message for line in lines if line.status == "failed"]
        return self._told({**told, "trace": [run.error_message, traces]} if traces else told)

    def _validate(self) -> dict[str, Any]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            try:
                passed = validate_flow(self.case.file)
            except FarthingError as error:
                passed = False
                said.write(str(error))
        return {"passed": passed, "trace": said.getvalue()}

    async def _serve(self) -> dict[str, Any]:
        async def opener(path: Path, models: Models, clock: Clock) -> Runnable:
            return self._open(None, is_streaming=True)

        settings = Settings(
            server=Server(port=0, detect=False),
            storage=Storage(url=f"sqlite:///{self.folder / 'served.db'}"),
        )
        with listen(settings.server) as listener:
            async with (
                open_gateway(settings, environ={}) as gateway,
                flow_app(
                    self.case.file, listener, gateway=gateway, opener=opener, is_open=True
                ) as app,
                serving(gateway, listener, app=app) as running,
                aiohttp.ClientSession(running.url) as client,
            ):
                return await self._answers(client)

    async def _answers(self, client: aiohttp.ClientSession) -> dict[str, Any]:
        async with client.get("/health") as reply:
            told: dict[str, Any] = {"health": (await reply.json())["status"]}
        async with client.get("/swagger.json") as reply:
            told["swagger"] = results.seen(await reply.json(), self.root, self.case.file.parent)
        self.endpoint.asked.clear()
        accepted = {"accept": "application/json"}
        async with client.post("/score", json=self.case.served, headers=accepted) as reply:
            told["status"] = reply.status
            text = await reply.text()
            told["answer"] = json.loads(text)
            if reply.status == 200:
                told["outputs"] = results.seen(told["answer"], self.root, self.folder)
        told = self._told(told)
        accepted = {"accept": "text/event-stream"}
        async with client.post("/score", json=self.case.served, headers=accepted) as reply:
            is_stream = reply.status == 200 and reply.content_type == "text/event-stream"
            said = results.joined(await reply.text()) if is_stream else reply.status
            told["stream"] = results.seen(said, self.root, self.folder)
        return told

    def _told(self, told: dict[str, Any]) -> dict[str, Any]:
        asked = list(self.endpoint.asked)
        return {
            **told,
            "requests": results.requests(asked, self.root),
            "asked": results.seen(asked, self.root, self.root),
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


# --- as a program ---


def main() -> None:
    """See the module's docstring."""
    warnings.simplefilter("ignore")  # of the examples' own code, which is run and not judged
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    root = Path(sys.argv[1])
    for line in sys.stdin:
        folder, environment, path = Path.cwd(), dict(os.environ), list(sys.path)
        with tempfile.TemporaryDirectory() as own, Endpoint() as endpoint:
            ours = Ours(root, line.strip(), endpoint, Path(own))
            made = asyncio.run(ours.results())
            made["findings"] = ours.findings()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = path
        told.write(json.dumps(made, default=str) + "\n")
        told.flush()


if __name__ == "__main__":
    main()
