"""Batches: many lines of a flow, a number of them at once, kept as they end, resumable at any moment."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from farthing.base.clock import Clock
from farthing.core.errors import ConflictError, FarthingError, FlowInputError
from farthing.flows.batch import data
from farthing.flows.batch.feed import Fed, Feed, finished, rows_in_memory
from farthing.flows.batch.keeping import Keeper, Recorder
from farthing.flows.batch.mapping import ColumnMapping
from farthing.flows.batch.metrics import numbers
from farthing.flows.batch.records import Definition, End, Line, Run
from farthing.flows.batch.runfolder import file_digests
from farthing.flows.batch.runs import Runs
from farthing.flows.batch.shared import with_shares
from farthing.flows.engine.plan import LineResult
from farthing.flows.models import Spent
from farthing.flows.runnable import Runnable
from farthing.flows.variants.choices import choices_of

#: Lines that run at once, unless the caller says otherwise.
IN_FLIGHT = 16
#: `error_code` of a run that took too long.
TIMED_OUT = "flow_batch_timeout"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is. kept: lines of earlier sessions. cost: of this session.

    completed, failed, lines_per_s: of this session; lines count once they are kept.
    """

    completed: int
    failed: int
    kept: int
    elapsed_s: float
    lines_per_s: float
    cost: Spent


