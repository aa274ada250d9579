"""A gateway where everything that a caller can get wrong is there to be got wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from farthing.accounts.budgets import Budget
from farthing.accounts.keys import Scope
from farthing.base.config.settings import (
    Deployment,
    Ledger,
    PriceSetting,
    Provider,
    Route,
    Settings,
    Storage,
)
from farthing.base.config.settings import Server as ServerSettings
from farthing.gateway.client import Gateway, open_gateway
from farthing.server.listener import listen
from farthing.server.serve import serving
from farthing.testing.server import Peer
from farthing.testing.server import serving as scripted

_MODEL = """
[models.{name}]
{more}price = {{ input = 1.00, output = 2.00 }}
source = "made up"
date = "2026-11-24"
"""
_REGION = """
[regions.{flavour}]
flavour = "{flavour}"
latency = {{ first_token_p50_s = 0.0001, first_token_p99_s = 0.0002, per_token_s = 0.0 }}
"""
_PLACE = """
[regions.{flavour}.deployments.{name}]
model = "{name}"
quota = {{ tokens_per_minute = 9000000000, requests_per_minute = 10000000 }}
"""
PRICE = PriceSetting(input="1", output="2", source="made up", date="2026-11-24")


def scenario(folder: Path) -> str:
    """A scenario file: one chat model for each vendor's dialect, and one that embeds."""
    text = 'name = "mistakes"\n'
    text += "".join(_MODEL.format(name=name, more="") for name in ("gpt", "claude", "gemini"))
    text += _MODEL.format(name="vectors", more='kind = "embed"\n')
    for flavour, names in {
        "openai": ("gpt", "vectors"),
        "anthropic": ("claude",),
        "google": ("gemini",),
    }.items():
        text += _REGION.format(flavour=flavour)
        text += "".join(_PLACE.format(flavour=flavour, name=name) for name in names)
    file = folder / "scenario.toml"
    file.write_text(text)
    return str(file)


class World(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway, a client of it, and keys by what is wrong with them."""

    gateway: Gateway
    url: str
    client: aiohttp.ClientSession
    keys: dict[str, str]


def settings(folder: Path, vendor_url: str) -> Settings:
    """One simulated vendor that works, one without a key, one that refuses ours."""

    def at(provider: str, model: str, **more: object) -> Deployment:
        return Deployment(provider=provider, model=model, price=PRICE, **more)  # type: ignore[arg-type]

    return Settings(
        server=ServerSettings(port=0, detect=False, max_body_mb=50),
        storage=Storage(url=f"sqlite:{folder}/farthing.db"),
        ledger=Ledger(),
        providers={
            "sim": Provider(type="sim", scenario=scenario(folder)),
            "unset": Provider(type="openai", key="env:MY_OPENAI_KEY", models=()),
            "refusing": Provider(
                type="openai", base_url=vendor_url, key="vendor-key", models=("gpt-4o",)
            ),
        },
        deployments={
            "short": at("sim", "gpt", context_tokens=100),
            "no-vendor-key": at("unset", "gpt-4o"),
            "refused-by-vendor": at("refusing", "gpt-4o"),
            "priceless": Deployment(provider="refusing", model="brand-new-model"),
        },
        routes={"chat": Route(deployments=("short",))},
    )


@asynccontextmanager
async def mistaken_world(folder: Path) -> AsyncIterator[World]:
    """The world, served on loopback."""
    async with scripted(_refuse_the_key) as vendor:
        made = settings(folder, f"{vendor.url}/v1")
        with listen(made.server) as listener:
            async with (
                open_gateway(made, environ={}) as gateway,
                serving(gateway, listener) as running,
                aiohttp.ClientSession(running.url) as client,
            ):
                keys = await _keys(gateway)
                yield World(gateway=gateway, url=running.url, client=client, keys=keys)


async def _keys(gateway: Gateway) -> dict[str, str]:
    made = gateway.accounts.keys

    async def create(name: str, scope: Scope | None = None, **more: object) -> str:
        return (await made.create(name, scope=scope, **more)).secret  # type: ignore[arg-type]

    keys = {
        "good": await create("good"),
        "admin": await create("admin", role="admin"),
        "viewer": await create("viewer", role="viewer"),
        "one model": await create("one-model", Scope(models=("sim/gpt",))),
        "one face": await create("one-face", Scope(faces=("anthropic",))),
        "expired": await create("expired", expires_at=1),
        "revoked": await create("revoked"),
        "poor": await create("poor"),
    }
    await made.revoke("revoked")
    await gateway.accounts.set_budget(
        Budget(name="pocket-money", nanodollars=1000, window="total", key="poor")
    )
    return keys


async def _refuse_the_key(peer: Peer) -> None:
    await peer.answer(b'{"error": {"message": "Incorrect API key"}}', status="401 Unauthorized")
