"""What every benchmark needs: processes, their CPU time and memory, and the report."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
#: The command as installed beside the interpreter that runs the benchmark.
FARTHING = str(Path(sys.executable).parent / "farthing")


class Report:
    """Figures against targets. `print` writes `results/<claim>.json` and the closing JSON line."""

    def __init__(self, claim: str) -> None:
        self.claim = claim
        self.figures: dict[str, float] = {}
        self.targets: dict[str, float] = {}
        self.notes: list[str] = []

    def add(self, name: str, value: float, *, target: float | None = None) -> None:
        """Add one figure, and the number it should reach."""
        self.figures[name] = round(value, 4)
        if target is not None:
            self.targets[name] = target
        aim = "" if target is None else f"   target {target:g}"
        print(f"{name:<52} {self.figures[name]:>14,}{aim}", flush=True)

    def note(self, text: str) -> None:
        """Say what a reader of the figures must know."""
        self.notes.append(text)
        print(text, flush=True)

    def print(self, *, keep: bool = True, **versions: str) -> None:
        """Close the report: the last line is one JSON object. keep: as the result of this claim."""
        report = {
            "figures": self.figures,
            "targets": self.targets,
            "versions": {
                "farthing": version("farthing"),
                "python": platform.python_version(),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                **versions,
            },
        }
        if keep:
            RESULTS.mkdir(exist_ok=True)
            kept = {**report, "date": time.strftime("%Y-%m-%d"), "notes": self.notes}
            path = RESULTS / f"{self.claim}.json"
            path.write_text(json.dumps(kept, indent=2) + "\n")
        print(json.dumps(report))


def free_port() -> int:
    """A TCP port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    cpu: int | None = None,
    log: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A child process of ours, ended with the block. cpu: the core it is pinned to. log: its output."""
    output = log.open("ab") if log else None
    child = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=output or subprocess.DEVNULL,
        stderr=output or subprocess.DEVNULL,
    )
    if cpu is not None:
        os.sched_setaffinity(child.pid, {cpu % (os.cpu_count() or 1)})
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if output:
            output.close()


def wait_for(url: str, child: subprocess.Popen[bytes], *, seconds: float = 30.0) -> float:
    """Seconds until `url` answers 200. Raises RuntimeError when the child ends or the time is over."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if child.poll() is not None:
            raise RuntimeError(
                f"The process ended with status {child.returncode} before {url} answered."
            )
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return time.monotonic() - start
        except OSError:
            time.sleep(0.01)
    raise RuntimeError(f"{url} did not answer within {seconds:g} s.")


def cpu_seconds(pid: int) -> float:
    """CPU seconds used so far by a process and its descendants, from the scheduler's own count."""
    total = 0
    for each in tree(pid):
        try:
            for task in Path(f"/proc/{each}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue  # it ended meanwhile
    return total / 1e9


def resident_mb(pid: int) -> float:
    """Resident memory of a process and its descendants, megabytes."""
    pages = 0
    for each in tree(pid):
        try:
            pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for each in found:
        try:
            for task in Path(f"/proc/{each}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found