class Batch:
    """Runs the lines of an open flow. One object runs one run at a time.

    in_flight: lines at once. timeout_s: for all lines of a session; None: no limit. on_progress: is told on
    the event loop whenever lines were kept; what it raises ends the session.
    """

    def __init__(
        self,
        flow: Runnable,
        runs: Runs,
        clock: Clock,
        *,
        in_flight: int = IN_FLIGHT,
        timeout_s: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._flow = flow
        self._runs = runs
        self._clock = clock
        self._in_flight = in_flight
        self._timeout_s = timeout_s
        self._on_progress = on_progress
        self._recorder = Recorder(flow.flow)

    async def start(
        self,
        name: str,
        definition: Definition,
        *,
        rows: Iterable[Mapping[str, Any]] | None = None,
    ) -> Run:
        """A new run to its end. rows: in place of `definition.data`.

        Failed lines do not stop it. Raises before anything runs: FlowInputError (no data, no inputs, a
        mapping that fits nothing), NotFoundError (`run`, `resume_from`), ConflictError (the name is taken). Raises
        while it runs: FlowInputError for data that is broken further on, StorageError. Whatever ends it,
        a cancellation too, `resume` goes on with it.
        """
        if self._flow.flow.nodes and not self._flow.flow.inputs:
            raise FlowInputError(
                f"The flow '{self._flow.flow.name}' has no inputs, so all lines of a run would be the same.",
                hint="Declare inputs in its flow.dag.yaml, or run it once with `farthing flow test`.",
            )
        source = None if definition.data is None else Path(definition.data)
        definition = msgspec.structs.replace(
            definition,
            data_digest=None if source is None else await asyncio.to_thread(data.digest, source),
            files=await asyncio.to_thread(file_digests, self._flow.flow.folder),
        )
        model = None
        if definition.resume_from is not None:
            model = await self._runs.find(definition.resume_from)
            _same_data(definition, model)
        lines = await self._lines(definition, rows)
        run = await self._runs.create(name, definition)
        needs_values = bool(self._recorder.needed)
        try:
            if model is not None:
                await self._runs.copy_completed(model, run, needs_values=needs_values)
        except BaseException:
            self._runs.let_go(run.id)
            raise
        return await self._session(run, lines)

    async def resume(self, name: str, *, rows: Iterable[Mapping[str, Any]] | None = None) -> Run:
        """Go on with a run, whatever ended it. Lines that were completed are not run again.

        rows: as given to `start`. Failed lines are run again; what runs behind all lines too. Raises what
        `start` raises, and ConflictError: it is running, or its data is not what it was.
        """
        definition = (await self._runs.find(name)).definition
        if definition.data is not None:
            found = await asyncio.to_thread(data.digest, Path(definition.data))
            if found != definition.data_digest:
                raise _changed(definition.data, name)
        lines = await self._lines(definition, rows)
        run = await self._runs.take(name, needs_values=bool(self._recorder.needed))
        return await self._session(run, lines)

    # --- before it runs ---

    async def _lines(
        self, definition: Definition, rows: Iterable[Mapping[str, Any]] | None
    ) -> _Lines:
        """The lines to run, with the first group read, so that what fits nothing is told at once."""
        source = None
        if rows is not None:
            source = rows_in_memory(rows)
        elif definition.data is not None:
            source = data.read(Path(definition.data))
        earlier = None
        if definition.run is not None:
            earlier = finished(await self._runs.find(definition.run))
        if source is None and earlier is None:
            raise FlowInputError(
                "The run has neither data nor another run to take lines from.",
                hint="Name one: data: FILE, or run: NAME.",
                param="data",
            )
        feed = Feed(self._runs, rows=source, earlier=earlier)
        mapping = ColumnMapping(
            definition.column_mapping, self._flow.flow.inputs, sources=feed.sources
        )
        lines = _Lines(feed.groups(), mapping, limit=definition.limit)
        first = await lines.peek()
        mapping.apply(first.sources, where=first.where)
        return lines

    # --- while it runs ---

    async def _session(self, run: Run, lines: _Lines) -> Run:
        """Run what is not kept yet, then what is behind all lines; note how it ended, however it does."""
        session = _Session(self, run)
        try:
            end = await session.run(lines)
        except asyncio.CancelledError:
            # A second interrupt may end this too; the run is then found interrupted, and resumed as well.
            await asyncio.shield(self._close(session, End(status="cancelled")))
            raise
        except Exception as error:  # border: whatever ends a session is noted
            await self._close(session, _failed(error))
            raise
        finally:
            self._runs.let_go(run.id)
            await lines.aclose()
        await self._close(session, end)
        return await self._runs.find(run.name)

    async def _close(self, session: _Session, end: End) -> None:
        await session.keeper.flush()
        await self._runs.end(session.id, end)


class _Session:
    """One go at a run, by one process."""

    def __init__(self, batch: Batch, run: Run) -> None:
        self.id = run.id
        self._batch = batch
        self._flow, self._runs, self._clock = batch._flow, batch._runs, batch._clock
        self._recorder = batch._recorder
        self._before = msgspec.structs.replace(self._flow.spent)
        self._started_s = self._clock.monotonic()
        self._completed = self._failed = 0
        self._kept: set[int] = set()
        self._results: dict[int, LineResult] = {}
        self.keeper = Keeper(self._runs, run.id, lambda: self._flow.spent, self._told)

    async def run(self, lines: _Lines) -> End:
        """All of it. Raises StorageError, and FlowInputError for broken data."""
        self._kept = await self._runs.numbers(self.id)
        limit = asyncio.timeout(self._batch._timeout_s)
        try:
            async with limit:
                await self._run_lines(lines)
        except TimeoutError:
            if not limit.expired():
                raise
            return End(
                status="failed",
                error_code=TIMED_OUT,
                error_message=f"The run took longer than {self._batch._timeout_s:g} s. "
                "Resume it, or raise PF_BATCH_TIMEOUT_SEC.",
            )
        return await self._aggregate()

    async def _run_lines(self, lines: _Lines) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._batch._in_flight):
                    group.create_task(self._work(lines))
        except BaseExceptionGroup as several:
            # One failure is told; the others are the same one, seen by other lines.
            raise several.exceptions[0] from None
        await self.keeper.flush()

    async def _work(self, lines: _Lines) -> None:
        while (fed := await lines.next()) is not None:
            if fed.number in self._kept:
                continue
            started_at_s, started_s = self._clock.now(), self._clock.monotonic()
            inputs: dict[str, Any] = {}
            try:
                inputs = lines.mapping.apply(fed.sources, where=fed.where)
            except FlowInputError as error:
                result = LineResult(inputs={}, error=error)
            else:
                result = await self._flow.run(inputs, number=fed.number)
            took_s = self._clock.monotonic() - started_s
            line = self._recorder.record(fed, inputs, result, started_at_s, took_s)
            if result.shares is not None:
                line = with_shares(line, result.shares, run=self.id)
            if line.status == "completed" and self._recorder.has_end:
                self._results[fed.number] = self._recorder.trimmed(result)
            await self.keeper.add(line)

    async def _aggregate(self) -> End:
        """What runs behind all lines, those of earlier sessions too. Its failure fails no line."""
        if not self._recorder.has_end:
            return End(status="completed")
        last = -1
        while page := await self._runs.lines_after(self.id, last, status="completed"):
            last = page[-1].number
            for line in page:
                if line.number not in self._results:
                    self._results[line.number] = self._recorder.restored(line)
        if not self._results:
            return End(status="completed")
        result = await self._flow.aggregate([self._results[n] for n in sorted(self._results)])
        error = result.error
        return End(
            status="completed",
            metrics=numbers(result.metrics),
            error_code=error.code if error is not None else None,
            error_message=str(error) if error is not None else None,
        )

    def _told(self, group: list[Line]) -> None:
        completed = sum(line.status == "completed" for line in group)
        self._completed += completed
        self._failed += len(group) - completed
        if self._batch._on_progress is None or not group:
            return
        elapsed_s = self._clock.monotonic() - self._started_s
        done = self._completed + self._failed
        self._batch._on_progress(
            Progress(
                completed=self._completed,
                failed=self._failed,
                kept=len(self._kept),
                elapsed_s=elapsed_s,
                lines_per_s=done / elapsed_s if elapsed_s > 0 else 0.0,
                cost=(self._flow.spent).since(self._before),
            )
        )


