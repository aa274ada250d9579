"""SQLite: WAL, one writer thread with group commit, one reader thread."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from farthing.base.storage.lock import FileLock
from farthing.base.storage.migrate import apply
from farthing.base.storage.work import Migration, Query, Row, Work
from farthing.core.errors import StorageError

T = TypeVar("T")

#: Units of work that share one commit at most; bounds how long one commit can take.
GROUP = 512


class SqliteDatabase:
    """A file. See `work.Database`.

    durability `process` commits with synchronous=NORMAL: in WAL mode every commit survives the death of
    the process (kill -9), a power cut may lose the last ones. `power` commits with FULL: each commit is
    synced to the disk first. exclusive: hold the file's lock, as a serving process must.
    """

    kind = "sqlite"

    def __init__(
        self, path: Path, *, durability: str, busy_timeout_s: float, exclusive: bool
    ) -> None:
        self._path = path
        self._is_synced = durability == "power"
        self._busy_timeout_s = busy_timeout_s
        self._lock = FileLock(path.with_name(path.name + ".lock")) if exclusive else None
        self._writer: _Thread | None = None
        self._reader: _Thread | None = None

    async def open(self) -> None:
        """See `Database.open`. Raises StorageLockedError, StorageError."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _failed(self._path, error) from error
        if self._lock is not None:
            self._lock.acquire()
        self._writer = _Thread(self._path, self._connect, name="farthing-writer")
        self._reader = _Thread(self._path, self._connect, name="farthing-reader")
        try:
            await self._writer.start()
            await self._reader.start()
        except BaseException:
            await self.close()
            raise

    async def migrate(self, migrations: Sequence[Migration]) -> None:
        """See `Database.migrate`."""
        await self.write(lambda: apply(migrations, str(self._path)))

    async def write(self, work: Callable[[], Work[T]]) -> T:
        """See `Database.write`."""
        assert self._writer is not None, "open() comes first"
        result: T = await self._writer.submit(work)
        return result

    async def read(self, sql: str, params: tuple[Any, ...] = ()) -> list[Row]:
        """See `Database.read`."""
        assert self._reader is not None, "open() comes first"

        def work() -> Work[list[Row]]:
            return (yield Query(sql, params))

        rows: list[Row] = await self._reader.submit(work)
        return rows

    async def close(self) -> None:
        """See `Database.close`."""
        for thread in (self._writer, self._reader):
            if thread is not None:
                await thread.stop()
        self._writer = self._reader = None
        if self._lock is not None:
            self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=self._busy_timeout_s, isolation_level=None, cached_statements=256
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if self._is_synced else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return connection


class _Job:
    """A unit of work and where its result goes."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[], Work[Any]], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def finish(self) -> None:
        """Runs on the loop."""
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Thread:
    """Owns one connection; runs the units that wait in one transaction."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection], *, name: str) -> None:
        self._path = path
        self._connect = connect
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._opened: asyncio.Future[None] | None = None
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.create_future()
        self._thread.start()
        await self._opened

    async def submit(self, work: Callable[[], Work[Any]]) -> Any:
        job = _Job(work, asyncio.get_running_loop())
        self._queue.put(job)
        return await job.future

    async def stop(self) -> None:
        if self._thread.is_alive():
            # Not `to_thread`: at the interpreter's exit, when a background client closes, pools are gone.
            self._queue.put(None)
            await self._ended.wait()

    def _run(self) -> None:
        assert self._loop is not None
        assert self._opened is not None
        try:
            connection = self._connect()
        except sqlite3.Error as error:
            self._loop.call_soon_threadsafe(self._opened.set_exception, _failed(self._path, error))
            return
        self._loop.call_soon_threadsafe(self._opened.set_result, None)
        try:
            while (jobs := self._gather()) is not None:
                self._commit(connection, jobs)
                for job in jobs:
                    job.loop.call_soon_threadsafe(job.finish)
        finally:
            connection.close()
            self._loop.call_soon_threadsafe(self._ended.set)

    def _gather(self) -> list[_Job] | None:
        """The next job and those that wait behind it; None: stop."""
        first = self._queue.get()
        if first is None:
            return None
        jobs = [first]
        while len(jobs) < GROUP:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._queue.put(None)
                break
            jobs.append(job)
        return jobs

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._run_job(connection, job)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # Full disk, lost file, lock: nothing of the group is in the database, so all of it failed.
            if connection.in_transaction:
                _quietly(connection, "ROLLBACK")
            for job in jobs:
                job.error = _failed(self._path, error)

    def _run_job(self, connection: sqlite3.Connection, job: _Job) -> None:
        connection.execute("SAVEPOINT unit")
        work = job.work()
        try:
            query = next(work)
            while True:
                query = work.send(connection.execute(query.sql, query.params).fetchall())
        except StopIteration as stop:
            job.result = stop.value
            connection.execute("RELEASE unit")
            return
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError) as error:
            job.error = _failed(self._path, error)
        except sqlite3.Error:
            raise
        except Exception as error:  # border: the unit's own refusal (a budget, a conflict)
            job.error = error
        finally:
            work.close()
        connection.execute("ROLLBACK TO unit")
        connection.execute("RELEASE unit")


def _quietly(connection: sqlite3.Connection, statement: str) -> None:
    try:
        connection.execute(statement)
    except sqlite3.Error:
        pass  # SQLite has rolled back by itself already


_HINTS = {
    "disk is full": "Free some space; calls go on as soon as it can be written again.",
    "readonly": "Make the file and its folder writable for this user.",
    "unable to open": "Does the folder exist, and may this user write there?",
    "not a database": "Choose another file in storage.url, or restore this one from a copy.",
    "malformed": "The file is damaged: restore it from a copy, or recover it with `sqlite3 FILE .recover`.",
    "locked": "Another program holds it; end that program, or raise storage.busy_timeout_s.",
}


def _failed(path: Path, error: Exception) -> StorageError:
    text = str(error)
    hint = next((advice for mark, advice in _HINTS.items() if mark in text), None)
    return StorageError(f"The database {path} cannot be used: {text}.", hint=hint)
