"""Peers that a package manager can install, each in a scratch folder: LiteLLM (pip), Portkey (npm)."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks._gateway.world import GATEWAY_CORE, Bench, SectionError, Target
from benchmarks._harness import ROOT, free_port, process, wait_for

#: Kept between runs (git ignores it): LiteLLM alone is hundreds of megabytes.
SCRATCH = ROOT / ".farthing-bench"

LITELLM = """
model_list:
  - model_name: bench
    litellm_params:
      model: openai/gpt-4o-mini
      api_base: http://127.0.0.1:{mock}/v1
      api_key: sk-mock
"""


@contextmanager
def peers(bench: Bench) -> Iterator[dict[str, Target]]:
    """The peers that could be installed and started; a sentence for each of the others."""
    with ExitStack() as stack:
        found: dict[str, Target] = {}
        for name, start in (("litellm", _litellm), ("portkey", _portkey)):
            try:
                found[name] = stack.enter_context(start(bench))
            except (SectionError, RuntimeError, OSError) as why:
                bench.report.note(f"No row of {name}: {why}")
        yield found


@contextmanager
def _litellm(bench: Bench) -> Iterator[Target]:
    """One worker, without database or callbacks: its cheapest configuration. It insists on one key."""
    folder = SCRATCH / "litellm"
    command = folder / "bin" / "litellm"
    if not command.exists():
        _install([sys.executable, "-m", "venv", str(folder)])
        _install([str(folder / "bin" / "pip"), "install", "-q", "litellm[proxy]"])
    config = bench.folder / "litellm.yaml"
    config.write_text(LITELLM.format(mock=bench.mock))
    port = free_port()
    start = [str(command), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    key = f"sk-{secrets.token_hex(16)}"
    env = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": key,
        "PYTHONPATH": "",
    }
    with process(start, cwd=bench.folder, env=env, cpu=GATEWAY_CORE) as child:
        wait_for(f"http://127.0.0.1:{port}/health/liveliness", child, seconds=120)
        headers = {"Authorization": f"Bearer {key}"}
        yield Target(name="litellm", port=port, pid=child.pid, headers=headers)


@contextmanager
def _portkey(bench: Bench) -> Iterator[Target]:
    folder = SCRATCH / "portkey"
    server = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not server.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _install(["npm", "install", "--silent", "--prefix", str(folder), "@portkey-ai/gateway"])
    port = free_port()
    headers = {
        "Authorization": "Bearer sk-mock",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{bench.mock}/v1",
    }
    with process(["node", str(server), f"--port={port}", "--headless"], cpu=GATEWAY_CORE) as child:
        wait_for(f"http://127.0.0.1:{port}/", child, seconds=30)
        yield Target(name="portkey", port=port, pid=child.pid, headers=headers)


def _install(command: list[str]) -> None:
    """Run an installer. Raises SectionError with its last words."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=900, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SectionError(f"{Path(command[0]).name} did not run: {error}") from error
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise SectionError(f"{Path(command[0]).name} failed: {' '.join(last)}")
