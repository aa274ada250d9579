"""Runs the cells of a matrix over the same lines, and an evaluation over each; goes on where it was stopped."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from farthing.base.clock import Clock
from farthing.core.errors import ConflictError
from farthing.core.private import PrivateStruct
from farthing.flows.batch import data
from farthing.flows.batch.batch import IN_FLIGHT, Batch, Progress
from farthing.flows.batch.mapping import DATA, RUN_INPUTS, RUN_OUTPUTS, ColumnMapping
from farthing.flows.batch.records import Definition, Run
from farthing.flows.batch.runfolder import file_digests, is_of_the_flow
from farthing.flows.batch.runs import Runs
from farthing.flows.connections.connections import Connections
from farthing.flows.dag.altered import overridden
from farthing.flows.engine.engine import LINE_TIMEOUT_S
from farthing.flows.graph import Flow
from farthing.flows.models import Models
from farthing.flows.open import open_flow
from farthing.flows.runnable import Runnable
from farthing.flows.variants.choices import variant_text
from farthing.flows.variants.matrix import Cell, Matrix
from farthing.flows.variants.sharing import Metered, Sharing

if TYPE_CHECKING:
    from farthing.flows.prompts.fetch import ImageFetcher

#: What must be as it was when a comparison goes on; otherwise its cells would not be comparable.
_SAME = {
    "flow": "flow",
    "data": "file of data",
    "run": "run to take rows from",
    "column_mapping": "column mapping",
    "connections": "connections",
    "limit": "limit of lines",
    "variant": "set of nodes with variants, or defaults of them",
}


class Evaluation(PrivateStruct, frozen=True, kw_only=True):
    """A flow that judges the lines of each cell. column_mapping: `${run.outputs.…}`, `${data.…}`."""

    flow: Path
    column_mapping: Mapping[str, Any] = {}


class Comparison(PrivateStruct, frozen=True, kw_only=True):
    """What is to be compared. name: of the whole; its runs are `<name>:<label>`.

    graph: the flow, no variants chosen. definition: of each run, but for its variant. rows: in place of
    `definition.data`. environment: variables that count before the flow's own.
    """

    name: str
    graph: Flow
    matrix: Matrix
    definition: Definition
    rows: tuple[Mapping[str, Any], ...] | None = None
    environment: Mapping[str, str] = {}
    evaluation: Evaluation | None = None

    def run_name(self, cell: Cell) -> str:
        """The name of a cell's run."""
        return f"{self.name}:{cell.label}"


