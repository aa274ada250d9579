"""Connections that are opened and dropped in every state, 1,000 a second: what is left of them afterwards.

    python benchmarks/churn.py --seconds 60

Each connection sends some part of a request (nothing, half a head, a head without its body, a whole call,
a call whose stream it begins to read or never reads) and is then closed, half-closed or reset. Afterwards the
gateway must hold as many sockets and calls as before, answer as before, and have grown no more than memory
allocators do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import struct
import sys
import tempfile
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._harness import FARTHING, Report, free_port, process, resident_mb, wait_for

RATE = 1000
SCENARIO = """
name = "churn"
[models.m]
price = { input = 1.00, output = 2.00 }
source = "made up"
date = "2026-11-25"
[regions.near]
latency = { first_token_p50_s = 0.01, first_token_p99_s = 0.02, per_token_s = 0.005 }
[regions.near.deployments.m]
model = "m"
quota = { tokens_per_minute = 900000000, requests_per_minute = 9000000 }
"""
SETTINGS = """
[server]
port = {port}
detect = false
[storage]
url = "sqlite:{folder}/farthing.db"
[providers.sim]
type = "sim"
scenario = "{folder}/scenario.toml"
"""
_BODY = json.dumps(
    {
        "model": "sim/m",
        "stream": True,
        "max_tokens": 200,
        "messages": [{"role": "user", "content": "a story " * 50}],
    }
).encode()
_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
)
_CALL = _HEAD + b"content-length: %d\r\n\r\n" % len(_BODY) + _BODY
#: What a connection sends before it goes: at every state of the parser, of a call and of its stream.
PARTS = (
    b"",
    b"P",
    _HEAD[:40],
    _HEAD,
    _HEAD + b"content-length: %d\r\n\r\n" % len(_BODY),
    _CALL[:-10],
    _HEAD + b'transfer-encoding: chunked\r\n\r\n5\r\n{"mod',
    _CALL,
    _CALL + _CALL,
    b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n" * 3,
    b"\x16\x03\x01 not HTTP at all\r\n\r\n",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=RATE, help="connections a second")
    arguments = parser.parse_args()
    report = Report("churn")
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "scenario.toml").write_text(SCENARIO)
        (folder / "farthing.toml").write_text(SETTINGS.format(port=port, folder=folder))
        with process([FARTHING, "up"], cwd=folder, log=folder / "log") as child:
            wait_for(f"http://127.0.0.1:{port}/ready", child)
            asyncio.run(_churn(port, arguments.rate, 5.0))
            before = _state(port, child.pid)
            made = asyncio.run(_churn(port, arguments.rate, arguments.seconds))
            after = _state(port, child.pid)
            calls = _calls(port)
        report.add("connections", made)
        report.add("calls_begun", calls)
        report.add("sockets_leaked", after[0] - before[0], target=0)
        report.add("calls_left_in_flight", after[1], target=0)
        report.add("resident_mb_before", before[2])
        report.add("resident_mb_after", after[2])
        faults = (folder / "log").read_text().count("Traceback")
        report.add("tracebacks_in_the_log", faults, target=0)
    report.print()


async def _churn(port: int, rate: int, seconds: float) -> int:
    loop = asyncio.get_running_loop()
    draw, made, running = random.Random(1), 0, set()
    start = loop.time()
    while (passed := loop.time() - start) < seconds:
        while made < passed * rate:
            task = asyncio.create_task(_one(port, draw.choice(PARTS), draw.random(), draw.random()))
            running.add(task)
            task.add_done_callback(running.discard)
            made += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*running, return_exceptions=True)
    return made


async def _one(port: int, part: bytes, way: float, patience: float) -> None:
    """One connection: send, perhaps read a little, and go."""
    loop = asyncio.get_running_loop()
    with socket.socket() as peer:
        peer.setblocking(False)
        try:
            await loop.sock_connect(peer, ("127.0.0.1", port))
            await loop.sock_sendall(peer, part)
            if patience < 0.3:
                async with asyncio.timeout(patience):
                    await loop.sock_recv(peer, 512)
            if way < 0.3:
                peer.shutdown(socket.SHUT_WR)
                await asyncio.sleep(patience / 10)
            elif way < 0.7:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (OSError, TimeoutError):
            pass  # it was refused, reset or is waited for no longer: all of it is meant


def _state(port: int, pid: int) -> tuple[int, float, float]:
    """Sockets, calls in flight, megabytes; once everything that can end has ended."""
    for _ in range(100):
        if not _metric(port, "farthing_in_flight"):
            break
        asyncio.run(asyncio.sleep(0.1))
    asyncio.run(asyncio.sleep(1.0))
    sockets = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets += str(link.readlink()).startswith("socket:")
        except OSError:
            continue  # closed while we looked
    return sockets, _metric(port, "farthing_in_flight"), resident_mb(pid)


def _calls(port: int) -> float:
    return _metric(port, "farthing_requests_total")


def _metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
