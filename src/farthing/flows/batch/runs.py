"""The store of runs: what a batch was asked for, each line's inputs and result, in two tables.

A line is one row, written once, when it is over. Of the user's own data nothing is kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from types import TracebackType
from typing import get_args

import msgspec

from farthing.base.clock import Clock
from farthing.base.storage import Database, Query, Row, Work
from farthing.core.errors import ConflictError, NotFoundError, did_you_mean
from farthing.flows.batch.records import MIGRATIONS, Definition, Done, End, Line, LineStatus, Run
from farthing.flows.batch.shared import done_for, forgetting, keeping
from farthing.flows.models import Spent

#: Rows that are read at once.
PAGE = 500


class Runs:
    """The runs of one database. Open it with `async with`; the database is opened and closed with it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._instance = clock.new_id("flows").replace("_", "-")
        self._mine: set[int] = set()
        self._is_claimed = False

    async def __aenter__(self) -> Runs:
        await self._database.open()
        try:
            await self._database.migrate(MIGRATIONS)
        except BaseException:
            await self._database.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._database.close()

    # --- whose it is ---

    async def create(self, name: str, definition: Definition) -> Run:
        """A new run, running in this process. Raises ConflictError: a run has that name."""
        await self._claim()
        now_ms = self._now_ms()
        text = msgspec.json.encode(definition).decode()

        def work() -> Work[bool]:
            if (yield Query("SELECT id FROM flow_runs WHERE name = ?", (name,))):
                return False
            yield Query(
                "INSERT INTO flow_runs (name, status, definition, instance, created_at_ms, "
                "started_at_ms, completed, failed, calls, input_tokens, output_tokens, nanodollars, "
                "metrics) VALUES (?, 'running', ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, '{}')",
                (name, text, self._instance, now_ms, now_ms),
            )
            return True

        if not await self._database.write(work):
            raise ConflictError(
                f"There is a run '{name}' already.",
                hint="Choose another name, or resume that one.",
            )
        rows = await self._database.read(f"{_SELECT} WHERE name = ?", (name,))
        self._mine.add(rows[0][0])
        return _run(rows[0])

    async def take(self, name: str, *, needs_values: bool) -> Run:
        """Make a run that is over this process's own, to go on with it; failed lines are forgotten.

        needs_values: a line without values for the nodes behind all lines is forgotten as well. Raises
        NotFoundError, and ConflictError when a living process runs it.
        """
        await self._claim()
        # The owner before the state: whoever takes the run in between has another, and is found below.
        rows = await self._database.read("SELECT instance FROM flow_runs WHERE name = ?", (name,))
        owner = rows[0][0] if rows else None
        run = await self.find(name)
        if run.status == "running" or run.id in self._mine:
            raise ConflictError(
                f"The run '{name}' is running.",
                hint="Wait for its end, or end its process; then resume it.",
            )
        self._mine.add(run.id)
        try:
            if not await self._take(run.id, owner, needs_values=needs_values):
                raise ConflictError(
                    f"Another process has just resumed the run '{name}'.", hint="Wait for its end."
                )
            return await self.find(name)
        except BaseException:
            self._mine.discard(run.id)
            raise

    async def _take(self, run: int, owner: str | None, *, needs_values: bool) -> bool:
        started_at_ms = self._now_ms()
        lost = " OR node_values IS NULL" if needs_values else ""

        def work() -> Work[bool]:
            # Two processes may want it at once: only one finds the owner that both have seen.
            yield Query(
                "UPDATE flow_runs SET status = 'running', instance = ?, started_at_ms = ?, "
                "ended_at_ms = NULL, error_code = NULL, error_message = NULL "
                "WHERE id = ? AND coalesce(instance, '') = ?",
                (self._instance, started_at_ms, run, owner or ""),
            )
            rows = yield Query("SELECT instance FROM flow_runs WHERE id = ?", (run,))
            if rows[0][0] != self._instance:
                return False
            yield Query(
                f"DELETE FROM flow_lines WHERE run = ? AND (status = 'failed'{lost})",  # noqa: S608 -- constants
                (run,),
            )
            yield Query(
                "UPDATE flow_runs SET failed = 0, completed = "
                "(SELECT count(*) FROM flow_lines WHERE run = ?) WHERE id = ?",
                (run, run),
            )
            return True

        return await self._database.write(work)

    async def copy_completed(self, source: Run, target: Run, *, needs_values: bool) -> None:
        """Give a new run the good lines of another, at no cost."""
        lost = " AND node_values IS NOT NULL" if needs_values else ""
        columns = ", ".join(_LINE_COLUMNS)

        def work() -> Work[None]:
            yield Query(
                f"INSERT INTO flow_lines (run, {columns}) SELECT ?, {columns} FROM flow_lines "  # noqa: S608 -- constants
                f"WHERE run = ? AND status = 'completed'{lost}",
                (target.id, source.id),
            )
            yield Query(
                "UPDATE flow_runs SET completed = "
                "(SELECT count(*) FROM flow_lines WHERE run = ?) WHERE id = ?",
                (target.id, target.id),
            )

        await self._database.write(work)

    # --- while it runs ---

    async def add(self, run: int, lines: Sequence[Line], cost: Spent) -> None:
        """Keep lines that are over, all or none, with what was spent meanwhile.

        Raises StorageError, and ConflictError when another process has taken the run.
        """
        completed = sum(line.status == "completed" for line in lines)
        rows = [(run, *_values(line)) for line in lines]

        def work() -> Work[None]:
            yield Query(
                "UPDATE flow_runs SET completed = completed + ?, failed = failed + ?, "
                "calls = calls + ?, input_tokens = input_tokens + ?, "
                "output_tokens = output_tokens + ?, nanodollars = nanodollars + ? "
                "WHERE id = ? AND instance = ?",
                (
                    completed,
                    len(rows) - completed,
                    *msgspec.structs.astuple(cost),
                    run,
                    self._instance,
                ),
            )
            # A process that lost its database for long counts as dead, and its run may be another's now.
            owner = yield Query("SELECT instance FROM flow_runs WHERE id = ?", (run,))
            if not owner or owner[0][0] != self._instance:
                raise ConflictError(
                    "Another process has taken this run, so its lines are left to that one.",
                    hint="Wait for its end.",
                )
            if rows:
                yield Query(_INSERT_LINE, many=rows)
            yield from keeping(run, lines)

        await self._database.write(work)

    async def end(self, run: int, end: End) -> None:
        """The run is over, or may be resumed by anyone. Raises StorageError; it is then interrupted."""
        # What follows may fail on a full disk; the run is not this process's any more in any case.
        self._mine.discard(run)
        ended_at_ms = self._now_ms()
        metrics = msgspec.json.encode(end.metrics).decode()

        def work() -> Work[None]:
            yield Query(
                "UPDATE flow_runs SET status = ?, instance = NULL, ended_at_ms = ?, metrics = ?, "
                "error_code = ?, error_message = ? WHERE id = ? AND instance = ?",
                (
                    end.status,
                    ended_at_ms,
                    metrics,
                    end.error_code,
                    end.error_message,
                    run,
                    self._instance,
                ),
            )

        await self._database.write(work)

    def let_go(self, run: int) -> None:
        """This process does not run it any more, whatever the database says."""
        self._mine.discard(run)

    # --- reading ---

    async def find(self, name: str) -> Run:
        """The run of that name. Raises NotFoundError."""
        rows = await self._database.read(f"{_SELECT} WHERE name = ?", (name,))
        if not rows:
            names = [row[0] for row in await self._database.read("SELECT name FROM flow_runs")]
            raise NotFoundError(
                f"There is no run '{name}'.",
                hint=did_you_mean(name, names)
                or "`farthing pf run list` shows those that there are.",
            )
        return await self._seen(rows[0])

    async def all(self, *, limit: int = 50, archived: bool | None = False) -> list[Run]:
        """The runs, the newest first. archived: only these, or only the others; None: both."""
        where = {
            None: "",
            True: "WHERE archived_at_ms IS NOT NULL",
            False: "WHERE archived_at_ms IS NULL",
        }[archived]
        rows = await self._database.read(
            f"{_SELECT} {where} ORDER BY created_at_ms DESC, id DESC LIMIT ?", (limit,)
        )
        return [await self._seen(row) for row in rows]

    async def of_matrix(self, matrix: str) -> list[Run]:
        """The runs of a comparison, its evaluations too, in the order in which they were made."""
        prefix = f"{matrix}:"
        rows = await self._database.read(
            f"{_SELECT} WHERE substr(name, 1, ?) = ? ORDER BY id", (len(prefix), prefix)
        )
        found = [await self._seen(row) for row in rows]
        return [each for each in found if each.definition.matrix == matrix]

    async def done_for(self, matrix: str, line: int) -> dict[str, Done]:
        """What runs of a comparison have made for a line, by key."""
        return await done_for(self._database, matrix, line)

    async def describe(
        self,
        name: str,
        *,
        display_name: str | None = None,
        description: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> Run:
        """Change what people read of a run; None leaves it. tags: in place of all. Raises NotFoundError."""
        run = await self.find(name)
        given = {"display_name": display_name, "description": description, "tags": tags}
        changes = {key: value for key, value in given.items() if value is not None}
        definition = msgspec.structs.replace(run.definition, **changes)
        text = msgspec.json.encode(definition).decode()

        def work() -> Work[None]:
            yield Query("UPDATE flow_runs SET definition = ? WHERE id = ?", (text, run.id))

        await self._database.write(work)
        return await self.find(name)

    async def archive(self, name: str, *, is_archived: bool = True) -> Run:
        """Leave a run out of the list, or bring it back. Raises NotFoundError."""
        run = await self.find(name)
        at_ms = self._now_ms() if is_archived else None

        def work() -> Work[None]:
            yield Query("UPDATE flow_runs SET archived_at_ms = ? WHERE id = ?", (at_ms, run.id))

        await self._database.write(work)
        return await self.find(name)

    async def delete(self, name: str) -> None:
        """Forget a run and its lines. Raises NotFoundError, and ConflictError while it runs."""
        run = await self.find(name)
        if run.status == "running":
            raise ConflictError(f"The run '{name}' is running.", hint="End it first.")

        def work() -> Work[None]:
            yield Query("DELETE FROM flow_lines WHERE run = ?", (run.id,))
            yield forgetting(run.id)
            yield Query("DELETE FROM flow_runs WHERE id = ?", (run.id,))

        await self._database.write(work)

    async def numbers(self, run: int) -> set[int]:
        """The numbers of the lines that are kept."""
        rows = await self._database.read("SELECT line FROM flow_lines WHERE run = ?", (run,))
        return {row[0] for row in rows}

    async def lines_after(
        self, run: int, number: int = -1, *, status: LineStatus | None = None, limit: int = PAGE
    ) -> list[Line]:
        """The lines behind that number, by number; of one status, or all."""
        wanted = (status,) if status else get_args(LineStatus)
        marks = ", ".join("?" * len(wanted))
        rows = await self._database.read(
            f"{_SELECT_LINE} WHERE run = ? AND line > ? AND status IN ({marks}) ORDER BY line LIMIT ?",
            (run, number, *wanted, limit),
        )
        return [_line(row) for row in rows]

    async def lines_of(self, run: int, numbers: Sequence[int]) -> dict[int, Line]:
        """The completed ones among these lines, by number. At most a few hundred at once."""
        if not numbers:
            return {}
        marks = ", ".join("?" * len(numbers))
        rows = await self._database.read(
            f"{_SELECT_LINE} WHERE run = ? AND status = 'completed' AND line IN ({marks})",
            (run, *numbers),
        )
        return {row[0]: _line(row) for row in rows}

    # --- private ---

    async def _claim(self) -> None:
        if not self._is_claimed:
            self._is_claimed = True
            await self._database.claim(self._instance)

    async def _owner(self, run: int) -> str | None:
        rows = await self._database.read("SELECT instance FROM flow_runs WHERE id = ?", (run,))
        owner: str | None = rows[0][0] if rows else None
        return owner

    async def _seen(self, row: Row) -> Run:
        """The run of a row; one whose process is no more is interrupted."""
        run = _run(row)
        if run.status != "running":
            return run
        owner = await self._owner(run.id)
        if owner == self._instance:
            is_running = run.id in self._mine
        else:
            is_running = owner is not None and await self._database.is_claimed(owner)
        return run if is_running else msgspec.structs.replace(run, status="interrupted")

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)


#: A record's fields that are columns, in their order.
_FIELDS = tuple(name for name in Line.__struct_fields__ if name != "made")
_LINE_COLUMNS = tuple("line" if name == "number" else name for name in _FIELDS)
_values = attrgetter(*_FIELDS)
_INSERT_LINE = (
    f"INSERT INTO flow_lines (run, {', '.join(_LINE_COLUMNS)}) "  # noqa: S608 -- constants only
    f"VALUES ({', '.join('?' * (len(_LINE_COLUMNS) + 1))})"
)
_SELECT_LINE = f"SELECT {', '.join(_LINE_COLUMNS)} FROM flow_lines"  # noqa: S608 -- constants only
_RUN_COLUMNS = tuple(Run.__struct_fields__)
_SELECT = f"SELECT {', '.join(_RUN_COLUMNS)} FROM flow_runs"  # noqa: S608 -- constants only


def _run(row: Row) -> Run:
    values = dict(zip(_RUN_COLUMNS, row, strict=True))
    values["definition"] = msgspec.json.decode(values["definition"], type=Definition)
    values["metrics"] = msgspec.json.decode(values["metrics"])
    return Run(**values)


def _line(row: Row) -> Line:
    return Line(**dict(zip(_FIELDS, row, strict=True)))
