"""SQLite when the disk, the file, the rights or another process are against it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from farthing.base.config.settings import Storage
from farthing.base.storage import Database, Migration, Query, Work, connect
from farthing.core.errors import StorageError, StorageLockedError

TABLE = Migration(
    room="shop", number=1, name="first", statements=("CREATE TABLE shelf (n INTEGER, fill BLOB)",)
)
is_root = pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write everywhere")


def at(path: Path, *, exclusive: bool = False, busy_timeout_s: float = 5.0) -> Database:
    settings = Storage(url=f"sqlite:{path}", busy_timeout_s=busy_timeout_s)
    return connect(settings, exclusive=exclusive)


async def opened(path: Path, **options: bool | float) -> Database:
    database = at(path, **options)  # type: ignore[arg-type]
    await database.open()
    await database.migrate([TABLE])
    return database


def put(number: int, size: int = 0) -> Work[None]:
    yield Query("INSERT INTO shelf (n, fill) VALUES (?, ?)", (number, bytes(size)))


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A full disk, as far as writes can tell: the kernel refuses to let a file grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    database = await opened(tmp_path / "a" / "b" / "shop.db")
    await database.close()
    assert (tmp_path / "a" / "b" / "shop.db").is_file()


async def test_a_new_database_is_for_its_owner_only(tmp_path: Path) -> None:
    database = await opened(tmp_path / "new" / "shop.db")
    await database.write(lambda: put(1))
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in (tmp_path / "new").iterdir()}
    assert set(modes.values()) == {"0o600"}
    assert oct((tmp_path / "new").stat().st_mode & 0o777) == "0o700"
    await database.close()


async def test_when_nothing_more_can_be_written_all_fail_and_later_all_goes_on(
    tmp_path: Path,
) -> None:
    database = await opened(tmp_path / "shop.db")
    await database.write(lambda: put(1))
    with files_no_larger_than(100_000):
        found = await asyncio.gather(
            *(database.write(partial(put, n, 400_000)) for n in range(2, 6)),
            return_exceptions=True,
        )
        assert all(isinstance(each, StorageError) for each in found)
        assert await database.read("SELECT n FROM shelf") == [(1,)]
    await database.write(lambda: put(9, 400_000))
    assert await database.read("SELECT n FROM shelf ORDER BY n") == [(1,), (9,)]
    await database.close()


async def test_a_file_that_is_deleted_under_us_fails_instead_of_swallowing_money(
    tmp_path: Path,
) -> None:
    path = tmp_path / "shop.db"
    database = await opened(path)
    aside = path.with_name("aside.db")
    await database.write(lambda: put(1))
    path.rename(aside)
    with pytest.raises(StorageError, match="removed while it was in use"):
        await database.write(lambda: put(2))
    aside.rename(path)
    await database.write(lambda: put(3))
    assert await database.read("SELECT n FROM shelf") == [(1,), (3,)]
    await database.close()


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
async def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "shop.db"
    path.mkdir() if content is None else path.write_bytes(content)
    database = at(path)
    with pytest.raises(StorageError, match=r"shop\.db") as caught:
        await database.open()
    assert caught.value.hint
    await database.close()


async def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="taken"):
        await at(tmp_path / "taken" / "shop.db").open()


@is_root
async def test_a_read_only_database_says_how_to_make_it_writable(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    await (await opened(path)).close()
    path.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="writable"):
            await opened(path)
    finally:
        tmp_path.chmod(0o700)


async def test_a_second_owner_is_told_the_first_ones_process(tmp_path: Path) -> None:
    owner = await opened(tmp_path / "shop.db", exclusive=True)
    with pytest.raises(StorageLockedError, match=f"process {os.getpid()}"):
        await at(tmp_path / "shop.db", exclusive=True).open()
    await owner.close()
    await (await opened(tmp_path / "shop.db", exclusive=True)).close()


async def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    program = (
        "import sys, time; from pathlib import Path\n"
        "from farthing.base.storage.lock import FileLock\n"
        "FileLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path.with_name("shop.db.lock"))],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(StorageLockedError, match=str(child.pid)):
            await at(path, exclusive=True).open()
        child.kill()
    await (await opened(path, exclusive=True)).close()


async def test_administration_writes_beside_the_owner_and_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    owner = await opened(path, exclusive=True)
    beside = await opened(path)
    await asyncio.gather(
        *(owner.write(partial(put, n)) for n in range(50)),
        *(beside.write(partial(put, n)) for n in range(50)),
    )
    assert await owner.read("SELECT count(*) FROM shelf") == [(100,)]
    await beside.close()
    await owner.close()


async def test_reports_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    database = await opened(path, busy_timeout_s=0.05)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await database.read("SELECT count(*) FROM shelf") == [(0,)]
        with pytest.raises(StorageError, match="locked"):
            await database.write(lambda: put(1))
        other.execute("ROLLBACK")
    other.close()
    await database.write(lambda: put(1))
    await database.close()
