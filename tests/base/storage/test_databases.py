"""What both databases promise: one suite, run on SQLite and on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from farthing.base.config.settings import Storage
from farthing.base.storage import Database, Migration, Query, Row, Work, connect
from farthing.core.errors import ConfigError, StorageError, StorageVersionError

FIRST = Migration(
    room="shop", number=1, name="first", statements=("CREATE TABLE shelf (n INTEGER PRIMARY KEY)",)
)
SECOND = Migration(
    room="shop",
    number=2,
    name="second",
    statements=("ALTER TABLE shelf ADD COLUMN label TEXT", "INSERT INTO shelf (n) VALUES (0)"),
)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'a folder' / 'shop.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    made = connect(Storage(url=url))
    await made.open()
    await made.migrate([FIRST])
    yield made
    await made.close()


def put(*numbers: int) -> Work[int]:
    for number in numbers:
        yield Query("INSERT INTO shelf (n) VALUES (?)", (number,))
    return len(numbers)


async def shelf(database: Database) -> list[Row]:
    return await database.read("SELECT n FROM shelf ORDER BY n")


async def test_a_unit_of_work_is_written_whole_or_not_at_all(database: Database) -> None:
    assert await database.write(lambda: put(1, 2)) == 2
    with pytest.raises(StorageError):
        await database.write(lambda: put(3, 1))
    assert await shelf(database) == [(1,), (2,)]


async def test_a_unit_that_raises_leaves_no_trace_and_harms_no_other(database: Database) -> None:
    def refuse() -> Work[None]:
        yield from put(7)
        raise KeyError("no")

    def nonsense() -> Work[None]:
        yield Query("SELECT * FROM nowhere")

    units = [lambda: put(1), refuse, nonsense, lambda: put(1), lambda: put(2)]
    found = await asyncio.gather(*(database.write(u) for u in units), return_exceptions=True)
    assert [type(each) for each in found] == [int, KeyError, StorageError, StorageError, int]
    assert await shelf(database) == [(1,), (2,)]


async def test_many_units_at_once_are_all_written(database: Database) -> None:
    await asyncio.gather(*(database.write(partial(put, n)) for n in range(300)))
    assert len(await shelf(database)) == 300


async def test_what_is_written_is_there_for_the_next_process(url: str, database: Database) -> None:
    await database.write(lambda: put(1))
    other = connect(Storage(url=url))
    await other.open()
    await other.migrate([FIRST])
    assert await shelf(other) == [(1,)]
    await other.close()


async def test_migrations_run_once_each_in_order(url: str, database: Database) -> None:
    await database.migrate([FIRST, SECOND])
    await database.migrate([FIRST, SECOND])
    assert await database.read("SELECT n, label FROM shelf") == [(0, None)]


async def test_a_migration_that_fails_changes_nothing(database: Database) -> None:
    bad = Migration(
        room="shop", number=2, name="bad", statements=("CREATE TABLE extra (n INTEGER)", "NONSENSE")
    )
    with pytest.raises(StorageError):
        await database.migrate([FIRST, bad])
    await database.migrate([FIRST, SECOND])
    with pytest.raises(StorageError):
        await database.read("SELECT * FROM extra")


async def test_a_database_of_a_newer_program_is_refused_with_both_versions(
    database: Database,
) -> None:
    await database.migrate([FIRST, SECOND])
    with pytest.raises(StorageVersionError, match="version 2, this program knows 1"):
        await database.migrate([FIRST])


async def test_two_processes_may_migrate_at_the_same_moment(url: str) -> None:
    pair = [connect(Storage(url=url)) for _ in range(2)]
    for each in pair:
        await each.open()
    await asyncio.gather(*(each.migrate([FIRST, SECOND]) for each in pair))
    assert await shelf(pair[0]) == [(0,)]
    for each in pair:
        await each.close()


async def test_a_claim_ends_with_its_process(url: str, database: Database) -> None:
    other = connect(Storage(url=url))
    await other.open()
    await other.claim("run_1")
    assert await database.is_claimed("run_1")
    assert not await database.is_claimed("run_2")
    await other.close()
    assert not await database.is_claimed("run_1")


async def test_a_closed_database_says_so(url: str) -> None:
    made = connect(Storage(url=url))
    await made.open()
    await made.close()
    await made.close()
    with pytest.raises(StorageError, match="closed"):
        await made.write(lambda: put(1))
    with pytest.raises(StorageError, match="closed"):
        await made.read("SELECT 1")


async def test_a_caller_that_stops_waiting_stops_no_other(database: Database) -> None:
    left = asyncio.create_task(database.write(lambda: put(1)))
    stayed = asyncio.create_task(database.write(lambda: put(2)))
    await asyncio.sleep(0)
    left.cancel()
    assert await stayed == 1


def test_an_address_of_another_kind_says_what_is_known() -> None:
    with pytest.raises(ConfigError, match="sqlite:PATH or postgresql"):
        connect(Storage(url="mysql://here"))


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    database = connect(Storage(url="postgresql://me:hunter2@127.0.0.1:1/shop"))
    with pytest.raises(StorageError) as caught:
        await database.open()
    assert "127.0.0.1:1/shop" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_units_that_deadlock_are_tried_again(postgres_url: str) -> None:
    pair = [connect(Storage(url=postgres_url)) for _ in range(2)]
    for each in pair:
        await each.open()
        await each.migrate([FIRST])
    await pair[0].write(lambda: put(1, 2))

    def touch(number: int) -> Work[None]:
        yield Query("UPDATE shelf SET n = n WHERE n = ?", (number,))
        yield Query("SELECT pg_sleep(0.05)")

    # Each process puts its two units into one transaction, and they meet in opposite order.
    jobs = [pair[0].write(partial(touch, n)) for n in (1, 2)]
    jobs += [pair[1].write(partial(touch, n)) for n in (2, 1)]
    assert await asyncio.gather(*jobs) == [None] * 4
    for each in pair:
        await each.close()


async def test_a_connection_that_the_server_ended_is_made_anew(postgres_url: str) -> None:
    database = connect(Storage(url=postgres_url))
    await database.open()
    await database.migrate([FIRST])
    await database.claim("run_1")
    other = connect(Storage(url=postgres_url))
    await other.open()
    await other.read(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    try:  # the driver may have noticed already, and then connects anew by itself
        await database.write(lambda: put(1))
    except StorageError:
        await database.write(lambda: put(1))
    assert await shelf(database) == [(1,)]
    assert await other.is_claimed("run_1")
    await other.close()
    await database.close()