class _Lines:
    """The lines of a feed, one at a time, to any number of takers; a group is read when one is needed."""

    def __init__(
        self, groups: AsyncIterator[list[Fed]], mapping: ColumnMapping, *, limit: int | None
    ) -> None:
        self.mapping = mapping
        self._groups = groups
        self._ready: deque[Fed] = deque()
        self._left = limit  # None: no end
        # A generator cannot be asked by two takers at once.
        self._turn = asyncio.Lock()

    async def peek(self) -> Fed:
        """The first line; it stays. Raises FlowInputError: there is none."""
        self._ready.extend(await anext(self._groups, []))
        if not self._ready:
            raise FlowInputError(
                "There are no lines to run.",
                hint="Is the data empty, or do its line numbers and those of the run differ?",
                param="data",
            )
        return self._ready[0]

    async def next(self) -> Fed | None:
        """The next line; None: that was the last."""
        if self._left is not None:
            if self._left <= 0:
                return None
            self._left -= 1
        if not self._ready:
            async with self._turn:
                if not self._ready:
                    self._ready.extend(await anext(self._groups, []))
                return self._ready.popleft() if self._ready else None
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Close the files."""
        close = getattr(self._groups, "aclose", None)
        if close is not None:
            await close()


def default_name(flow: str, variant: str | None, clock: Clock) -> str:
    """`<flow>_<variant>_<timestamp>`, as prompt flow names a run. variant: `${node.variant}`, or several."""
    which = "default" if variant is None else "_".join(choices_of(variant).values())
    moment = datetime.fromtimestamp(clock.now(), UTC)
    return f"{flow}_{which}_{moment:%Y%m%d_%H%M%S_%f}"


def _failed(error: Exception) -> End:
    """The end that an exception makes; one that is not ours may tell what is private."""
    if isinstance(error, FarthingError):
        return End(status="failed", error_code=error.code, error_message=str(error))
    told = f"The run was ended by {type(error).__name__}. Resume it."
    return End(status="failed", error_code="internal_error", error_message=told)


def _same_data(definition: Definition, model: Run) -> None:
    before = model.definition
    if definition.data is not None and definition.data_digest != before.data_digest:
        raise _changed(definition.data, model.name)


def _changed(path: str, name: str) -> ConflictError:
    return ConflictError(
        f"The data at {path} is not what it was when the run '{name}' began, so its lines may differ.",
        hint="Put it back as it was, or start a new run.",
    )
