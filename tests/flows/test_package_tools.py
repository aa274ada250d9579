"""Prompt flow's package tools ask what the original's ask, and make the same of the answers.

What the original did is in `package_tools.json`, which `tools/record_package_tools.py` writes. Calls of models go
through a gateway with real providers, so that what is compared is what leaves the machine.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import FakeClock
from farthing.base.config.loader import load
from farthing.core.errors import FarthingError
from farthing.flows import shim
from farthing.flows.connections import types
from farthing.flows.connections.connections import Connections
from farthing.flows.engine import ambient
from farthing.flows.models import GatewayModels, Models, Spent
from farthing.flows.prompts.images import Image
from farthing.flows.tools.open_model import OpenModelLLM
from farthing.flows.tools.rerank import Rerank
from farthing.gateway.client import open_gateway
from tests.flows.tool_cases import CASES, CONNECTIONS, KEY, Recorder, ToolCase, fields, title
from tests.gateway.world import LOCAL

EXPECTED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "package_tools.json").read_text(encoding="utf-8")
)["cases"]

_NO_RETRY = "A request that is refused or answered with nonsense is not sent again."
_FIRST = "The sensitivity is looked at before the text is sent."
_NAMED = "The gateway finds a model by its name, so the request names one."
_TYPED = "The original raises a ValueError."
_FORM = "The vendor's client asks for base64 by itself, and gives the same numbers."
_SIXTEEN = "What the API assumes is said: 16 tokens at most."
_PLAIN = "The message has the fields that the model sent, not all that the vendor's client knows."
#: By case: what differs from the original, and why.
DIFFERENCES: dict[str, dict[str, str]] = {
    "safety: a sensitivity that there is not": {"asked": _FIRST},
    "open_model: gpt2, an unexpected answer": {"asked": _NO_RETRY, "waits": _NO_RETRY},
    "open_model: serverless llama, chat": {"asked": _NAMED},
    "open_model: serverless llama, completion": {"asked": _NAMED},
    "rerank: by a model that fails": {"error": _TYPED},
    "llm: azure, tools": {"output": _PLAIN},
    "llm: azure, completion": {"asked": _SIXTEEN},
    "llm: openai, completion": {"asked": _SIXTEEN},
    "embedding: azure": {"asked": _FORM},
    "embedding: openai": {"asked": _FORM},
}
#: Deployments of the gateway: what flows name, the provider, and the name there.
_DEPLOYMENTS = {
    "gpt": ("azure", "chat"),
    "ada": ("azure", "embed"),
    "gpt-4o": ("openai", "chat"),
    "text-embedding-3-small": ("openai", "embed"),
    "embed-3": ("openai", "embed"),
    "mistral": ("openai", "chat"),
    "serverless": ("llama", "chat"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


class WaitingClock(FakeClock):
    """Does not wait; writes down for how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


class NoModels(Models):
    """For tools that ask no model."""

    async def ask(self, api: str, body: dict[str, Any], spent: Spent) -> dict[str, Any]:
        raise AssertionError("a model was asked")

    def stream(self, api: str, body: dict[str, Any], spent: Spent) -> Any:
        raise AssertionError("a model was asked")


@asynccontextmanager
async def line(folder: Path, url: str, *, wants_models: bool = True) -> AsyncIterator[WaitingClock]:
    """A line under way, with a gateway whose providers all lead to the server."""
    clock = WaitingClock()
    if not wants_models:
        with ambient.line(NoModels(), Spent(), clock):
            yield clock
        return
    lines = [f"[storage]\nurl = 'sqlite:///{folder}/f.db'"]
    for name, kind, base, more in (
        ("azure", "azure", url, 'api_version = "2024-02-01"'),
        ("openai", "openai", f"{url}/v1", ""),
        ("llama", "openai-compatible", f"{url}/inference.ai.azure.com/v1", ""),
    ):
        lines.append(
            f'[providers.{name}]\ntype = "{kind}"\nbase_url = "{base}"\nkey = "env:K"\n{more}'
        )
    for name, (provider, kind) in _DEPLOYMENTS.items():
        lines.append(
            f'[deployments."{name}"]\nprovider = "{provider}"\nmodel = "{name}"\nkind = "{kind}"\n'
            'price = { input = "1", output = "1" }'
        )
    file = folder / "farthing.toml"
    file.write_text("\n".join(lines))
    environ = {"K": KEY}
    async with open_gateway(load(file, environ).settings, environ=environ) as gateway:
        with ambient.line(GatewayModels(gateway, LOCAL), Spent(), clock):
            yield clock


