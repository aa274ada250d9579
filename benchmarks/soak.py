"""A long run of mixed calls through one gateway process: does its memory grow, how large is its ledger?

Whole answers and streams in four dialects, tools, repeated idempotency keys, broken bodies, unknown models,
wrong keys and clients that hang up, with many keys, models and tags. The upstream is the C mock of the shared
folder (needs gcc), else a simulator without latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._harness import (
    FARTHING,
    Report,
    cpu_seconds,
    free_port,
    process,
    resident_mb,
    wait_for,
)
from tests.shared_data import shared_path

KEYS, MODELS, TAGS, REPEATED = 20, 10, 30, 200
#: Memory settles during the first calls (imports, caches, connections); drift counts from here.
WARM = 20_000
CONFIG = """
[server]
port = {port}
detect = false
[storage]
url = "sqlite:{folder}/farthing.db"
[providers.up]
{provider}
[budgets.all]
dollars = 1000000
"""
DEPLOYMENT = """
[deployments.model-{number}]
provider = "up"
model = "{model}"
price = {{ input = "0.15", output = "0.60", source = "benchmark", date = "2026-11-24" }}
"""
SCENARIO = """
name = "soak"
[models.m]
price = { input = 0.15, output = 0.60 }
source = "benchmark"
date = "2026-11-24"
[regions.r]
latency = { first_token_p50_s = 0.0001, first_token_p99_s = 0.0002, per_token_s = 0.0 }
[regions.r.deployments.m]
model = "m"
quota = { tokens_per_minute = 9000000000, requests_per_minute = 100000000 }
"""
WORDS = "The quick brown fox jumps over the lazy dog. "
TOOL = {"name": "look", "description": "Look", "parameters": {"type": "object", "properties": {}}}
#: Kinds of call and how many of a thousand each has.
MIX = {
    "chat": 400,
    "chat stream": 200,
    "tools": 50,
    "responses": 60,
    "responses stream": 30,
    "anthropic": 70,
    "anthropic stream": 40,
    "google": 40,
    "google stream": 30,
    "repeated": 20,
    "broken": 20,
    "unknown model": 10,
    "wrong key": 10,
    "hang-up": 20,
}


def main() -> None:
    arguments = _arguments()
    report = Report("soak")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        provider, model = stack.enter_context(_upstream(folder, report))
        port = free_port()
        config = folder / "farthing.toml"
        text = CONFIG.format(port=port, folder=folder, provider=provider)
        text += "".join(DEPLOYMENT.format(number=n, model=model) for n in range(MODELS))
        config.write_text(text)
        keys = [_key(folder, f"soak-{n}") for n in range(KEYS)]
        database = folder / "farthing.db"
        before = database.stat().st_size
        with process(
            [FARTHING, "up", "--config", str(config)], cwd=folder, log=folder / "farthing.log"
        ) as gateway:
            wait_for(f"http://127.0.0.1:{port}/ready", gateway)
            run = _Run(port, keys, gateway.pid, arguments.calls, arguments.connections)
            asyncio.run(run.all())
            if gateway.poll() is not None:
                raise RuntimeError("The gateway ended during the run.")
        _tell(report, run, database.stat().st_size - before)
    report.print()


def _tell(report: Report, run: _Run, ledger_bytes: int) -> None:
    report.add("calls", run.done)
    report.add("calls_per_s", run.done / run.seconds)
    report.add("cpu_us_per_call", run.cpu / run.done * 1e6)
    report.add("unexpected_answers", sum(run.unexpected.values()), target=0)
    if run.unexpected:
        report.note(f"unexpected: {dict(run.unexpected)}")
    start, end = run.memory[min(WARM, max(run.memory))], run.memory[max(run.memory)]
    report.add("resident_mb_after_warm_up", start)
    report.add("resident_mb_at_the_end", end)
    report.add("resident_mb_drift", end - start, target=5)
    report.add("database_bytes_per_call", ledger_bytes / run.done, target=250)
    samples = ", ".join(f"{count:,}: {mb:.1f}" for count, mb in run.memory.items())
    report.note(f"resident MB by calls: {samples}")


class _Run:
    """The load: so many connections, each asking one call after the other."""

    def __init__(self, port: int, keys: list[str], pid: int, calls: int, connections: int) -> None:
        self._port = port
        self._keys = keys
        self._pid = pid
        self._calls = calls
        self._connections = connections
        self._random = random.Random(1)
        self._started = 0
        self.done = 0
        self.seconds = 0.0
        self.cpu = 0.0
        self.memory: dict[int, float] = {}
        self.unexpected: Counter[str] = Counter()

    async def all(self) -> None:
        """Ask all calls; memory is noted every 10,000, and at the end once all is quiet."""
        start, cpu = time.monotonic(), cpu_seconds(self._pid)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._connections):
                group.create_task(self._worker())
        self.seconds, self.cpu = time.monotonic() - start, cpu_seconds(self._pid) - cpu
        await asyncio.sleep(2)
        self.memory[self.done] = resident_mb(self._pid)

    async def _worker(self) -> None:
        wire = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        kinds, weights = list(MIX), list(MIX.values())
        while self._started < self._calls:
            self._started += 1
            kind = self._random.choices(kinds, weights)[0]
            wanted, request = self._request(kind)
            wire[1].write(request)
            if kind == "hang-up":
                await asyncio.sleep(self._random.choice((0, 0.0005, 0.002)))
                wire[1].transport.abort()
                wire = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
            else:
                status = await _read(wire[0])
                if status != wanted:
                    self.unexpected[f"{kind}: {status}"] += 1
            self.done += 1
            if self.done % 10_000 == 0:
                self.memory[self.done] = resident_mb(self._pid)
        wire[1].close()

    def _request(self, kind: str) -> tuple[int, bytes]:
        """The status to expect, and the request's bytes."""
        number = self._random.randrange(REPEATED)
        key = self._keys[number % KEYS if kind == "repeated" else self._random.randrange(KEYS)]
        model = f"model-{number % MODELS if kind == 'repeated' else self._random.randrange(MODELS)}"
        text = WORDS * (3 if kind == "repeated" else self._random.randrange(1, 40))
        user = {"role": "user", "content": text}
        stream = kind.endswith("stream") or kind == "hang-up"
        path, status = "/v1/chat/completions", 200
        body: dict[str, object] = {"model": model, "messages": [user], "stream": stream}
        headers = {"x-farthing-tags": f"tag-{self._random.randrange(TAGS)}"}
        match kind.removesuffix(" stream"):
            case "tools":
                body["tools"] = [{"type": "function", "function": TOOL}]
            case "responses":
                path, body = "/v1/responses", {"model": model, "input": text, "stream": stream}
            case "anthropic":
                path, body = "/v1/messages", {**body, "max_tokens": 50}
            case "google":
                verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
                path = f"/v1beta/models/{model}:{verb}"
                body = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
            case "repeated":
                headers = {"idempotency-key": f"soak-{number}"}
            case "unknown model":
                status, body["model"] = 404, f"nobody-{self._random.randrange(10**9)}"
            case "wrong key":
                status, key = 401, f"fk-{self._random.randrange(10**9)}"
        wire = json.dumps(body).encode()
        if kind == "broken":
            status, wire = 400, wire[:-9]
        headers["authorization"] = f"Bearer {key}"
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return status, (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\n{head}"
            f"content-length: {len(wire)}\r\n\r\n"
        ).encode() + wire


