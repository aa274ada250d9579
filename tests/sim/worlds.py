"""Small simulated worlds for the tests: one region in a few lines, and requests to it."""

from __future__ import annotations

import json
from typing import Any

from farthing.base.clock import FakeClock
from farthing.sim.engine import Inbound, Region
from farthing.sim.exchange import Exchange
from farthing.sim.invoice import Invoice
from farthing.sim.scenario import Scenario, parse

PATHS = {
    "openai": "/v1/chat/completions",
    "azure": "/openai/v1/chat/completions",
    "anthropic": "/v1/messages",
    "google": "/v1beta/models/small:generateContent",
}
QUOTA = 'quota = { semantics = "bucket", tokens_per_minute = 1000000 }'


def scenario(
    flavour: str = "openai", deployments: str = "", *, model: str = "", region: str = ""
) -> Scenario:
    """One region `here` with the model `small` (1 dollar in, 4 out per million) and no latency."""
    return parse(f"""
        name = "test"
        seed = 3
        is_header_fault_allowed = true
        [models.small]
        price = {{ input = 1, cached_input = 0.5, output = 4 }}
        source = "test"
        date = "2026-11-24"
        {model}
        [models.embed]
        kind = "embed"
        price = {{ input = 1 }}
        source = "test"
        date = "2026-11-24"
        [regions.here]
        flavour = "{flavour}"
        latency = {{ first_token_p50_s = 0, first_token_p99_s = 0, per_token_s = 0 }}
        {region}
        [regions.here.deployments.small]
        model = "small"
        {deployments or QUOTA}
        """)


class World:
    """A region on a fake clock, and its invoice."""

    def __init__(self, made: Scenario) -> None:
        self.clock = FakeClock(start=1_800_000_000.0)
        self.invoice = Invoice()
        self.region = Region("here", made, self.clock, self.invoice)
        self.flavour = made.regions["here"].flavour

    def ask(self, text: str = "Hello there.", *, to: str = "small", **more: Any) -> Exchange:
        """A chat request in the region's own dialect family (OpenAI's body), unsettled."""
        headers = more.pop("headers", {})
        body = {"model": to, "messages": [{"role": "user", "content": text}], **more}
        return self.send(PATHS[self.flavour], body, headers=headers)

    def send(
        self,
        path: str,
        body: object,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
    ) -> Exchange:
        """Any request."""
        inbound = Inbound(
            method="POST",
            path=path,
            query=query or {},
            headers={"anthropic-version": "2023-06-01", **(headers or {})},
            body=json.dumps(body).encode(),
        )
        return self.region.receive(inbound)


def world(flavour: str = "openai", deployments: str = "", **more: str) -> World:
    """A world around `scenario`."""
    return World(scenario(flavour, deployments, **more))


def header(exchange: Exchange, name: str) -> str | None:
    """A response header."""
    return dict(exchange.script.headers).get(name)


def body(exchange: Exchange) -> Any:
    """The JSON of an unstreamed answer."""
    return json.loads(exchange.script.body)


def events(exchange: Exchange) -> list[Any]:
    """The JSON of the events of a stream, without the end mark."""
    lines = exchange.script.body.decode().splitlines()
    data = [line[6:] for line in lines if line.startswith("data: ")]
    return [json.loads(text) for text in data if text != "[DONE]"]
