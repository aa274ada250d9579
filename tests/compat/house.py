"""The simulator and the gateway as processes, and the names under which the tests ask for models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

PROGRAM = [sys.executable, "-c", "from farthing.cli.main import main; main()"]

#: Provider dialect → the model that is served in that dialect only.
CHAT = {
    "openai-chat": "chat",
    "openai-responses": "responses",
    "anthropic-messages": "claude",
    "google-generate": "gemini",
}
#: The statuses that a provider may answer with instead of an answer.
STATUSES = (400, 401, 404, 429, 500)
#: Suffix of a model → the fault behind it.
FAULTS = {str(status): f"status_{status}" for status in STATUSES} | {
    "reset": "reset_mid_body@middle",
    "failing": "error_in_stream@middle",
    "early": "early_end@middle",
    "silent": "black_hole",
}

_REGIONS = {"openai": "openai", "azure": "azure", "anthropic": "anthropic", "google": "google"}
_MODEL = 'price = {{ input = 1, output = 4{} }}\nsource = "made up"\ndate = "2026-11-24"\n'
_QUOTA = "quota = { tokens_per_minute = 900000000, requests_per_minute = 9000000 }"


class House(msgspec.Struct, frozen=True, kw_only=True):
    """Two running programs. key: may call everything; narrow_key: may not call `claude`."""

    url: str
    key: str
    narrow_key: str
    control_url: str

    def invoice(self) -> list[dict[str, Any]]:
        """What the simulated vendors bill, oldest first."""
        with urllib.request.urlopen(f"{self.control_url}/_sim/invoice", timeout=10) as reply:
            return [json.loads(line) for line in reply.read().splitlines()]


@contextmanager
def open_house(folder: Path) -> Iterator[House]:
    """Start the simulator, make two keys, start the gateway; end both."""
    (folder / "scenario.toml").write_text(_scenario())
    with _program(folder, "sim", "up", "--scenario", "scenario.toml", "--json") as sim:
        urls = {name: region["url"] for name, region in sim["regions"].items()}
        (folder / "farthing.toml").write_text(_settings(urls))
        key = _created(folder, "tests")
        narrow = _created(folder, "narrow", "--model", "chat")
        with _program(folder, "up", "--port", "0", "--no-detect", "--json") as gateway:
            yield House(
                url=gateway["url"], key=key, narrow_key=narrow, control_url=sim["control_url"]
            )


def _created(folder: Path, name: str, *more: str) -> str:
    made = subprocess.run(
        [*PROGRAM, "keys", "create", name, *more, "--json"],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    key: str = json.loads(made.stdout)["key"]
    return key


@contextmanager
def _program(folder: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    """A command that runs until SIGTERM, and the line of JSON that it says when it is ready."""
    log = folder / f"{arguments[0]}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=folder,
            env=_environment(folder),
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            yield json.loads(line)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            finally:
                process.kill()
                process.stdout.close()


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "*"}


def _scenario() -> str:
    """A region per flavour: a model that answers, one that thinks first, one that is retired."""
    lines = ['name = "official clients"', "is_header_fault_allowed = true"]
    for model, more in (
        ("plain", ""),
        ("thinker", "is_reasoning = true"),
        ("gone", "is_retired = true"),
    ):
        lines += [f"[models.{model}]", _MODEL.format(""), more]
    lines += ["[models.embed]", 'kind = "embed"', _MODEL.format("")]
    for region, flavour in _REGIONS.items():
        lines += [
            f"[regions.{region}]",
            f'flavour = "{flavour}"',
            "latency = { first_token_p50_s = 0, first_token_p99_s = 0, per_token_s = 0 }",
            'key = "vendor-key"',
        ]
        for model in ("plain", "thinker", "gone", "embed"):
            if model == "embed" and flavour == "anthropic":
                continue
            lines += [f"[regions.{region}.deployments.{model}]", f'model = "{model}"', _QUOTA]
    return "\n".join(lines) + "\n"


def _settings(urls: dict[str, str]) -> str:
    """Each dialect's models, the same again behind each error status, and Azure both ways."""
    lines = [
        "[retry]",
        "max_tries = 1",
        "[breaker]",
        "failures = 1000000",
        "[telemetry]",
        "access_log = false",
    ]
    for name, kind, path, more in (
        ("openai", "openai", "/v1", ""),
        ("azure", "azure", "", ""),
        ("classic", "azure", "", 'api_version = "2024-10-21"'),
        ("anthropic", "anthropic", "", ""),
        ("google", "google", "/v1beta", ""),
    ):
        url = urls["azure" if name == "classic" else name] + path
        for suffix in (None, *FAULTS):
            fault = f'headers = {{ x-sim-fault = "{FAULTS[suffix]}" }}' if suffix else ""
            lines += [
                f"[providers.{_named(name, suffix)}]",
                f'type = "{kind}"',
                'key = "vendor-key"',
                f'base_url = "{url}"',
                "models = []",
                more,
                fault,
            ]
    for dialect, provider in (
        ("openai-chat", "openai"),
        ("openai-responses", "azure"),
        ("anthropic-messages", "anthropic"),
        ("google-generate", "google"),
    ):
        model, only = CHAT[dialect], f'dialects = ["{dialect}"]'
        lines += _deployment(model, provider, "plain", only)
        lines += _deployment(f"{model}-thinker", provider, "thinker", only)
        lines += _deployment(f"{model}-gone", provider, "gone", only)
        for suffix in FAULTS:
            lines += _deployment(_named(model, suffix), _named(provider, suffix), "plain", only)
    for name, provider in (("any", "openai"), ("azure", "azure"), ("azure-classic", "classic")):
        lines += _deployment(name, provider, "plain", "")
        lines += _deployment(f"{name}-embed", provider, "embed", 'kind = "embed"')
    return "\n".join(lines) + "\n"


def _deployment(name: str, provider: str, remote: str, more: str) -> list[str]:
    price = '{ input = 1, output = 4, source = "made up", date = "2026-11-24" }'
    return [
        f"[deployments.{name}]",
        f'provider = "{provider}"',
        f'model = "made-up-{remote}"',
        f'remote_name = "{remote}"',
        f"price = {price}",
        more,
    ]


def _named(name: str, suffix: str | None) -> str:
    return name if suffix is None else f"{name}-{suffix}"
