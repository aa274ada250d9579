"""CPU per request and per stream of the gateway, beside nginx as a plain proxy, in one run.

The gateway runs on one core, mock upstream and load generator (C, from the shared folder) on the other. The
figure is CPU time of the process tree divided by requests completed. Runs are interleaved; medians are kept.
Needs gcc and nginx (Debian: `apt-get install nginx-light`); without nginx its rows are left out and said so.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
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

CONCURRENCY = (1, 32, 128)
GATEWAY_CORE, LOAD_CORE = 0, 1

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream mock {{ server 127.0.0.1:{mock}; keepalive 256; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""

CONFIG = """
[server]
port = {port}
detect = false
[storage]
url = "sqlite:{folder}/farthing.db"
[providers.mock]
type = "openai"
base_url = "http://127.0.0.1:{mock}/v1"
key = "sk-mock"
[deployments.mock-mini]
provider = "mock"
model = "gpt-4o-mini"
price = {{ input = "0.15", output = "0.60", source = "benchmark", date = "2026-11-24" }}
[routes.bench]
deployments = ["mock-mini"]
[budgets.all]
dollars = 1000000
"""


def main() -> None:
    arguments = _arguments()
    tools = shared_path("bench", "gateway")
    if tools is None or not shutil.which("gcc"):
        print("The load tools (shared bench/gateway) and gcc are needed; nothing was measured.")
        sys.exit(1)
    report = Report("gateway")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        for tool in ("mock", "load"):
            subprocess.run(
                ["gcc", "-O2", "-w", "-o", folder / tool, tools / f"{tool}.c"], check=True
            )
        mock = free_port()
        child = stack.enter_context(process([str(folder / "mock"), str(mock)], cpu=LOAD_CORE))
        wait_for(f"http://127.0.0.1:{mock}/v1/models", child)
        targets = {"farthing": stack.enter_context(_farthing(folder, mock))}
        if shutil.which("nginx"):
            targets["nginx"] = stack.enter_context(_nginx(folder, mock))
        else:
            report.note("nginx is not installed: its figures are missing.")
        _measure(report, folder, targets, seconds=arguments.seconds, rounds=arguments.rounds)
        report.add("farthing_resident_mb", resident_mb(targets["farthing"][0]))
    report.print()


def _measure(
    report: Report,
    folder: Path,
    targets: dict[str, tuple[int, int]],
    *,
    seconds: float,
    rounds: int,
) -> None:
    for stream in (0, 1):
        for concurrency in CONCURRENCY:
            cpu: dict[str, list[float]] = {name: [] for name in targets}
            p50: dict[str, list[float]] = {name: [] for name in targets}
            for _ in range(rounds):
                for name, (pid, port) in targets.items():
                    result, used = _load(folder, pid, port, concurrency, seconds, stream)
                    if result["errs"] or not result["n"]:
                        raise RuntimeError(
                            f"{name}: {result['errs']} errors in {result['n']} calls"
                        )
                    cpu[name].append(used / result["n"] * 1e6)
                    p50[name].append(result["p50_us"])
            kind = "stream" if stream else "call"
            for name in targets:
                report.add(f"{name}_cpu_us_per_{kind}_c{concurrency}", statistics.median(cpu[name]))
            if concurrency == 1:
                for name in targets:
                    report.add(f"{name}_p50_us_per_{kind}_c1", statistics.median(p50[name]))
            if "nginx" in targets:
                ratio = statistics.median(
                    ours / theirs
                    for ours, theirs in zip(cpu["farthing"], cpu["nginx"], strict=True)
                )
                report.add(f"cpu_ratio_to_nginx_per_{kind}_c{concurrency}", ratio)


def _load(
    folder: Path, pid: int, port: int, concurrency: int, seconds: float, stream: int
) -> tuple[dict[str, float], float]:
    command = ["taskset", "-c", str(LOAD_CORE), str(folder / "load"), str(port)]
    command += ["/v1/chat/completions", str(concurrency)]
    before = cpu_seconds(pid)
    done = subprocess.run(
        [*command, str(seconds), str(stream), "bench"], check=True, capture_output=True
    )
    return json.loads(done.stdout), cpu_seconds(pid) - before


@contextmanager
def _farthing(folder: Path, mock: int) -> Iterator[tuple[int, int]]:
    port = free_port()
    config = folder / "farthing.toml"
    config.write_text(CONFIG.format(port=port, folder=folder, mock=mock))
    command = [FARTHING, "up", "--config", str(config)]
    with process(command, cwd=folder, cpu=GATEWAY_CORE, log=folder / "farthing.log") as child:
        wait_for(f"http://127.0.0.1:{port}/ready", child)
        yield child.pid, port


@contextmanager
def _nginx(folder: Path, mock: int) -> Iterator[tuple[int, int]]:
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, mock=mock))
    with process(["nginx", "-c", str(config), "-p", str(folder)], cpu=GATEWAY_CORE) as child:
        wait_for(f"http://127.0.0.1:{port}/v1/models", child)
        yield child.pid, port


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one run")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved runs of each target")
    return parser.parse_args()


if __name__ == "__main__":
    main()