def connection(name: str, url: str) -> types.Connection:
    kind, configs, secrets = fields(name, url)
    made: Callable[..., types.Connection] = getattr(types, kind)
    if kind == "CustomConnection":
        return made(name=name, secrets=secrets, configs=configs)
    if kind == "SerpConnection":
        configs = {"api_base": url}
    return made(name=name, **configs, **secrets)


def called(case: ToolCase, url: str) -> Any:
    """The tool's answer, of code that imports it as flows do."""
    values = dict(case.values)
    if "picture" in values:
        values["picture"] = Image(base64.b64decode(values["picture"]), "image/png")
    given = Connections(given={name: connection(name, url) for name in CONNECTIONS}, environ={})
    if case.tool == "rerank":
        ranker = Rerank()
        ranker.connections = given
        if values["ranker_parameters"] == "{model}":
            identifier = f"/subscriptions/s/workspaces/w/connections/{case.connection}"
            told = {"ranker_type": "Serverless Deployment", "connection_id": identifier}
            values["ranker_parameters"] = json.dumps(told)
        return ranker.rerank(**values)
    if case.tool == "open_model":
        model = OpenModelLLM()
        model.connections = given
        return model.call(endpoint_name=f"localConnection/{case.connection}", **values)
    module, name, method = {
        "serpapi": ("serpapi", "SerpAPI", "search"),
        "safety": ("azure_content_safety", "analyze_text", ""),
        "aoai_gpt4v": ("aoai_gpt4v", "AzureOpenAI", "chat"),
        "openai_gpt4v": ("openai_gpt4v", "OpenAI", "chat"),
    }.get(case.tool, (case.tool, case.tool, ""))
    with shim.active():
        thing = getattr(importlib.import_module(f"promptflow.tools.{module}"), name)
    asked_with = connection(case.connection, url)
    if method:
        return getattr(thing(asked_with), method)(**values)
    return thing(asked_with, **values)


@pytest.mark.parametrize("case", CASES, ids=title)
async def test_a_tool_asks_and_answers_as_the_original(
    case: ToolCase, server: Recorder, tmp_path: Path
) -> None:
    server.asked.clear()
    server.status, server.answer = case.status, case.answer
    outcome: dict[str, Any] = {"output": None, "error": None}
    is_service = case.tool in ("serpapi", "safety", "rerank")
    async with line(tmp_path, server.url, wants_models=not is_service) as clock:
        try:
            outcome["output"] = await asyncio.to_thread(called, case, server.url)
        except FarthingError as error:
            outcome["error"] = type(error).__name__
            shown = f"{error!r} {error} {error.__cause__!r} {error.__context__!r}"
            assert KEY not in shown
            assert not any(
                str(each) in shown for each in case.values.values() if len(str(each)) > 9
            )
        outcome |= {"asked": list(server.asked), "waits": clock.waits}
    outcome, expected = _said(json.loads(json.dumps(outcome))), _said(EXPECTED[title(case)])
    told = DIFFERENCES.get(title(case), {})
    differing = {name for name in expected if not _equal(outcome[name], expected[name])}
    assert differing == set(told), {name: (outcome[name], expected[name]) for name in differing}


def _said(outcome: dict[str, Any]) -> dict[str, Any]:
    """Without the fields of bodies that are null: to every API that says what their absence says."""
    asked = [
        {**each, "body": {k: v for k, v in (each["body"] or {}).items() if v is not None}}
        for each in outcome["asked"]
    ]
    return {**outcome, "asked": asked}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=1e-12)  # sums in another order
    return bool(one == other)


def test_every_recorded_case_is_asked() -> None:
    assert set(EXPECTED) == {title(case) for case in CASES}
    assert set(DIFFERENCES) <= set(EXPECTED)
