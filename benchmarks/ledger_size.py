"""How many bytes a settled call takes in the database: 20,000 calls of mixed shape on SQLite.

Run: `python -m benchmarks.ledger_size`. One in ten calls is tried twice, one in eight carries tags, one in
four has cached input, one in six reasoning; request ids are those of OpenAI, Anthropic and Azure in turn.
Bytes are those of the file after the log was written back, divided by the calls.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
import time
from pathlib import Path
from uuid import UUID

from farthing.accounts.accounts import Accounts, Hold
from farthing.base.clock import Clock, SystemClock
from farthing.base.config.settings import Settings, Storage
from farthing.base.storage import connect
from farthing.core.calls import AttemptRecord, Caller, CallRecord
from farthing.core.usage import Usage

CALLS = 20_000
AT_ONCE = 100


def record_of(clock: Clock, hold: Hold, number: int) -> CallRecord:
    """A call of the mix."""
    usage = Usage(
        input_tokens=200 + number * 7 % 9_000,
        output_tokens=number * 13 % 2_000,
        cached_input_tokens=128 if number % 4 == 0 else 0,
        reasoning_tokens=64 if number % 6 == 0 else 0,
    )
    request_ids = (
        f"req_{clock.token_bytes(16).hex()}",
        f"req_011CS{clock.token_bytes(10).hex()[:19]}",
        str(UUID(bytes=clock.token_bytes(16))),
    )
    attempt = AttemptRecord(
        deployment=f"deployment-{number % 12}",
        provider=f"provider-{number % 4}",
        model=f"model-{number % 8}",
        outcome="ok",
        usage=usage,
        nanodollars=number * 1_009 % 40_000_000,
        upstream_request_id=request_ids[number % 3],
    )
    return CallRecord(
        call_id=hold.call_id,
        at_s=hold.at_s,
        key_id=hold.caller.key_id,
        team=hold.caller.team,
        face="openai",
        dialect="openai-chat",
        model=hold.model,
        tags=hold.tags,
        attempts=(attempt,) * (2 if number % 10 == 0 else 1),
    )


async def _call(accounts: Accounts, clock: Clock, number: int) -> None:
    hold = Hold(
        call_id=clock.new_id("call"),
        caller=Caller(key_id=f"key_{number % 50:026}", team=f"team-{number % 5}"),
        model=f"model-{number % 8}",
        nanodollars=50_000_000,
        at_s=clock.now(),
        tags=(f"project-{number % 20}",) if number % 8 == 0 else (),
    )
    reservation = await accounts.reserve(hold)
    await accounts.settle(reservation, record_of(clock, hold, number))


async def measure(folder: Path) -> dict[str, float]:
    """Bytes per call, and calls per second of the ledger alone (reserve and settle, grouped)."""
    path, clock = folder / "ledger.db", SystemClock()
    database = connect(Storage(url=f"sqlite:{path}"))
    await database.open()
    accounts = Accounts(database, Settings(), clock=clock, environ={})
    await accounts.open()
    started = time.perf_counter()
    for first in range(0, CALLS, AT_ONCE):
        await asyncio.gather(*(_call(accounts, clock, first + n) for n in range(AT_ONCE)))
    seconds = time.perf_counter() - started
    await accounts.aclose()
    await database.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return {
        "calls": CALLS,
        "bytes_per_call": round(path.stat().st_size / CALLS, 1),
        "calls_per_second": round(CALLS / seconds),
    }


def main() -> None:
    """Print one line of JSON."""
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measure(Path(folder)))))


if __name__ == "__main__":
    main()
