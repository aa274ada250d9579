"""Nothing private is kept: canaries in every field that carries text, searched wherever text could end up.

`farthing up` runs as a process with debug logging, the access log and OTLP export on, in front of the
simulator (with its whole menu of faults at random) and of a provider that quotes requests in its errors, events
and odd fields. Each request carries canaries of its own in messages, tools, schemas, images, stop sequences,
metadata, headers, paths, query strings and broken bodies; provider keys and wrong caller keys carry some too.

Searched, raw and in base64, hexadecimal and UTF-16: what the process wrote (its output, the database with WAL,
its working folder, home and temporary folder, core files after an abort), /metrics, the exported spans and
metrics; and every answer for canaries of other requests. Farthing's own keys are searched in the same places.

Tags (`x-farthing-tags`), key names and the like are stored by design and carry no canary.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._canaries import Marked, Marker, Writer
from benchmarks._echo import echoing, served
from benchmarks._harness import FARTHING, Report, free_port, process, wait_for
from farthing.sim import scenario
from farthing.sim.faults import MENU
from farthing.sim.http import Simulator

FLAVOURS = ("openai", "azure", "anthropic", "google")
#: The share of answers that meets each fault of the menu; bombs are rare, because they take half a second.
_FAULT_SHARE = {"gzip_bomb": 0.0003, "slow_drip": 0.0003}
#: The share of clients that hang up in the middle.
_LEAVES = 0.03
#: The number that marks canaries of provider keys, which no answer may ever show.
_KEY_NUMBER = 999_999

_CONFIG = """
[server]
port = {port}
detect = false
[telemetry]
log_level = "debug"
access_log = true
otlp_endpoint = "{otlp}"
[timeouts]
connect_s = 1
first_byte_s = 1
between_bytes_s = 1
total_s = 5
call_s = 8
[breaker]
open_s = 0.05
max_open_s = 0.2
[retry]
backoff_s = 0.005
[routes.mixed]
deployments = ["echo-openai", "openai", "anthropic"]
[routes.cached]
deployments = ["openai"]
cache = true
[budgets.all]
dollars = 1000000
window = "total"
"""
_PLACE = """
[providers.{name}]
type = "{type}"
base_url = "{url}"
key = "env:KEY_{variable}"
models = []
[deployments.{name}]
provider = "{name}"
model = "m"
kind = "chat"
context_tokens = 128000
max_output_tokens = 1000
price = {{ input = "1.00", output = "2.00", source = "made up", date = "2026-11-24" }}
"""
_EMBED = """
[deployments.embed]
provider = "openai"
model = "e"
kind = "embed"
price = { input = "0.10", source = "made up", date = "2026-11-24" }
"""


class Findings(msgspec.Struct, kw_only=True):
    """What was found: canaries by place, keys by place, and what was done. examples: for a person."""

    canaries: Counter[str] = msgspec.field(default_factory=Counter)
    keys: Counter[str] = msgspec.field(default_factory=Counter)
    done: Counter[str] = msgspec.field(default_factory=Counter)
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    examples: list[str] = []


class Search:
    """Looks for canaries and keys, and notes where they were."""

    def __init__(self, marker: Marker, findings: Findings) -> None:
        self.marker = marker
        self.findings = findings
        self.keys: tuple[Marker, ...] = ()

    def look(self, place: str, data: bytes) -> None:
        """Search one piece of data."""
        found = self.findings
        found.done["searched_megabytes"] += len(data)
        if count := self.marker.count(data):
            found.canaries[place] += count
            found.examples.append(f"{place}: {self.marker.context(data)}")
        for key in self.keys:
            if count := key.count(data):
                found.keys[place] += count

    def look_through(self, folder: Path, place: str) -> None:
        """Search every file below a folder, names included."""
        for path in folder.rglob("*"):
            kind = "wal" if path.suffix in (".db-wal", ".db-shm") else path.suffix.lstrip(".")
            self.look(f"{place}: file name", path.name.encode())
            if path.is_file():
                self.findings.done["core_files"] += path.name.startswith("core")
                self.look(f"{place}: {kind or 'file'}", path.read_bytes())


async def measure(count: int, *, concurrency: int = 12, seed: int = 1) -> Findings:
    """Send `count` requests, then abort a second gateway under load, and search everywhere."""
    findings = Findings()
    search = Search(Marker("cnry" + secrets.token_hex(4)), findings)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        simulator = await stack.enter_async_context(Simulator(scenario.parse(_scenario())))
        echo = await stack.enter_async_context(echoing())
        otlp = await stack.enter_async_context(_receiver(search))
        port = free_port()
        config = _settings(simulator, echo, otlp, port)
        for number, is_aborted in enumerate((False, True)):
            home = folder / str(number)
            environ = _environ(home, search.marker)
            (home / "farthing.toml").write_text(config)
            keys = await asyncio.to_thread(_keys, home, environ)
            search.keys += tuple(Marker(key[-24:]) for key in keys)
            writer = Writer(search.marker, _MODELS, keys, seed + number)
            first = 0 if not is_aborted else count
            numbers = range(first, first + (count if not is_aborted else max(60, count // 50)))
            log = home / "output.log"
            command = [FARTHING, "up"]
            with process(command, cwd=home / "work", env=environ, log=log) as child:
                url = f"http://127.0.0.1:{port}"
                await asyncio.to_thread(wait_for, url + "/ready", child)
                await _load(url, writer, numbers, concurrency, search)
                await _scrape(url, search, keys[0])
                search.look_through(home, "while running")
                if is_aborted:
                    child.send_signal(signal.SIGABRT)
                    await asyncio.to_thread(child.wait, 20)
            search.look_through(home, "after an abort" if is_aborted else "after the end")
            findings.done["access_lines"] += log.read_bytes().count(b'{"at":')
    findings.done["searched_megabytes"] //= 1_000_000
    return findings


async def _load(url: str, writer: Writer, numbers: range, concurrency: int, search: Search) -> None:
    left = iter(numbers)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as session:

        async def work() -> None:
            for number in left:
                await _ask(session, writer.request(number), search)
                if number % 2000 == 1999:
                    print(f"{number + 1} requests", flush=True)

        await asyncio.gather(*(work() for _ in range(concurrency)))
    await _raw(url, search.marker.canary(numbers[0], "!"))


async def _ask(session: aiohttp.ClientSession, marked: Marked, search: Search) -> None:
    """Send one request; no answer may show another request's words."""
    findings = search.findings
    findings.done["requests"] += 1
    method = "GET" if not marked.body else marked.method
    leaves = hash((marked.number, search.marker.word)) % 1000 < 1000 * _LEAVES
    answer = b""
    try:
        async with (
            asyncio.timeout(30),
            session.request(
                method, marked.path, data=marked.body or None, headers=marked.headers
            ) as response,
        ):
            findings.statuses[response.status] += 1
            answer = repr(dict(response.headers)).encode()
            async for piece in response.content.iter_any():
                answer += piece
                if leaves:
                    findings.done["hang_ups"] += 1
                    response.close()
                    break
    except aiohttp.ClientError:
        findings.done["cut_answers"] += 1
    strangers = search.marker.strangers(answer, marked.number)
    if strangers:
        findings.canaries["answers to other callers"] += strangers
        findings.examples.append(f"answer: {search.marker.context(answer)}")