class Watch:
    """Hears how a comparison goes. Everything is told on the event loop; what is raised here ends it."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def begin(self, cell: Cell, kept: Run | None) -> None:
        """A cell begins. kept: its run, if it was begun before."""

    def progress(self, progress: Progress) -> None:
        """Lines of the cell were kept."""

    def evaluate(self, cell: Cell) -> None:
        """The lines of a cell are judged."""

    def end(self, cell: Cell, run: Run) -> None:
        """The cell, and its evaluation, is over. Not told of one that was stopped."""


class Comparer:
    """Runs comparisons, one at a time. in_flight: lines at once; cells run one behind the other.

    What a cell does that another has done for the same line is taken from there: see `sharing`.
    """

    def __init__(
        self,
        runs: Runs,
        models: Models,
        connections: Connections,
        clock: Clock,
        *,
        in_flight: int = IN_FLIGHT,
        line_timeout_s: float = LINE_TIMEOUT_S,
        images: ImageFetcher | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._runs = runs
        self._models = Metered(models)
        self._connections = connections
        self._clock = clock
        self._in_flight = in_flight
        self._line_timeout_s = line_timeout_s
        self._images = images
        self._watch = watch or Watch()

    async def kept(self, comparison: Comparison) -> dict[str, Run]:
        """By label the runs that an earlier call of this name has left. Raises ConflictError: of something else."""
        source, found = comparison.definition.data, {}
        before = {run.name: run for run in await self._runs.of_matrix(comparison.name)}
        digest = await asyncio.to_thread(data.digest, Path(source)) if source and before else None
        for cell in comparison.matrix.cells:
            run = before.get(comparison.run_name(cell))
            if run is None:
                continue
            _same(run, _definition(comparison, cell), comparison.name)
            if digest is not None and run.definition.data_digest != digest:
                raise ConflictError(
                    f"The data at {source} is not what it was when the comparison '{comparison.name}' began.",
                    hint="Put it back as it was, or choose another --name.",
                )
            found[cell.label] = run
        return found

    async def run(self, comparison: Comparison) -> None:
        """Run what is not over yet; call it again with the same name after any end.

        Failed lines do not stop it, and are run again by the next call. Raises, before anything is paid for:
        FlowFormatError and ConnectionMissingError of any variant, ConflictError (the name is of another
        comparison), FlowInputError (no data, a mapping that fits nothing). Raises while it runs what
        `Batch.start` raises.
        """
        kept = await self.kept(comparison)
        await self._try_to_open(comparison)
        folder = comparison.graph.folder
        digests = await asyncio.to_thread(file_digests, folder)
        self._tell_changes(kept.values(), digests, comparison.name)
        sharing = Sharing(
            self._runs,
            self._clock,
            name=comparison.name,
            matrix=comparison.matrix,
            code=_code_digest(digests),
        )
        async with self._judge(comparison) as judge:
            for cell in comparison.matrix.cells:
                self._watch.begin(cell, kept.get(cell.label))
                run = await self._cell(comparison, cell, kept.get(cell.label), sharing)
                if judge is not None and run.status == "completed" and run.completed:
                    self._watch.evaluate(cell)
                    await self._evaluate(comparison, judge, run)
                self._watch.end(cell, run)

    # --- a cell ---

    async def _cell(
        self, comparison: Comparison, cell: Cell, kept: Run | None, sharing: Sharing
    ) -> Run:
        if kept is not None and kept.status == "completed" and not kept.failed:
            return kept
        flow = self._open(comparison, cell, sharing)
        try:
            batch = Batch(
                sharing.opened(flow, cell),
                self._runs,
                self._clock,
                in_flight=self._in_flight,
                on_progress=self._watch.progress,
            )
            name, rows = comparison.run_name(cell), comparison.rows
            if kept is None:
                return await batch.start(name, _definition(comparison, cell), rows=rows)
            return await batch.resume(name, rows=rows)
        finally:
            await flow.aclose()

    def _open(self, comparison: Comparison, cell: Cell, sharing: Sharing | None) -> Runnable:
        flow = comparison.graph.with_variants(cell.choices)
        flow = overridden(flow, comparison.definition.connections)
        return open_flow(
            flow,
            models=self._models,
            connections=self._connections,
            clock=self._clock,
            environment=comparison.environment,
            line_timeout_s=self._line_timeout_s,
            images=self._images,
            around=None if sharing is None else sharing.around(flow, cell),
        )

    async def _try_to_open(self, comparison: Comparison) -> None:
        """Open each variant once: a mistake in the last of them is told before the first is paid for."""
        opened: set[tuple[str, str]] = set()
        for cell in comparison.matrix.cells:
            if not opened.issuperset(cell.choices.items()):
                opened.update(cell.choices.items())
                await self._open(comparison, cell, None).aclose()

    def _tell_changes(self, kept: Iterable[Run], digests: Mapping[str, str], name: str) -> None:
        changed = sorted(
            {
                file
                for run in kept
                for file in run.definition.files.keys() | digests.keys()
                if run.definition.files.get(file) != digests.get(file) and is_of_the_flow(file)
            }
        )
        if changed:
            self._watch.note(
                f"Since '{name}' began, {', '.join(changed[:5])} changed: lines that are done are of what was "
                "there before. To run all anew, choose another --name."
            )

    # --- its evaluation ---

    @asynccontextmanager
    async def _judge(self, comparison: Comparison) -> AsyncIterator[Runnable | None]:
        if comparison.evaluation is None:
            yield None
            return
        flow = open_flow(
            comparison.evaluation.flow,
            models=self._models,
            connections=self._connections,
            clock=self._clock,
            line_timeout_s=self._line_timeout_s,
            images=self._images,
        )
        try:
            await asyncio.to_thread(_check_mapping, comparison, comparison.evaluation, flow.flow)
            yield flow
        finally:
            await flow.aclose()

    async def _evaluate(self, comparison: Comparison, judge: Runnable, run: Run) -> None:
        assert comparison.evaluation is not None, "there is a judge"
        definition = Definition(
            flow=str(comparison.evaluation.flow.resolve()),
            data=comparison.definition.data,
            run=run.name,
            column_mapping=dict(comparison.evaluation.column_mapping),
            matrix=comparison.name,
        )
        name = f"{run.name}:{judge.flow.name}"
        batch = Batch(judge, self._runs, self._clock, in_flight=self._in_flight)
        before = [each for each in await self._runs.of_matrix(comparison.name) if each.name == name]
        if not before:
            await batch.start(name, definition, rows=comparison.rows)
            return
        _same(before[0], definition, comparison.name)
        is_whole = before[0].status == "completed" and before[0].completed == run.completed
        if not is_whole:
            await batch.resume(name, rows=comparison.rows)


def _check_mapping(comparison: Comparison, evaluation: Evaluation, judge: Flow) -> None:
    """Whether the judge's inputs can be found, as far as that is known before anything has run.

    Raises FlowInputError.
    """
    source = comparison.definition.data
    rows = comparison.rows
    if rows is None:
        rows = tuple(row.values for row in itertools.islice(data.read(Path(source or "")), 1))
    row = dict(rows[0]) if rows else {}
    inputs = {each.name: None for each in comparison.graph.inputs}
    outputs = {each.name: None for each in comparison.graph.outputs}
    sources = {DATA: row, RUN_INPUTS: {**inputs, **row}, RUN_OUTPUTS: outputs}
    mapping = ColumnMapping(evaluation.column_mapping, judge.inputs, sources=tuple(sources))
    mapping.apply(sources, where=f" of the evaluation '{judge.name}'")


def count_lines(source: Path, limit: int | None) -> int:
    """How many lines the data has, or the first so many. Reads it. Raises FlowInputError."""
    count = 0
    for _ in data.read(source):
        if limit is not None and count >= limit:
            break
        count += 1
    return count


def _definition(comparison: Comparison, cell: Cell) -> Definition:
    return msgspec.structs.replace(
        comparison.definition, variant=variant_text(cell.choices), matrix=comparison.name
    )


def _same(run: Run, wanted: Definition, name: str) -> None:
    """Refuse to mix lines of two comparisons. Raises ConflictError."""
    for field, what in _SAME.items():
        if getattr(run.definition, field) != getattr(wanted, field):
            raise ConflictError(
                f"The comparison '{name}' was begun with another {what}, as its run '{run.name}' shows.",
                hint="Say it as it was, or choose another --name.",
            )


def _code_digest(digests: Mapping[str, str]) -> bytes:
    """What the flow's modules hold: a node may import any of them. Templates count with their nodes."""
    digest = blake2b(digest_size=16)
    for file, content in sorted(digests.items()):
        if file.endswith(".py"):
            digest.update(f"{file}\0{content}\n".encode())
    return digest.digest()
