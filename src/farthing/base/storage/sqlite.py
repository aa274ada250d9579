"""SQLite: WAL, one writer thread with group commit, one reader thread."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from farthing.base.storage.lock import FileLock
from farthing.base.storage.migrate import apply
from farthing.base.storage.work import Guard, Migration, Query, Row, Work
from farthing.core.errors import StorageError

T = TypeVar("T")

#: Pages that each connection keeps in memory, KiB. Rows are appended and rarely read again.
PAGE_CACHE_KIB = 512
#: Units of work that share one commit at most; bounds how long one commit can take.
GROUP = 512
#: Of the thread that reads for reports.
_PATIENT_NICENESS = 10


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
        self.path: Path | None = path
        self._path = path
        self._is_synced = durability == "power"
        self._busy_timeout_s = busy_timeout_s
        self._lock = FileLock(path.with_name(path.name + ".lock")) if exclusive else None
        self._claims: list[FileLock] = []
        self._writer: _Thread | None = None
        self._reader: _Thread | None = None

    async def open(self) -> None:
        """See `Database.open`. Raises StorageLockedError, StorageError."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made here, so that it is this user's alone; SQLite gives its WAL the same mode.
            if not self._path.exists():
                self._path.touch(mode=0o600)
        except OSError as error:
            raise _failed(self._path, error) from error
        if self._lock is not None:
            self._lock.acquire()
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        # Each is kept only once it runs, so that `close` waits for no thread that never started.
        writer = _Thread(self._path, self._connect, name="farthing-writer", begin="BEGIN IMMEDIATE")
        await writer.start()
        self._writer = writer
        reader = _Thread(
            self._path, self._connect, name="farthing-reader", begin="BEGIN", is_patient=True
        )
        await reader.start()
        self._reader = reader

    async def migrate(self, migrations: Sequence[Migration]) -> None:
        """See `Database.migrate`."""
        await self.write(lambda: apply(migrations, str(self._path)))

    async def write(self, work: Callable[[], Work[T]], *, guard: Guard | None = None) -> T:
        """See `Database.write`."""
        if self._writer is None:
            raise _closed(self._path)
        result: T = await self._writer.submit(work, guard)
        return result

    async def read(self, sql: str, params: tuple[Any, ...] = ()) -> list[Row]:
        """See `Database.read`."""
        if self._reader is None:
            raise _closed(self._path)

        def work() -> Work[list[Row]]:
            return (yield Query(sql, params))

        rows: list[Row] = await self._reader.submit(work)
        return rows

    async def claim(self, name: str) -> None:
        """See `Database.claim`: a lock file of that name beside the database."""
        lock = FileLock(self._claim_file(name))
        lock.acquire()
        self._claims.append(lock)

    async def is_claimed(self, name: str) -> bool:
        """See `Database.is_claimed`."""
        return FileLock(self._claim_file(name)).is_held()

    async def close(self) -> None:
        """See `Database.close`."""
        for thread in (self._writer, self._reader):
            if thread is not None:
                await thread.stop()
        self._writer = self._reader = None
        while self._claims:
            self._claims.pop().release(remove=True)
        if self._lock is not None:
            self._lock.release()

    def _claim_file(self, name: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{name}.lock")

    def _connect(self, may_create: bool) -> sqlite3.Connection:
        place = f"{self._path.absolute().as_uri()}?mode={'rwc' if may_create else 'rw'}"
        connection = sqlite3.connect(
            place,
            uri=True,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            cached_statements=256,
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={'FULL' if self._is_synced else 'NORMAL'}")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute(f"PRAGMA cache_size=-{PAGE_CACHE_KIB}")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection


class _Job:
    """A unit of work and where its result goes."""

    __slots__ = ("error", "future", "guard", "loop", "result", "work")

    def __init__(
        self,
        work: Callable[[], Work[Any]],
        loop: asyncio.AbstractEventLoop,
        guard: Guard | None = None,
    ) -> None:
        self.work = work
        self.guard = guard
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
    """Owns one connection; runs the units that wait in one transaction.

    A connection that met a fatal error, or whose file was moved away, is closed and opened anew for the
    next group. begin: `IMMEDIATE` takes the write lock first, so that a unit never fails half-way on it.
    is_patient: the system may let others of this process go first.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[bool], sqlite3.Connection],
        *,
        name: str,
        begin: str,
        is_patient: bool = False,
    ) -> None:
        self._is_patient = is_patient
        self._path = path
        self._connect = connect
        self._begin = begin
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._next: _Job | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._opened: asyncio.Future[None] | None = None
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.create_future()
        self._thread.start()
        await self._opened

    async def submit(self, work: Callable[[], Work[Any]], guard: Guard | None = None) -> Any:
        if self._ended.is_set():
            raise _closed(self._path)
        job = _Job(work, asyncio.get_running_loop(), guard)
        self._queue.put(job)
        return await job.future

    async def stop(self) -> None:
        # Not `to_thread`: at the interpreter's exit, when a background client closes, pools are gone.
        self._queue.put(None)
        await self._ended.wait()

    def _run(self) -> None:
        assert self._opened is not None
        if self._is_patient:
            _step_back()
        try:
            self._open(may_create=True)
        except (sqlite3.Error, OSError) as error:
            self._tell(self._opened.set_exception, _failed(self._path, error))
        else:
            self._tell(self._opened.set_result, None)
            while (jobs := self._gather()) is not None:
                if jobs[0].guard is None:
                    self._commit(jobs)
                else:
                    self._commit_guarded(jobs[0], jobs[0].guard)
                for job in jobs:
                    self._tell(job.finish, loop=job.loop)
        finally:
            self._close()
            self._tell(self._ended.set)

    def _tell(
        self, what: Callable[..., Any], *args: Any, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        loop = loop or self._loop
        assert loop is not None
        try:
            loop.call_soon_threadsafe(what, *args)
        except RuntimeError:
            pass  # the loop is closed: nobody waits for it any more

    def _open(self, *, may_create: bool) -> None:
        self._connection = self._connect(may_create)
        self._file = _identity(self._path)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _gather(self) -> list[_Job] | None:
        """The next job and those that wait behind it, a guarded one alone; None: stop."""
        first = self._next or self._queue.get()
        self._next = None
        if first is None:
            return None
        jobs = [first]
        while len(jobs) < GROUP and first.guard is None:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._queue.put(None)
                break
            if job.guard is not None:
                self._next = job
                break
            jobs.append(job)
        return jobs

    def _commit_guarded(self, job: _Job, guard: Guard) -> None:
        try:
            guard.enter()
        except Exception as error:  # border: as in `_run_job`
            job.error = error
            return
        try:
            self._commit([job])
            if job.error is None:
                guard.committed()
        except Exception as error:  # border: as in `_run_job`
            job.error = error
        finally:
            guard.leave()

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            connection = self._ready()
            connection.execute(self._begin)
            for job in jobs:
                self._run_job(connection, job)
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            # Full disk, lost file, lock: nothing of the group is in the database, so all of it failed.
            if self._connection is not None and self._connection.in_transaction:
                _quietly(self._connection, "ROLLBACK")
            if _code(error) in _REOPEN:
                self._close()
            for job in jobs:
                job.error = _failed(self._path, error)

    def _ready(self) -> sqlite3.Connection:
        """The connection, to the file that has the path now.

        Writes to a file that was deleted would succeed and be lost with the process. Raises OSError.
        """
        if self._connection is not None and _identity(self._path) != self._file:
            self._close()
        if self._connection is None:
            if _identity(self._path) is None:
                raise FileNotFoundError("the file was removed while it was in use")
            self._open(may_create=False)
        assert self._connection is not None
        return self._connection

    def _run_job(self, connection: sqlite3.Connection, job: _Job) -> None:
        job.result = job.error = None
        connection.execute("SAVEPOINT unit")
        work = job.work()
        try:
            query = next(work)
            while True:
                if query.many is None:
                    rows = connection.execute(query.sql, query.params).fetchall()
                else:
                    connection.executemany(query.sql, query.many)
                    rows = []
                query = work.send(rows)
        except StopIteration as stop:
            job.result = stop.value
            connection.execute("RELEASE unit")
            return
        except sqlite3.Error as error:
            if _code(error) in _FATAL:
                raise
            job.error = _failed(self._path, error)  # the unit's own: a constraint, an absent table
        except Exception as error:  # border: the unit's own refusal (a budget, a conflict)
            job.error = error
        finally:
            work.close()
        connection.execute("ROLLBACK TO unit")
        connection.execute("RELEASE unit")


def _step_back() -> None:
    """Make this thread yield to the others where a core is short: a large report must delay no call."""
    try:  # on Linux each thread has a niceness of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _PATIENT_NICENESS)
    except (AttributeError, OSError):
        pass  # elsewhere all threads are equal


#: Errors of the database as a whole (primary result codes): the group has failed with them.
_FATAL = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
#: After these a fresh connection may do better than the old one.
_REOPEN = _FATAL - {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


def _code(error: Exception) -> int:
    """The primary result code, without what its upper bytes add."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else code


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file has this path now; None: none has."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def _quietly(connection: sqlite3.Connection, statement: str) -> None:
    try:
        connection.execute(statement)
    except sqlite3.Error:
        pass  # SQLite has rolled back by itself already


_HINTS = {
    "disk is full": "Free some space; calls go on as soon as it can be written again.",
    "Read-only": "Make the file and its folder writable for this user.",
    "readonly": "Make the file and its folder writable for this user.",
    "unable to open": "It must be a file, in a folder where this user may write.",
    "File exists": "A file stands where its folder belongs: move it away, or set another storage.url.",
    "No such file": "Does its folder exist, and may this user write there? storage.url names it.",
    "Permission denied": "Make its folder writable for this user, or set another storage.url.",
    "not a database": "Choose another file in storage.url, or restore this one from a copy.",
    "malformed": "The file is damaged: restore it from a copy, or recover it with `sqlite3 FILE .recover`.",
    "locked": "Another program holds it; end that program, or raise storage.busy_timeout_s.",
    "removed while": "Put it back, or start Farthing again to begin a new one.",
    "no such table": "The file was replaced by another; start Farthing again to prepare it.",
}


def _closed(path: Path) -> StorageError:
    return StorageError(f"The database {path} is closed.", hint="Open the gateway again.")


def _failed(path: Path, error: Exception) -> StorageError:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    hint = next((advice for mark, advice in _HINTS.items() if mark in text), None)
    return StorageError(f"The database {path} cannot be used: {text}.", hint=hint)
