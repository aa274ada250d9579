"""What is measured: Farthing with everything on, nginx as a plain proxy, and the bare prototype."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks._gateway.world import GATEWAY_CORE, HERE, Bench, SectionError, Target
from benchmarks._harness import FARTHING, free_port, process, wait_for

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; client_max_body_size 8m; client_body_buffer_size 256k;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream mock {{ server 127.0.0.1:{mock}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    {more}
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""

#: Everything on: keys (one is made), a budget, rates, a route over two deployments with their breakers,
#: ledger, metrics and call ids (always on). The limits are too wide to be met.
SETTINGS = """
[server]
port = {port}
detect = false
max_concurrent_calls = 20000
[storage]
url = "sqlite:{folder}/farthing.db"
[timeouts]
between_bytes_s = 590
[providers.mock]
type = "openai"
base_url = "{base_url}"
key = "sk-mock"
max_connections = 16384
[deployments.east]
provider = "mock"
model = "gpt-4o-mini"
remote_name = "gpt-4o-mini-east"
price = {{ input = "0.15", output = "0.60", source = "benchmark", date = "2026-11-24" }}
[deployments.west]
provider = "mock"
model = "gpt-4o-mini"
remote_name = "gpt-4o-mini-west"
price = {{ input = "0.15", output = "0.60", source = "benchmark", date = "2026-11-24" }}
[deployments.hold]
provider = "mock"
model = "gpt-4o-mini"
remote_name = "gpt-4o-mini-hold"
price = {{ input = "0.15", output = "0.60", source = "benchmark", date = "2026-11-24" }}
[routes.bench]
deployments = ["east", "west"]
[routes.hold]
deployments = ["hold"]
[budgets.all]
dollars = {dollars}
"""
RATES = """
[rates.all]
requests_per_minute = {requests_per_minute}
tokens_per_minute = 100000000000
burst_s = {burst_s}
"""


@dataclass(frozen=True, kw_only=True)
class Tls:
    """A second port, by TLS. folder: holds cert.pem and key.pem."""

    port: int
    folder: Path


@contextmanager
def nginx(bench: Bench, *, core: int = GATEWAY_CORE, tls: Tls | None = None) -> Iterator[Target]:
    """nginx as a plain proxy, and by TLS on another port where one is given.

    Raises SectionError where nginx is not installed.
    """
    if not shutil.which("nginx"):
        raise SectionError("nginx is not installed (Debian: apt-get install nginx-light).")
    with _folder("nginx") as folder:
        port = free_port()
        more = ""
        if tls:
            more = f"listen 127.0.0.1:{tls.port} ssl; ssl_certificate {tls.folder}/cert.pem;"
            more += f" ssl_certificate_key {tls.folder}/key.pem;"
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port, mock=bench.mock, more=more))
        command = ["nginx", "-c", str(config), "-p", str(folder)]
        with process(command, cpu=core) as child:
            wait_for(f"http://127.0.0.1:{port}/v1/models", child)
            yield Target(name="nginx", port=port, pid=child.pid)


@contextmanager
def prototype(bench: Bench) -> Iterator[Target]:
    """The bare proxy of this folder."""
    port = free_port()
    command = [sys.executable, str(HERE / "prototype.py"), str(port), str(bench.mock)]
    with process(command, cpu=GATEWAY_CORE) as child:
        wait_for(f"http://127.0.0.1:{port}/v1/models", child)
        yield Target(name="prototype", port=port, pid=child.pid)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The budget and the rate of a project; too wide to be met unless a section narrows them."""

    dollars: str = "1000000"
    requests_per_minute: int = 1_000_000_000
    burst_s: int = 60


class Project:
    """A folder with Farthing's settings, its database and a key. has_rates: this version knows rates."""

    def __init__(
        self, bench: Bench, folder: Path, *, limits: Limits, base_url: str, more: str
    ) -> None:
        self.folder = folder
        self.port = free_port()
        text = SETTINGS.format(
            port=self.port,
            folder=folder,
            base_url=base_url or f"http://127.0.0.1:{bench.mock}/v1",
            dollars=limits.dollars,
        )
        text += more
        rates = RATES.format(requests_per_minute=limits.requests_per_minute, burst_s=limits.burst_s)
        self.has_rates = self._accepts(text + rates)
        if not self.has_rates and not self._accepts(text):
            self.run("config", "check")
        self.key = self.make_key("bench")

    def make_key(self, name: str, *, role: str = "caller") -> str:
        """Create an API key as its owner would, by the command in another process."""
        made = json.loads(self.run("keys", "create", name, "--role", role, "--json"))
        key: str = made["key"]
        return key

    def _accepts(self, settings: str) -> bool:
        (self.folder / "farthing.toml").write_text(settings)
        check = [FARTHING, "config", "check"]
        done = subprocess.run(check, cwd=self.folder, capture_output=True, check=False)
        return done.returncode == 0

    def run(self, *command: str) -> bytes:
        """Run a `farthing` command here, as another process; gives its output. Raises SectionError."""
        done = subprocess.run(
            [FARTHING, *command], cwd=self.folder, capture_output=True, check=False
        )
        if done.returncode:
            said = (done.stderr + done.stdout).decode(errors="replace").strip()
            raise SectionError(f"farthing {' '.join(command[:2])}: {said[:300]}")
        return done.stdout

    @contextmanager
    def up(
        self,
        *,
        workers: int = 1,
        core: int | None = GATEWAY_CORE,
        env: Mapping[str, str] | None = None,
        name: str = "farthing",
        program: Sequence[str] = (FARTHING,),
    ) -> Iterator[Target]:
        """The gateway, once it is ready. core: None leaves it free to use every core.

        program: another way to start the command, e.g. below a profiler.
        """
        command = [*program, "up", *(["--workers", str(workers)] if workers > 1 else [])]
        log = self.folder / "farthing.log"
        with process(command, cwd=self.folder, cpu=core, log=log, env=env) as child:
            try:
                wait_for(f"http://127.0.0.1:{self.port}/ready", child)
            except RuntimeError as error:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise SectionError(f"{error} It said: {' '.join(last)}") from error
            headers = {"Authorization": f"Bearer {self.key}"}
            yield Target(name=name, port=self.port, pid=child.pid, headers=headers)


@contextmanager
def project(
    bench: Bench, *, limits: Limits | None = None, base_url: str = "", more: str = ""
) -> Iterator[Project]:
    """A fresh project folder, removed with the block.

    base_url: another upstream than the mock. more: further tables of settings.
    """
    with _folder("farthing") as folder:
        yield Project(bench, folder, limits=limits or Limits(), base_url=base_url, more=more)


@contextmanager
def farthing(bench: Bench) -> Iterator[Target]:
    """Farthing with everything on, in a fresh project."""
    with project(bench) as fresh, fresh.up() as target:
        yield target


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-", ignore_cleanup_errors=True) as path:
        yield Path(path)
