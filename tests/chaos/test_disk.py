"""A full disk and a database that cannot be written: calls are refused or served as set, nothing breaks."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import aiohttp
import pytest

from farthing.base.config.settings import Ledger, Provider, Settings, Storage
from farthing.base.config.settings import Server as ServerSettings
from farthing.core.errors import StorageError
from farthing.gateway.client import Gateway, open_gateway
from farthing.server.listener import listen
from farthing.server.serve import serving

SCENARIO = """
name = "disk"
[models.m]
price = { input = 1.00, output = 2.00 }
source = "made up"
date = "2026-11-24"
[regions.near]
latency = { first_token_p50_s = 0.0001, first_token_p99_s = 0.0002, per_token_s = 0.0 }
[regions.near.deployments.m]
model = "m"
quota = { tokens_per_minute = 9000000, requests_per_minute = 100000 }
"""
BODY = {"model": "sim/m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not a byte is left there."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                pass  # full, as wanted
    try:
        yield
    finally:
        filler.unlink()


@asynccontextmanager
async def gateway_on(
    database: Path, scenario: Path, on_failure: str = "refuse"
) -> AsyncIterator[tuple[Gateway, aiohttp.ClientSession]]:
    """A served gateway on this database file."""
    scenario.write_text(SCENARIO)
    settings = Settings(
        server=ServerSettings(port=0, detect=False),
        storage=Storage(url=f"sqlite:{database}", busy_timeout_s=0.1),
        ledger=Ledger(on_failure=on_failure),  # type: ignore[arg-type]
        providers={"sim": Provider(type="sim", scenario=str(scenario))},
    )
    with listen(settings.server) as listener:
        async with (
            open_gateway(settings, environ={}) as gateway,
            serving(gateway, listener) as server,
            aiohttp.ClientSession(server.url) as client,
        ):
            yield gateway, client


async def ask(client: aiohttp.ClientSession) -> tuple[int, str, str]:
    """Status, body and call id of one call."""
    async with client.post("/v1/chat/completions", json=BODY) as answer:
        return answer.status, await answer.text(), answer.headers.get("x-farthing-call-id", "")


async def booked(gateway: Gateway) -> set[str]:
    """The calls in the ledger."""
    return {entry.call_id for entry in await gateway.accounts.entries()}


async def ask_until(client: aiohttp.ClientSession, status: int) -> str:
    """Call until this status comes: the log may still have room for a few rows."""
    for _ in range(2000):
        found, text, _ = await ask(client)
        if found == status:
            return text
    pytest.fail(f"no call was answered with {status}")


async def not_ready(client: aiohttp.ClientSession) -> None:
    """The probe writes one page where a call writes several, so it may find room a few times more."""
    for _ in range(200):
        async with client.get("/ready") as answer:
            if answer.status == 503:
                assert "disk is full" in await answer.text()
                return
    pytest.fail("the gateway stayed ready")


async def metric(client: aiohttp.ClientSession, name: str) -> float:
    """A counter's value."""
    async with client.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def assert_sound(database: Path) -> None:
    """SQLite finds nothing wrong with the file."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_full_disk_refuses_calls_with_a_clear_error_and_recovers(
    small_disk: Path, tmp_path: Path
) -> None:
    database = small_disk / "farthing.db"
    async with gateway_on(database, tmp_path / "disk.toml") as (gateway, client):
        assert (await ask(client))[0] == 200
        with filled(small_disk):
            text = await ask_until(client, 503)
            assert "disk is full" in text
            assert "Free some space" in text
            await not_ready(client)
        status, _, call_id = await ask(client)
        assert status == 200
        assert call_id in await booked(gateway)
    assert_sound(database)


async def test_a_call_under_way_when_the_disk_fills_is_settled_when_there_is_space_again(
    small_disk: Path, tmp_path: Path
) -> None:
    database = small_disk / "farthing.db"
    async with gateway_on(database, tmp_path / "disk.toml") as (gateway, client):
        streamed = {**BODY, "stream": True}
        async with client.post("/v1/chat/completions", json=streamed) as answer:
            call_id = answer.headers["x-farthing-call-id"]
            await answer.content.readany()
            with filled(small_disk):
                await ask_until(client, 503)
                await answer.content.read()
        async with asyncio.timeout(20):
            while call_id not in await booked(gateway):
                await asyncio.sleep(0.05)
        assert call_id not in {hold.call_id for hold in await gateway.accounts.unsettled()}
    assert_sound(database)


async def test_with_serve_unrecorded_calls_go_on_and_are_counted(
    small_disk: Path, tmp_path: Path
) -> None:
    database = small_disk / "farthing.db"
    disk = gateway_on(database, tmp_path / "disk.toml", "serve_unrecorded")
    async with disk as (gateway, client):
        with filled(small_disk):
            calls = 0
            while not await metric(client, "farthing_unrecorded_calls_total"):
                assert (await ask(client))[0] == 200
                calls += 1
                assert calls < 2000
            _, _, unrecorded = await ask(client)
        async with asyncio.timeout(20):
            while unrecorded not in await booked(gateway):
                await asyncio.sleep(0.05)
        assert await gateway.accounts.unsettled() == []
    assert_sound(database)


@pytest.mark.parametrize("on_failure", ["refuse", "serve_unrecorded"])
async def test_a_database_that_another_program_holds_for_a_moment_stops_no_call_and_loses_none(
    tmp_path: Path, on_failure: str
) -> None:
    """The journal is durable without the database (docs/adr/0015-journal-and-board.md)."""
    database = tmp_path / "farthing.db"
    async with gateway_on(database, tmp_path / "disk.toml", on_failure) as (gateway, client):
        assert (await ask(client))[0] == 200
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            status, _, call_id = await ask(client)
            other.execute("ROLLBACK")
        assert status == 200
        assert call_id in await booked(gateway)
        assert await metric(client, "farthing_unrecorded_calls_total") == 0
    assert_sound(database)


@pytest.mark.parametrize("on_failure", ["refuse", "serve_unrecorded"])
async def test_a_database_that_another_program_keeps_is_waited_for_and_then_refused_or_served(
    tmp_path: Path, on_failure: str
) -> None:
    """From the first fold that fails on, at the latest a second after the first call that waits for it."""
    database = tmp_path / "farthing.db"
    async with gateway_on(database, tmp_path / "disk.toml", on_failure) as (gateway, client):
        assert (await ask(client))[0] == 200
        answered = set()
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match="locked"):
                await gateway.accounts.entries()  # a fold, as the background does each second
            status, text, call_id = await ask(client)
            answered.add(call_id)
            other.execute("ROLLBACK")
        if on_failure == "refuse":
            assert status == 503
            assert "locked" in text
            assert "end that program" in text
        else:
            assert status == 200
            assert await metric(client, "farthing_unrecorded_calls_total") == 1
            assert answered <= await booked(gateway)
        assert (await ask(client))[0] == 200
    assert_sound(database)


async def test_a_database_that_becomes_read_only_refuses_calls(
    small_disk: Path, tmp_path: Path
) -> None:
    database = small_disk / "farthing.db"
    async with gateway_on(database, tmp_path / "disk.toml") as (_, client):
        assert (await ask(client))[0] == 200
        database.rename(small_disk / "moved.db")  # SQLite will not write a file that has moved
        status, text, _ = await ask(client)
        (small_disk / "moved.db").rename(database)
        if status == 503:
            assert "cannot be used" in text
        assert (await ask(client))[0] == 200
    assert_sound(database)


async def test_a_read_only_database_is_named_at_the_start(small_disk: Path, tmp_path: Path) -> None:
    database = small_disk / "farthing.db"
    async with gateway_on(database, tmp_path / "disk.toml") as (_, client):
        assert (await ask(client))[0] == 200
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError, match=r"farthing\.db") as caught:
        async with gateway_on(database, tmp_path / "disk.toml"):
            pytest.fail("it started")
    assert "writable" in (caught.value.hint or "")
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert_sound(database)


def test_the_command_says_so_in_one_sentence(small_disk: Path) -> None:
    (small_disk / ".farthing").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    program = [sys.executable, "-c", "from farthing.cli.main import main; main()"]
    started = subprocess.run(
        [*program, "up", "--port", "0", "--no-detect"],
        cwd=small_disk,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 1
    assert "writable" in started.stderr
    assert "Traceback" not in started.stderr