async def _raw(url: str, word: str) -> None:
    """Bytes that are no HTTP."""
    port = int(url.rpartition(":")[2])
    for text in (f"{word}\r\n\r\n", f"GET /{word}\x01 HTTP/9\r\n{word}\r\n\r\n", f"POST {word}"):
        reader, connection = await asyncio.open_connection("127.0.0.1", port)
        connection.write(text.encode())
        connection.write_eof()
        await reader.read()
        connection.close()


async def _scrape(url: str, search: Search, key: str) -> None:
    """What the gateway tells of itself."""
    headers = {"authorization": f"Bearer {key}"}
    paths = (
        "/metrics",
        "/health",
        "/ready",
        "/admin/spend?by=model",
        "/admin/deployments",
        "/admin/config",
    )
    async with aiohttp.ClientSession(url, headers=headers) as session:
        for path in paths:
            async with session.get(path) as response:
                assert response.status == 200, (path, response.status)
                search.look(path.partition("?")[0], await response.read())


@asynccontextmanager
async def _receiver(search: Search) -> AsyncIterator[str]:
    """An OTLP receiver that searches what it gets."""

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp inflates a gzip body itself
        data = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
        search.findings.done["otlp_exports"] += 1
        search.look(f"otlp {request.path}", data)
        return web.Response(body=b"", content_type="application/x-protobuf")

    async with served(receive) as url:
        yield url


