"""Load for the crash proof: many clients of mixed dialects that note which answers they saw complete.

    python benchmarks/_load.py URL FILE --clients 56

Runs until SIGTERM. FILE gets one JSON line per answer that was complete to its client: the call's id from
`x-farthing-call-id`. A gateway that is not there is tried again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
from pathlib import Path
from typing import TextIO

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import _speakers

#: Seconds before a client tries a gateway again that is not there.
_AGAIN_S = 0.05
#: The share of streams that the client leaves in the middle.
_LEAVES = 0.1
MODEL = "mixed"


async def main(url: str, path: Path, clients: int, dialects: list[str]) -> None:
    """Keep `clients` calls running until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=20)
    with path.open("a") as log:
        async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
            tasks = [
                asyncio.create_task(_client(session, log, stop, number, dialects))
                for number in range(clients)
            ]
            await stop.wait()
            await asyncio.gather(*tasks)


async def _client(
    session: aiohttp.ClientSession,
    log: TextIO,
    stop: asyncio.Event,
    number: int,
    dialects: list[str],
) -> None:
    draw = random.Random(number)
    turn = number
    while not stop.is_set():
        turn += 1
        dialect = dialects[turn % len(dialects)]
        try:
            call_id = await _one(session, dialect, draw, is_stream=turn // len(dialects) % 3 > 0)
        except (aiohttp.ClientError, OSError, TimeoutError):
            await asyncio.sleep(_AGAIN_S)
            continue
        if call_id is not None:
            log.write(json.dumps({"call": call_id, "dialect": dialect}) + "\n")
            log.flush()
        else:
            await asyncio.sleep(_AGAIN_S)


async def _one(
    session: aiohttp.ClientSession, dialect: str, draw: random.Random, *, is_stream: bool
) -> str | None:
    """The call's id when its answer was complete."""
    words = " ".join(str(draw.randrange(10_000)) for _ in range(draw.randrange(4, 30)))
    ask = _speakers.ask(dialect, MODEL, words, stream=is_stream)
    leaves = is_stream and draw.random() < _LEAVES
    body = b""
    async with session.post(ask.path, json=ask.body, headers=ask.headers) as answer:
        async for chunk in answer.content.iter_any():
            body += chunk
            if leaves and len(body) > 400:
                return None
        if answer.status != 200:
            return None
        call_id = answer.headers["x-farthing-call-id"]
    return call_id if _speakers.read(dialect, body, stream=is_stream).claims_complete else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--clients", type=int, default=56)
    parser.add_argument("--dialects", default=",".join(_speakers.SPEAKERS))
    given = parser.parse_args()
    asyncio.run(main(given.url, given.file, given.clients, given.dialects.split(",")))
