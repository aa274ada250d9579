"""The benchmark's world: the tools it builds, what it aims them at, and the load it runs."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._gateway.requests import Ask
from benchmarks._harness import Report, cpu_seconds, free_port, process, wait_for

HERE = Path(__file__).parent
#: The gateway has one core to itself; the mock upstream and the load generator share the other.
GATEWAY_CORE, LOAD_CORE = 0, 1
#: Open files that thousands of streams need, on both sides of the gateway.
FILES = 65_536


class SectionError(Exception):
    """A section cannot be measured here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Something that answers calls. pid: the root of its process tree; None for the mock itself."""

    name: str
    port: int
    pid: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the load generator counted; latencies in microseconds. cpu_us: of the target, per answer."""

    answered: int
    refused: int
    errors: int
    seconds: float
    last_failure: int
    p50_us: float
    p99_us: float
    first_p50_us: float
    first_p99_us: float
    events: int
    bytes: int
    cpu_us: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One run of the benchmark. seconds, rounds: of one measurement, and how often it is repeated."""

    report: Report
    folder: Path
    mock: int
    seconds: float
    rounds: int
    is_quick: bool
    is_long: bool
    with_peers: bool

    @property
    def direct(self) -> Target:
        """The mock without anything before it."""
        return Target(name="direct", port=self.mock)

    def load(
        self,
        target: Target,
        ask: Ask,
        connections: int,
        *,
        seconds: float | None = None,
        count: int = 0,
        rate: float = 0.0,
        may_refuse: bool = False,
    ) -> Result:
        """Run load against a target. count: calls after which it ends. rate: calls a second, paced.

        Raises SectionError when calls fail, or are refused and must not be.
        """
        command = self.command(target, ask, connections, seconds=seconds, count=count, rate=rate)
        before = cpu_seconds(target.pid) if target.pid else 0.0
        done = subprocess.run(command, check=True, capture_output=True)
        used = cpu_seconds(target.pid) - before if target.pid else 0.0
        counted = json.loads(done.stdout)
        answered = counted["answered"]
        if counted["errors"] or not answered or (counted["refused"] and not may_refuse):
            raise SectionError(
                f"{target.name}: {answered} calls answered, {counted['refused']} refused, "
                f"{counted['errors']} failed, the last with status {counted['last_failure']}."
            )
        return Result(**counted, cpu_us=used / answered * 1e6)

    def command(
        self,
        target: Target,
        ask: Ask,
        connections: int,
        *,
        seconds: float | None = None,
        count: int = 0,
        rate: float = 0.0,
    ) -> list[str]:
        """The load generator's command line, pinned to its core."""
        request = self.folder / f"{target.name}.request"
        request.write_bytes(ask.encoded(target.headers))
        length = 600.0 if count else (seconds or self.seconds)
        options = ["-s", str(length), "-n", str(count), "-r", str(rate), "-t", ask.token]
        tool = ["taskset", "-c", str(LOAD_CORE), str(self.folder / "load"), *options]
        return [*tool, str(target.port), str(request), str(connections)]


def build(folder: Path) -> None:
    """Compile the mock upstream and the load generator into `folder`. Raises SectionError without gcc."""
    if not shutil.which("gcc"):
        raise SectionError("The mock upstream and the load generator are in C: gcc is needed.")
    for tool in ("mock", "load"):
        command = ["gcc", "-O2", "-o", str(folder / tool), str(HERE / f"{tool}.c")]
        subprocess.run(command, check=True)


@contextmanager
def mock(folder: Path) -> Iterator[int]:
    """The mock upstream on the load core; gives its port."""
    port = free_port()
    with process([str(folder / "mock"), str(port)], cpu=LOAD_CORE) as child:
        wait_for(f"http://127.0.0.1:{port}/v1/models", child)
        yield port


def open_files() -> int:
    """Raise this process's limit of open files, which its children inherit; gives what it is now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (max(hard, FILES), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        except (OSError, ValueError):
            continue  # only root may raise the hard limit
        return most
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