def _keys(home: Path, environ: dict[str, str]) -> tuple[str, ...]:
    """Two callers and an administrator, the administrator first."""
    made = []
    for name, role in (("boss", "admin"), ("one", "caller"), ("two", "caller")):
        command = [FARTHING, "keys", "create", name, "--role", role, "--cache", "--json"]
        done = subprocess.run(
            command,
            cwd=home / "work",
            env={**os.environ, **environ},
            capture_output=True,
            check=True,
        )
        made.append(json.loads(done.stdout)["key"])
    return tuple(made)


def _environ(home: Path, marker: Marker) -> dict[str, str]:
    for name in ("work", "tmp"):
        (home / name).mkdir(parents=True)
    keys = {
        f"KEY_{name.upper().replace('-', '_')}": f"sk-{marker.canary(_KEY_NUMBER, 'k')}"
        for name in _PLACES
    }
    return {
        **keys,
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "FARTHING_CONFIG": str(home / "farthing.toml"),
    }


_PLACES = (*FLAVOURS, "echo-openai", "echo-anthropic", "echo-google")
_MODELS = {
    "chat": (*_PLACES, "openai", "anthropic", "mixed", "mixed", "cached"),
    "embed": ("embed",),
}


def _settings(simulator: Simulator, echo: str, otlp: str, port: int) -> str:
    places = []
    for name in _PLACES:
        kind = name.removeprefix("echo-")
        url = echo if name != kind else simulator.url(kind)
        suffix = "/v1" if kind == "openai" else ""
        variable = name.upper().replace("-", "_")
        places.append(_PLACE.format(name=name, type=kind, url=url + suffix, variable=variable))
    return _CONFIG.format(port=port, otlp=otlp) + "".join(places) + _EMBED


def _scenario() -> str:
    """Four regions that answer at once, each with the whole menu of faults at random."""
    faults = ", ".join(
        f'{{ name = "{name}", at = "{where}", probability = {_FAULT_SHARE.get(name, 0.0012)} }}'
        for name in MENU
        if name != "refused"  # closes the port for good
        for where in ("first", "middle", "last")
    )
    price = 'source = "made up"\ndate = "2026-11-24"\n'
    text = 'name = "privacy"\nseed = 5\n'
    text += f"[models.m]\nprice = {{ input = 1.00, output = 2.00 }}\n{price}"
    text += f'[models.e]\nkind = "embed"\nprice = {{ input = 0.10 }}\n{price}'
    for flavour in FLAVOURS:
        text += f'[regions.{flavour}]\nflavour = "{flavour}"\ntokens_per_event = 4\n'
        text += "latency = { first_token_p50_s = 0, first_token_p99_s = 0, per_token_s = 0 }\n"
        text += f"faults = [{faults}]\n"
        for model in "me":
            text += f'[regions.{flavour}.deployments.{model}]\nmodel = "{model}"\n'
            text += "quota = { tokens_per_minute = 1000000000, requests_per_minute = 1000000 }\n"
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=12)
    chosen = parser.parse_args(arguments)
    report = Report("privacy")
    start = time.monotonic()
    findings = asyncio.run(measure(chosen.requests, concurrency=chosen.concurrency))
    for example in findings.examples[:20]:
        print(example)
    print("canaries by place:", dict(findings.canaries))
    print("keys by place:", dict(findings.keys))
    print("answers by status:", dict(sorted(findings.statuses.items())))
    for name, value in findings.done.items():
        report.add(name, value, **({"target": 0} if name == "core_files" else {}))
    report.add("canaries_found", findings.canaries.total(), target=0)
    report.add("keys_found", findings.keys.total(), target=0)
    report.add("seconds", time.monotonic() - start)
    report.print()
    sys.exit(1 if findings.canaries or findings.keys or findings.done["core_files"] else 0)


if __name__ == "__main__":
    main()
