"""A real gateway behind a real socket, with simulated deployments behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from farthing.base.config.settings import Provider, Settings, Storage
from farthing.base.config.settings import Server as ServerSettings
from farthing.gateway.client import Gateway, open_gateway
from farthing.server.listener import listen
from farthing.server.serve import Server, serving

#: Answers at once, except `sim/slow`, whose answers are long and take seconds.
SCENARIO = """
name = "server tests"

[models.quick]
price = { input = 1.00, output = 2.00 }
source = "made up"
date = "2026-11-24"

[models.slow]
price = { input = 1.00, output = 2.00 }
source = "made up"
date = "2026-11-24"

[models.embed]
kind = "embed"
price = { input = 0.10 }
source = "made up"
date = "2026-11-24"

[regions.near]
latency = { first_token_p50_s = 0.0001, first_token_p99_s = 0.0002, per_token_s = 0.0 }
[regions.near.deployments.quick]
model = "quick"
quota = { tokens_per_minute = 9000000, requests_per_minute = 100000 }
[regions.near.deployments.embed]
model = "embed"
quota = { tokens_per_minute = 9000000, requests_per_minute = 100000 }

[regions.far]
flavour = "anthropic"
latency = { first_token_p50_s = 0.0001, first_token_p99_s = 0.0002, per_token_s = 0.1 }
[regions.far.deployments.slow]
model = "slow"
quota = { tokens_per_minute = 9000000, requests_per_minute = 100000 }
"""


class Running(msgspec.Struct, frozen=True):
    """A served gateway and a client of it."""

    gateway: Gateway
    server: Server
    client: aiohttp.ClientSession


Serve = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """`async with serve(max_body_mb=1) as running:` — a gateway with these server settings."""

    @asynccontextmanager
    async def start(**server: object) -> AsyncIterator[Running]:
        scenario = tmp_path / "scenario.toml"
        scenario.write_text(SCENARIO)
        settings = Settings(
            server=ServerSettings(port=0, detect=False, **server),  # type: ignore[arg-type]
            storage=Storage(url=f"sqlite:{tmp_path}/farthing.db"),
            providers={"sim": Provider(type="sim", scenario=str(scenario))},
        )
        with listen(settings.server) as listener:
            async with (
                open_gateway(settings, environ={}) as gateway,
                serving(gateway, listener) as running,
                aiohttp.ClientSession(running.url) as client,
            ):
                yield Running(gateway, running, client)

    return start
