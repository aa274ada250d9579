"""How quickly the command starts, and how large an installation is.

CPU seconds (user and system, children included) of `farthing --help` and of `farthing up` until it listens,
medians of several runs after one warm-up; then the wheel in an empty environment: packages and megabytes.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._harness import FARTHING, ROOT, Report, cpu_seconds, free_port, process, wait_for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--no-install", action="store_true", help="leave the size out")
    arguments = parser.parse_args()
    report = Report("start")
    report.add("help_cpu_s", _median(_help, arguments.runs), target=0.15)
    report.add("up_listening_cpu_s", _median(_up, arguments.runs), target=1.5)
    report.add("up_listening_first_ever_cpu_s", _up(), target=1.5)
    if not arguments.no_install:
        for kind in ("wheel", "sdist"):
            packages, megabytes = _installed(kind)
            report.add(f"{kind}_packages", packages, target=45)
            report.add(f"{kind}_installed_mb", megabytes, target=80)
    report.print()


def _median(measure: object, runs: int) -> float:
    assert callable(measure)
    measure()
    return statistics.median(measure() for _ in range(runs))


def _help() -> float:
    before = os.times()
    subprocess.run([FARTHING, "--help"], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


def _up() -> float:
    """A first start in an empty folder and an empty home, up to the first answered request."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [FARTHING, "up", "--port", str(port)]
        with process(command, cwd=Path(folder), env={"HOME": folder}) as child:
            wait_for(f"http://127.0.0.1:{port}/health", child)
            return cpu_seconds(child.pid)


def _installed(kind: str) -> tuple[int, float]:
    """Packages and megabytes of `pip install` of the built wheel or sdist in an empty environment."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flag = f"--{kind}"
        subprocess.run(
            [sys.executable, "-m", "build", flag, "--outdir", name, str(ROOT)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        built = next(p for p in folder.iterdir() if p.suffix in (".whl", ".gz"))
        venv.create(folder / "env", with_pip=True)
        python = folder / "env" / "bin" / "python"
        constraints = ROOT / "constraints.txt"
        subprocess.run([python, "-m", "pip", "install", "-q", "-c", constraints, built], check=True)
        listed = subprocess.run(
            [python, "-m", "pip", "list", "--format=freeze"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        names = re.findall(r"^([\w.-]+)==", listed, re.MULTILINE)
        site = next((folder / "env" / "lib").glob("python*/site-packages"))
        tools = {"pip", "setuptools"}
        size = sum(
            file.stat().st_size
            for file in site.rglob("*")
            if file.is_file() and file.relative_to(site).parts[0].split("-")[0] not in tools
        )
        return len([n for n in names if n.lower() not in tools]), size / 1e6


if __name__ == "__main__":
    main()
