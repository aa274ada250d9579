"""CPU instructions that one plain call takes, everything on: a figure that no neighbour on the machine disturbs.

One process holds the whole gateway between two sockets that only pretend: a client that asks again as soon as it
is answered, and a provider that answers at once. valgrind counts its instructions for two numbers of calls; the
difference, divided, is one call's, without the start and without the kernel. Two runs differ by a third of a
percent. `--fold` lets the ledger's fold run as well, whose share depends on the clock. Needs valgrind.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._gateway.requests import chat
from benchmarks._gateway.targets import RATES, SETTINGS
from benchmarks._harness import Report
from farthing.accounts import bookkeeper
from farthing.base.config.loader import load
from farthing.base.runtime import run
from farthing.gateway.client import open_gateway
from farthing.server.app import App
from farthing.wire.edge.connection import Connection as ClientConnection
from farthing.wire.edge.limits import Limits
from farthing.wire.edge.server import Edge
from farthing.wire.upstream import dial
from farthing.wire.upstream.connection import Connection as ProviderConnection

#: Calls before the counted ones: caches are filled, the interpreter has specialised its code.
WARM_UP = 300
FEW, MANY = 80, 480
_BODY = (
    b'{"id":"chatcmpl-bench","created":1,"model":"gpt-4o-mini","object":"chat.completion","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"A gateway gives several providers one address, one set of keys and '
    b'one bill.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":57,'
    b'"completion_tokens":44,"total_tokens":101,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"service_tier":"default"}'
)
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_bench\r\n"
    b"x-ratelimit-remaining-requests: 99999\r\nx-ratelimit-remaining-tokens: 29999000\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class Socket(asyncio.Transport):
    """A transport without a wire. `answer` is called with what is written."""

    def __init__(self, answer: Any) -> None:
        super().__init__(extra={"peername": ("127.0.0.1", 1)})
        self.write = answer

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        """There is nothing to cut."""


async def _dial(self: object, on_lost: Any) -> ProviderConnection:
    """In place of a dialer's own: a provider that answers at once."""
    loop = asyncio.get_running_loop()
    made = ProviderConnection(loop, on_lost)
    made.connection_made(Socket(lambda _: loop.call_soon(made.data_received, _ANSWER)))
    return made


async def calls(folder: Path, count: int) -> None:
    """The gateway, and one client that makes so many calls."""
    dial.Dialer.dial = _dial  # type: ignore[method-assign]
    settings = SETTINGS.format(
        port=1, folder=folder, base_url="http://127.0.0.1:9/v1", dollars="1000000"
    )
    file = folder / "farthing.toml"
    file.write_text(settings + RATES.format(requests_per_minute=10**9, burst_s=60))
    async with open_gateway(load(file, {}).settings, environ={}) as gateway:
        made = await gateway.accounts.keys.create("bench")
        request = chat().encoded({"Authorization": f"Bearer {made.secret}"})
        edge = Edge(App(gateway).answer, limits=Limits(), clock=gateway.clock)
        loop = edge._loop = asyncio.get_running_loop()  # it listens to nothing
        client, left, over = ClientConnection(edge), WARM_UP + count, loop.create_future()

        def answered(data: bytes) -> None:
            nonlocal left
            assert data.startswith(b"HTTP/1.1 200"), data
            left -= 1
            if left:
                loop.call_soon(client.data_received, request)
            else:
                over.set_result(None)

        client.connection_made(Socket(answered))
        client.data_received(request)
        await over
        os._exit(0)  # an orderly end would be counted too


def counted(count: int, *, fold: bool) -> int:
    """Instructions of a process that makes so many calls."""
    with tempfile.TemporaryDirectory() as folder:
        tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no"]
        tool += [f"--cachegrind-out-file={folder}/out"]
        own = [sys.executable, __file__, "--calls", str(count), *(["--fold"] if fold else [])]
        env = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [*tool, *own], env=env, capture_output=True, text=True, timeout=300, check=False
        )
        found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
        if done.returncode or found is None:
            raise SystemExit(f"It was not counted: {done.stderr[-500:]}")
        return int(found[1].replace(",", ""))


def main() -> None:
    """Count, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fold", action="store_true", help="let the ledger's fold run as well")
    parser.add_argument("--calls", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.fold:
        bookkeeper.FOLD_S = 1e9
    if options.calls:
        with tempfile.TemporaryDirectory() as folder:
            run(calls(Path(folder), options.calls))
    report = Report("instructions")
    if not shutil.which("valgrind"):
        report.note("Nothing was counted: valgrind is not installed.")
        report.print(keep=False)
        return
    few, many = (counted(count, fold=options.fold) for count in (FEW, MANY))
    report.add("instructions_per_call_thousand", (many - few) / (MANY - FEW) / 1000)
    report.print(keep=not options.fold)


if __name__ == "__main__":
    main()
