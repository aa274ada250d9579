"""Postgres by asyncpg: one writing connection with group commit, one for reading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from farthing.base.storage.migrate import apply
from farthing.base.storage.work import Guard, Migration, Query, Row, Work
from farthing.core.errors import StorageError

T = TypeVar("T")

#: One group's longest time. Beyond it the server counts as gone: silence must not hold every call.
COMMIT_S = 30.0
GROUP = 64
_LOST = (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)
#: Another transaction stood in the way; the same work may pass when it is tried again.
_CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
#: Errors of the server as a whole, with which every unit of the group has failed.
_SERVER = (
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
)
_TRIES = 3
#: SQL that means the same with another word.
_TYPES = {
    "INTEGER PRIMARY KEY AUTOINCREMENT": "BIGSERIAL PRIMARY KEY",
    " BLOB": " BYTEA",
    " INTEGER": " BIGINT",
}


class PostgresDatabase:
    """A Postgres database; any number of processes may share it. See `work.Database`.

    durability `power` waits for the server's disk at each commit; `process` sets synchronous_commit off,
    which a crash of *this* process survives and a crash of the server may cost the last moments.
    """

    kind = "postgres"
    path: Path | None = None

    def __init__(self, url: str, *, durability: str) -> None:
        self._url = url
        self._is_synced = durability == "power"
        self._queue: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self._write_connection: asyncpg.Connection | None = None
        self._read_connection: asyncpg.Connection | None = None
        self._claim_connection: asyncpg.Connection | None = None
        self._claimed: list[str] = []
        self._read_lock = asyncio.Lock()

    async def open(self) -> None:
        """See `Database.open`."""
        self._write_connection = await self._connect()
        self._writer = asyncio.create_task(self._run())

    async def migrate(self, migrations: Sequence[Migration]) -> None:
        """See `Database.migrate`."""

        def work() -> Work[None]:
            # Two processes that start together must not both create the tables.
            yield Query("SELECT pg_advisory_xact_lock(711042)")
            yield from apply(migrations, _shown(self._url))

        await self.write(work)

    async def write(self, work: Callable[[], Work[T]], *, guard: Guard | None = None) -> T:
        """See `Database.write`. A unit whose commit's fate is unknown raises StorageError."""
        if self._writer is None:
            raise _closed(self._url)
        assert guard is None, "guards are for files of this machine"
        job = _Job(work)
        self._queue.put_nowait(job)
        result: T = await job.future
        return result

    async def read(self, sql: str, params: tuple[Any, ...] = ()) -> list[Row]:
        """See `Database.read`."""
        if self._writer is None:
            raise _closed(self._url)
        async with self._read_lock:
            for last in (False, True):
                if self._read_connection is None or self._read_connection.is_closed():
                    self._read_connection = await self._connect()
                try:
                    found = await self._read_connection.fetch(
                        _numbered(sql), *params, timeout=COMMIT_S
                    )
                    return _rows(found)
                except _LOST as error:
                    self._read_connection = None
                    if last:
                        raise _failed(self._url, error) from error
                except asyncpg.PostgresError as error:
                    raise _failed(self._url, error) from error
        raise AssertionError("unreachable")

    async def claim(self, name: str) -> None:
        """See `Database.claim`: a session's advisory lock (shared: it never waits), on a connection of its own."""
        self._claimed.append(name)
        await self._hold_claims()

    async def is_claimed(self, name: str) -> bool:
        """See `Database.is_claimed`."""
        rows = await self.read(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND (classid::bigint << 32 | objid::bigint) = ? LIMIT 1",
            (_claim_number(name),),
        )
        return bool(rows)

    async def close(self) -> None:
        """See `Database.close`."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            self._queue.put_nowait(None)
            await writer
        for connection in (self._write_connection, self._read_connection, self._claim_connection):
            if connection is not None and not connection.is_closed():
                await connection.close()
        self._write_connection = self._read_connection = self._claim_connection = None

    async def _hold_claims(self) -> None:
        """Take the claims, anew after the server has dropped their connection."""
        if self._claim_connection is not None and not self._claim_connection.is_closed():
            missing = self._claimed[-1:]
        else:
            self._claim_connection = await self._connect()
            missing = self._claimed
        try:
            for name in missing:
                await self._claim_connection.execute(
                    f"SELECT pg_advisory_lock_shared({_claim_number(name)})"
                )
        except (*_LOST, asyncpg.PostgresError) as error:
            raise _failed(self._url, error) from error

    async def _connect(self) -> asyncpg.Connection:
        try:
            connection = await asyncpg.connect(self._url, timeout=10)
            if not self._is_synced:
                await connection.execute("SET synchronous_commit TO off")
        except (*_LOST, asyncpg.PostgresError, TimeoutError, ValueError) as error:
            raise _failed(self._url, error) from error
        return connection

    async def _run(self) -> None:
        while (first := await self._queue.get()) is not None:
            jobs = [first]
            while len(jobs) < GROUP and not self._queue.empty():
                job = self._queue.get_nowait()
                if job is None:
                    self._queue.put_nowait(None)
                    break
                jobs.append(job)
            await self._commit(jobs)
            for job in jobs:
                job.finish()

    async def _commit(self, jobs: list[_Job]) -> None:
        try:
            await self._transact(jobs)
        except _CONFLICTS as error:
            # Groups of two processes took the same rows in different order. One unit alone takes its rows
            # in one order everywhere, so apart they get through.
            for job in jobs:
                await self._commit_alone(job, error)
        # Border: whatever a breaking connection raises. A writer that ended here would leave every later
        # call waiting for ever.
        except Exception as error:
            failure = self._given_up(error)
            for job in jobs:
                job.error = failure

    async def _commit_alone(self, job: _Job, error: Exception) -> None:
        for _ in range(_TRIES):
            try:
                await self._transact([job])
            except _CONFLICTS as again:
                error = again
            except Exception as failure:  # border: as in `_commit`
                error = failure
                break
            else:
                return
        job.error = self._given_up(error)

    def _given_up(self, error: Exception) -> StorageError:
        """The error for the callers; the connection is not trusted again unless it refused politely."""
        if isinstance(error, StorageError):
            return error
        if not isinstance(error, asyncpg.PostgresError) and self._write_connection is not None:
            self._write_connection.terminate()
            self._write_connection = None
        return _failed(self._url, error)

    async def _transact(self, jobs: list[_Job]) -> None:
        async with asyncio.timeout(COMMIT_S):
            await self._transact_now(jobs)

    async def _transact_now(self, jobs: list[_Job]) -> None:
        if self._write_connection is None or self._write_connection.is_closed():
            self._write_connection = await self._connect()
            if self._claimed:
                await self._hold_claims()
        async with self._write_connection.transaction():
            for job in jobs:
                await self._run_job(self._write_connection, job)

    async def _run_job(self, connection: asyncpg.Connection, job: _Job) -> None:
        job.result = job.error = None
        work = job.work()
        try:
            async with connection.transaction():
                try:
                    query = next(work)
                    while True:
                        query = work.send(await _execute(connection, query))
                except StopIteration as stop:
                    job.result = stop.value
        except (*_LOST, *_CONFLICTS, *_SERVER):
            raise
        except asyncpg.PostgresError as error:
            job.error = _failed(self._url, error)  # the unit's own: a constraint, an absent table
        except Exception as error:  # border: the unit's own refusal (a budget, a conflict)
            job.error = error
        finally:
            work.close()


class _Job:
    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Callable[[], Work[Any]]) -> None:
        self.work = work
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def finish(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


async def _execute(connection: asyncpg.Connection, query: Query) -> list[Row]:
    if query.many is None:
        return _rows(await connection.fetch(_numbered(query.sql), *query.params))
    await connection.executemany(_numbered(query.sql), query.many)
    return []


def _rows(records: list[Any]) -> list[Row]:
    return [tuple(record) for record in records]


_NUMBERED: dict[str, str] = {}


def _numbered(sql: str) -> str:
    """`?` → `$1`, `$2`, …, and the column types that Postgres calls otherwise. Kept per statement."""
    if sql not in _NUMBERED:
        pieces = sql.split("?")
        text = pieces[0] + "".join(f"${i}{piece}" for i, piece in enumerate(pieces[1:], 1))
        for ours, theirs in _TYPES.items():
            text = text.replace(ours, theirs)
        _NUMBERED[sql] = text
    return _NUMBERED[sql]


def _claim_number(name: str) -> int:
    """63 bits of the name, as Postgres numbers its advisory locks."""
    digest = blake2b(name.encode(), digest_size=8, person=b"farthing-claim").digest()
    return int.from_bytes(digest, "big") >> 1


def _shown(url: str) -> str:
    """The address without its password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _closed(url: str) -> StorageError:
    return StorageError(f"The database {_shown(url)} is closed.", hint="Open the gateway again.")


def _failed(url: str, error: Exception) -> StorageError:
    return StorageError(
        f"The database {_shown(url)} cannot be used: {str(error) or type(error).__name__}.",
        hint="Is it running, and are name and rights in storage.url right?",
    )
