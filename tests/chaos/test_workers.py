"""Several workers behind one port: exact together, replaced when they die, restarted without a lost call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PROGRAM = [sys.executable, "-c", "from farthing.cli.main import main; main()"]
SCENARIO = """
name = "workers"
[models.m]
price = { input = 1.00, output = 2.00 }
source = "made up"
date = "2026-11-25"
[regions.near]
latency = { first_token_p50_s = 0.001, first_token_p99_s = 0.002, per_token_s = 0.0001 }
[regions.near.deployments.m]
model = "m"
quota = { tokens_per_minute = 900000000, requests_per_minute = 9000000 }
[models.slow]
price = { input = 1.00, output = 2.00 }
source = "made up"
date = "2026-11-25"
[regions.far]
latency = { first_token_p50_s = 0.05, first_token_p99_s = 0.06, per_token_s = 0.05 }
[regions.far.deployments.slow]
model = "slow"
quota = { tokens_per_minute = 900000000, requests_per_minute = 9000000 }
"""
SETTINGS = """
[server]
port = 0
detect = false
grace_s = 10
workers = 2
[storage]
url = "sqlite:{folder}/farthing.db"
[providers.sim]
type = "sim"
scenario = "{folder}/scenario.toml"
{more}
"""


@dataclass
class Gateway:
    """A supervisor as a process."""

    url: str
    pid: int
    workers: list[int]
    process: asyncio.subprocess.Process

    async def workers_now(self) -> set[int]:
        """The supervisor's children."""
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return {int(pid) for pid in listed.split()}


@asynccontextmanager
async def gateway(folder: Path, more: str = "") -> AsyncIterator[Gateway]:
    """Two workers over simulated regions, ended by SIGTERM."""
    (folder / "scenario.toml").write_text(SCENARIO)
    (folder / "farthing.toml").write_text(SETTINGS.format(folder=folder, more=more))
    process = await asyncio.create_subprocess_exec(
        *[*PROGRAM, "up", "--json"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(folder),
        },
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            said = json.loads(await process.stdout.readline())
        yield Gateway(said["url"], said["pid"], said["workers"], process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.wait()


def body(text: str = "Hello", **fields: object) -> dict[str, object]:
    """A chat request."""
    messages = [{"role": "user", "content": text}]
    return {"model": "sim/m", "messages": messages, "max_tokens": 20, **fields}


async def ask(url: str, **fields: object) -> tuple[int, dict[str, Any]]:
    """One call over a connection of its own, which any worker may take."""
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{url}/v1/chat/completions", json=body(**fields)) as answer,
    ):
        return answer.status, await answer.json()


async def counted(url: str) -> float:
    """Calls that /metrics tells of."""
    async with aiohttp.ClientSession() as client, client.get(f"{url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("farthing_requests_total{")
    )


async def admin(url: str, path: str) -> Any:
    """What the admin API tells."""
    async with aiohttp.ClientSession() as client, client.get(f"{url}/admin/{path}") as answer:
        return await answer.json()


async def until_replaced(running: Gateway, pid: int) -> None:
    """Wait until `pid` is gone and there are two workers again."""
    async with asyncio.timeout(60):
        while True:
            now = await running.workers_now()
            if pid not in now and len(now) == 2:
                return
            await asyncio.sleep(0.05)


async def test_the_workers_share_one_port_one_ledger_and_one_sum_of_metrics(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        assert len(running.workers) == 2
        answers = await asyncio.gather(*(ask(running.url) for _ in range(40)))
        assert [status for status, _ in answers] == [200] * 40
        for _ in range(4):
            assert await counted(running.url) == 40
        (row,) = await admin(running.url, "spend?by=total")
        assert row["calls"] == 40
        handled = [Path(f"/proc/{pid}/stat").read_text() for pid in running.workers]
        assert len(handled) == 2
    assert running.process.returncode == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in running.workers)


async def test_a_budget_is_not_overspent_by_two_workers(tmp_path: Path) -> None:
    budget = '[budgets.all]\ndollars = "0.002"\nwindow = "total"'
    async with gateway(tmp_path, budget) as running:
        answers = await asyncio.gather(*(ask(running.url) for _ in range(120)))
        statuses = {status for status, _ in answers}
        assert statuses == {200, 402}
        (row,) = await admin(running.url, "spend?by=total")
        assert row["nanodollars"] <= 2_000_000
        (state,) = await admin(running.url, "budgets")
        assert state["spent"] == row["nanodollars"]
        assert state["reserved"] == 0


async def test_a_rate_is_kept_by_two_workers_together(tmp_path: Path) -> None:
    rate = "[rates.all]\nrequests_per_minute = 6\nburst_s = 100"
    async with gateway(tmp_path, rate) as running:
        answers = await asyncio.gather(*(ask(running.url) for _ in range(60)))
        good = sum(status == 200 for status, _ in answers)
        assert 10 <= good <= 12
        assert {status for status, _ in answers} == {200, 429}


async def test_a_worker_that_is_killed_is_replaced_and_its_holds_are_recovered(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as running, aiohttp.ClientSession() as client:
        asked = body("a long story " * 20, model="sim/slow", max_tokens=200, stream=True)
        async with client.post(f"{running.url}/v1/chat/completions", json=asked) as answer:
            call_id = answer.headers["x-farthing-call-id"]
            await answer.content.readany()
            before = await counted(running.url)
            for pid in running.workers:
                os.kill(pid, signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await answer.content.read()
        for pid in running.workers:
            await until_replaced(running, pid)
        async with asyncio.timeout(30):
            while True:
                try:
                    holds = {row["call_id"]: row for row in await admin(running.url, "unsettled")}
                except aiohttp.ClientError:
                    continue
                if holds.get(call_id, {}).get("state") == "orphaned":
                    break
                await asyncio.sleep(0.05)
        assert (await ask(running.url))[0] == 200
        assert await counted(running.url) >= before


async def test_restarting_the_workers_in_turn_loses_no_call(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        stop = asyncio.Event()
        statuses: list[int] = []

        async def load() -> None:
            while not stop.is_set():
                status, _ = await ask(running.url)
                statuses.append(status)

        loads = [asyncio.create_task(load()) for _ in range(6)]
        os.kill(running.pid, signal.SIGUSR2)
        for pid in running.workers:
            async with asyncio.timeout(60):
                while Path(f"/proc/{pid}").exists():
                    await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*loads)
        assert len(statuses) > 20
        assert set(statuses) == {200}
        assert not await running.workers_now() & set(running.workers)


async def test_a_stream_under_way_is_finished_by_a_worker_that_is_being_replaced(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as running, aiohttp.ClientSession() as client:
        asked = body("a story " * 10, model="sim/slow", max_tokens=40, stream=True)
        async with client.post(f"{running.url}/v1/chat/completions", json=asked) as answer:
            await answer.content.readany()
            os.kill(running.pid, signal.SIGUSR2)
            rest = await answer.content.read()
        assert rest.endswith(b"data: [DONE]\n\n")


async def test_workers_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        os.kill(running.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while any(Path(f"/proc/{pid}").exists() for pid in running.workers):
                await asyncio.sleep(0.05)
