"""Runs an experiment: each node when those it refers to are over, flows as runs, commands as programs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from farthing.base.clock import SystemClock
from farthing.cli.flow_models import flow_models, image_fetcher
from farthing.cli.flow_run import Done, Order, Shown, open_runs, run_order
from farthing.cli.flow_test import Trial
from farthing.cli.output import note
from farthing.core.errors import (
    ConflictError,
    FlowError,
    FlowFormatError,
    NotFoundError,
    StorageLockedError,
)
from farthing.flows.batch import runfolder
from farthing.flows.batch.batch import Batch, default_name
from farthing.flows.batch.records import Definition
from farthing.flows.experiment import command, record
from farthing.flows.experiment.chat import ChatGroup
from farthing.flows.experiment.file import Experiment, Node, load, reference_of
from farthing.flows.experiment.record import NodeRun, Record, Status, Store
from farthing.flows.graph import wrong
from farthing.flows.jobs import opened, project_connections
from farthing.flows.open import environment_of


async def start(store: Store, name: str, given: Mapping[str, str], *, quiet: bool) -> Record:
    """Run what has not been run yet, to the end. given: values of inputs and files of data.

    A node that was completed and is as it was is not run again; a run that was stopped goes on. Raises
    NotFoundError, ConflictError: it is running; FlowFormatError, and what a node fails with.
    """
    store.read(name)  # a lock of nothing would make its folder
    lock = store.lock(name)
    try:
        lock.acquire()
    except StorageLockedError:
        raise ConflictError(
            f"The experiment '{name}' is running.",
            hint=f"Wait, or end it: farthing pf experiment stop --name {name}.",
        ) from None
    try:
        kept = store.read(name)
        told = {**kept.given, **given}
        experiment = load(Path(kept.template)).given(told)
        return await _Session(store, kept, experiment, told, quiet=quiet).run()
    finally:
        lock.release(remove=True)


class _Session:
    """One go at an experiment."""

    def __init__(
        self,
        store: Store,
        kept: Record,
        experiment: Experiment,
        told: dict[str, str],
        *,
        quiet: bool,
    ) -> None:
        self._store = store
        self._experiment = experiment
        self._quiet = quiet
        self._record = msgspec.structs.replace(
            kept, given=told, last_start_time=store.now(), last_end_time=None
        )

    async def run(self) -> Record:
        self._keep("running")
        try:
            for number, node in enumerate(self._experiment.nodes, 1):
                await self._node(node, f"{number}/{len(self._experiment.nodes)}")
        except BaseException as error:
            self._keep("cancelled" if isinstance(error, asyncio.CancelledError) else "failed")
            name = self._record.name
            note(f"The experiment '{name}' can go on: farthing pf experiment start --name {name}")
            raise
        return self._keep("completed")

    def _keep(self, status: Status, nodes: Mapping[str, NodeRun] | None = None) -> Record:
        ended = None if status == "running" else self._store.now()
        self._record = msgspec.structs.replace(
            self._record,
            status=status,
            nodes={**self._record.nodes, **(nodes or {})},
            last_end_time=ended,
        )
        self._store.write(self._record)
        return self._record

    async def _node(self, node: Node, which: str) -> None:
        done = self._record.nodes
        digest = await asyncio.to_thread(record.digest, node, self._experiment, done)
        files = await asyncio.to_thread(record.files_digest, node)
        earlier = done.get(node.name)
        is_same = earlier is not None and (earlier.digest, earlier.files) == (digest, files)
        if is_same and earlier is not None and earlier.status == "completed":
            self._say(f"{which} {node.name}: is there already")
            return
        self._say(f"{which} {node.name}: {node.kind}")
        is_flow = node.kind != "command"
        made = default_name(f"{self._record.name}_{node.name}", node.variant, SystemClock())
        begun = NodeRun(
            status="running", made=made, digest=digest, files=files, run=made if is_flow else None
        )
        is_begun = is_flow and is_same and earlier is not None and await _is_there(earlier.made)
        if is_begun and earlier is not None:
            begun = msgspec.structs.replace(earlier, status="running")
        self._keep("running", {node.name: begun})
        try:
            if is_flow:
                await self._run_flow(node, begun, goes_on=is_begun)
            else:
                await self._run_command(node, begun)
        except BaseException as error:
            is_stopped = isinstance(error, asyncio.CancelledError)
            self._end(node, "cancelled" if is_stopped else "failed")
            raise
        self._end(node, "completed")

    def _end(self, node: Node, status: Status) -> None:
        # A command may write into its own folder; what it left there is what it must find again.
        files = record.files_digest(node)
        last = self._record.nodes[node.name]
        ended = msgspec.structs.replace(last, status=status, files=files)
        self._keep("running", {node.name: ended})

    def _say(self, text: str) -> None:
        if not self._quiet:
            note(text)

    # --- flows ---

    async def _run_flow(self, node: Node, run: NodeRun, *, goes_on: bool) -> None:
        trial = Trial(path=node.path, init=node.init, environment=node.environment)
        if node.roles:
            done = await self._converse(node, run, goes_on=goes_on)
        elif goes_on:
            definition = Definition(flow=str(node.path), resume_from=run.made)
            order = Order(trial=trial, definition=definition, in_place=True)
            done = await run_order(order, quiet=self._quiet)
        else:
            order = Order(trial=trial, definition=self._definition(node), name=run.made)
            done = await run_order(order, quiet=self._quiet)
        if done.run.status != "completed":
            raise FlowError(
                f"The run '{run.made}' of the node '{node.name}' is {done.run.status}.",
                hint=done.run.error_message or f"farthing pf run show --name {run.made}",
                node=node.name,
            )
        if done.run.failed:
            failed = f"{done.run.failed:,} lines failed"
            self._say(f"  {failed}: farthing pf run show-details -n {run.made}")

    async def _converse(self, node: Node, run: NodeRun, *, goes_on: bool) -> Done:
        """A run of conversations: each line one, its roles' flows open side by side."""
        clock = SystemClock()
        history = {each.name: each.history for each in node.roles if each.history is not None}
        async with AsyncExitStack() as stack:
            models = await stack.enter_async_context(flow_models(None))
            runs = await stack.enter_async_context(open_runs())
            roles = {
                each.name: await stack.enter_async_context(
                    opened(
                        each.path,
                        models=models,
                        connections=project_connections(),
                        clock=clock,
                        init=each.init,
                        environment=node.environment,
                        images=image_fetcher(None),
                    )
                )
                for each in node.roles
            }
            group = ChatGroup(
                node.name,
                node.path,
                roles,
                history,
                max_turns=node.max_turns,
                stop_signal=node.stop_signal,
            )
            batch = Batch(group, runs, clock, on_progress=None if self._quiet else Shown())
            if goes_on:
                return Done(run=await batch.resume(run.made))
            return Done(run=await batch.start(run.made, self._definition(node)))

    def _definition(self, node: Node) -> Definition:
        """The run that a node is: its references as those of a run. Raises FlowFormatError."""
        data: dict[str, Path] = {}
        runs: dict[str, str] = {}
        mapping: dict[str, Any] = {}
        for name, value in node.inputs.items():
            found = reference_of(value)
            if found is None:
                mapping[name] = value
            elif found.source == "inputs":
                mapping[name] = self._experiment.inputs[found.name]
            elif found.source == "data":
                data[f"data.{found.name}"] = self._experiment.data[found.name]
                mapping[name] = f"${{data.{found.column}}}"
            elif self._record.nodes[found.source].run is None:
                path = self._record.nodes[found.source].outputs[found.name]
                data[f"{found.source}.outputs.{found.name}"] = Path(path)
                mapping[name] = f"${{data.{found.column}}}"
            else:
                runs[found.source] = self._record.nodes[found.source].run or ""
                column = ".".join(filter(None, (found.name, found.column)))
                mapping[name] = f"${{run.{found.part}.{column}}}"
        if not data and not runs:
            data = dict(self._experiment.data)
        if len(data) > 1 or len(runs) > 1:
            listed = ", ".join([*data] if len(data) > 1 else [*runs])
            raise _wrong(
                node, f"takes lines from {listed}: one file of data and one run is the most."
            )
        if not data and not runs:
            raise _wrong(node, "has no lines: its inputs refer to no data and to no node.")
        return Definition(
            flow=str(node.path),
            data=str(next(iter(data.values()))) if data else None,
            run=next(iter(runs.values())) if runs else None,
            column_mapping=mapping,
            variant=node.variant,
            connections={key: dict(value) for key, value in node.connections.items()},
            display_name=node.display_name or node.name,
            properties={"experiment": self._record.name},
            environment=tuple(node.environment),
            init=tuple(node.init),
        )

    # --- commands ---

    async def _run_command(self, node: Node, run: NodeRun) -> None:
        folder = self._store.folder(self._record.name) / node.name / run.made
        folder.mkdir(parents=True)
        outputs = {}
        for name, path in node.outputs.items():
            outputs[name] = path or folder / name
            if path is None:
                outputs[name].mkdir()
        inputs = {name: await self._input(node, value) for name, value in node.inputs.items()}
        words = command.words_of(node, inputs, outputs)
        environment = environment_of(node.environment, project_connections(), self._experiment.path)
        told = {name: str(path) for name, path in outputs.items()}
        self._keep("running", {node.name: msgspec.structs.replace(run, outputs=told)})
        await command.run(node, words, folder / "log.txt", environment)

    async def _input(self, node: Node, value: Any) -> Any:
        """What a command is given for an input: a value, or a path. Raises FlowFormatError."""
        found = reference_of(value)
        if found is None:
            return value
        if found.source == "inputs":
            return self._experiment.inputs[found.name]
        if found.source == "data":
            if found.column:
                raise _wrong(node, f"takes {value}: a command is given files, no columns.")
            return self._experiment.data[found.name]
        done = self._record.nodes[found.source]
        if done.run is None:
            return done.outputs[found.name]
        if found.name or found.part != "outputs":
            raise _wrong(
                node, f"takes {value}: a command is given all outputs of a run, as a folder."
            )
        return await _exported(done.run, self._store.folder(self._record.name) / found.source)


async def _is_there(name: str) -> bool:
    async with open_runs() as runs:
        try:
            await runs.find(name)
        except NotFoundError:
            return False
        return True


async def _exported(run: str, folder: Path) -> Path:
    """The folder with a run's outputs.jsonl, as prompt flow has it, made if it is not there."""
    made = folder / run
    if not made.exists():
        new = folder / f".{run}.new"
        shutil.rmtree(new, ignore_errors=True)
        async with open_runs() as runs:
            await runfolder.export(runs, run, new)
        new.replace(made)
    return made


def _wrong(node: Node, what: str) -> FlowFormatError:
    return wrong(
        f"The node '{node.name}' {what}",
        hint="Write one node that brings them together first, or bind its inputs to ${data.name.column}.",
        node=node.name,
        field="inputs",
        span=node.span,
    )