async def _read(reader: asyncio.StreamReader) -> int:
    """The status of one answer, its body read to the end."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    if b"transfer-encoding: chunked" in head:
        while size := int((await reader.readline()).strip(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
    return status


@contextmanager
def _upstream(folder: Path, report: Report) -> Iterator[tuple[str, str]]:
    """The lines of the provider's table, and the model's name there."""
    tools = shared_path("bench", "gateway")
    if tools is None or not shutil.which("gcc"):
        report.note("The C mock is absent; the upstream is the simulator inside the gateway.")
        (folder / "scenario.toml").write_text(SCENARIO)
        yield f'type = "sim"\nscenario = "{folder}/scenario.toml"', "m"
        return
    subprocess.run(["gcc", "-O2", "-w", "-o", folder / "mock", tools / "mock.c"], check=True)
    port = free_port()
    with process([str(folder / "mock"), str(port), "0", "5"]) as child:
        wait_for(f"http://127.0.0.1:{port}/v1/models", child)
        # A vendor of chat completions only: every other dialect is translated.
        table = (
            f'type = "deepseek"\nkey = "mock"\nbase_url = "http://127.0.0.1:{port}/v1"\nmodels = []'
        )
        yield table, "mock"


def _key(folder: Path, name: str) -> str:
    made = subprocess.run(
        [FARTHING, "keys", "create", name, "--json"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    secret: str = json.loads(made.stdout)["key"]
    return secret


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--connections", type=int, default=32)
    return parser.parse_args()


if __name__ == "__main__":
    main()
