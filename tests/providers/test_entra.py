from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from farthing.base.clock import FakeClock
from farthing.core.errors import UpstreamAuthError
from farthing.providers.entra import RENEW_BEFORE_S, TokenSource
from farthing.testing.server import Peer, serving

SCOPE = "https://cognitiveservices.azure.com/.default"
SECRET = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "canary"}


def issuing(lifetime: object = 3600) -> Callable[[Peer], Awaitable[None]]:
    """A token service that counts: token-1, token-2, …"""
    count = 0

    async def script(peer: Peer) -> None:
        nonlocal count
        count += 1
        body = {"access_token": f"token-{count}", "expires_in": lifetime, "token_type": "Bearer"}
        await peer.answer(json.dumps(body).encode())

    return script


def source(url: str, clock: FakeClock, **environ: str) -> TokenSource:
    return TokenSource(
        "az", scope=SCOPE, environ={"AZURE_AUTHORITY_HOST": url, **environ}, clock=clock
    )


async def test_a_client_secret_buys_a_token_that_is_kept_until_shortly_before_its_end() -> None:
    clock = FakeClock()
    async with serving(issuing()) as server:
        tokens = source(server.url, clock, **SECRET)
        assert [await tokens.token(), await tokens.token()] == ["token-1", "token-1"]
        asked = server.asked[0]
        assert asked.line == "POST /t/oauth2/v2.0/token HTTP/1.1"
        assert parse_qs(asked.body.decode()) == {
            "client_id": ["c"],
            "scope": [SCOPE],
            "grant_type": ["client_credentials"],
            "client_secret": ["canary"],
        }
        await clock.advance(3600 - RENEW_BEFORE_S - 1)
        assert await tokens.token() == "token-1"
        await clock.advance(2)
        assert await tokens.token() == "token-2"
        tokens.forget()
        assert await tokens.token() == "token-3"
        await tokens.aclose()


async def test_a_workload_identity_shows_its_federated_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("federated\n")
    async with serving(issuing("3600")) as server:
        tokens = source(
            server.url,
            FakeClock(),
            AZURE_TENANT_ID="t",
            AZURE_CLIENT_ID="c",
            AZURE_FEDERATED_TOKEN_FILE=str(file),
        )
        assert await tokens.token() == "token-1"
        assert parse_qs(server.asked[0].body.decode())["client_assertion"] == ["federated"]
        await tokens.aclose()


async def test_a_managed_identity_asks_the_metadata_service() -> None:
    async with serving(issuing()) as server:
        tokens = source("", FakeClock(), AZURE_POD_IDENTITY_AUTHORITY_HOST=server.url)
        assert await tokens.token() == "token-1"
        asked = server.asked[0]
        assert asked.headers["metadata"] == "true"
        query = parse_qs(urlsplit(asked.line.split(" ")[1]).query)
        assert query["resource"] == ["https://cognitiveservices.azure.com"]
        await tokens.aclose()


async def test_an_app_service_asks_its_own_endpoint() -> None:
    async with serving(issuing()) as server:
        tokens = source("", FakeClock(), IDENTITY_ENDPOINT=f"{server.url}/msi", IDENTITY_HEADER="h")
        assert await tokens.token() == "token-1"
        assert server.asked[0].headers["x-identity-header"] == "h"
        await tokens.aclose()


async def test_a_refusal_shows_entras_word_and_nothing_that_was_sent() -> None:
    async def script(peer: Peer) -> None:
        body = {"error": "invalid_client", "error_description": "canary"}
        await peer.answer(json.dumps(body).encode(), status="401 Unauthorized")

    async with serving(script) as server:
        tokens = source(server.url, FakeClock(), **SECRET)
        with pytest.raises(UpstreamAuthError) as caught:
            await tokens.token()
        assert "invalid_client" in str(caught.value)
        assert "canary" not in str(caught.value)
        assert not caught.value.was_sent
        await tokens.aclose()


async def test_a_failed_early_renewal_keeps_the_old_token_while_it_is_good() -> None:
    clock, answers = FakeClock(), [b'{"access_token":"one","expires_in":3600}']

    async def script(peer: Peer) -> None:
        if answers:
            await peer.answer(answers.pop())
        else:
            await peer.answer(b"{}", status="503 Service Unavailable")

    async with serving(script) as server:
        tokens = source(server.url, clock, **SECRET)
        assert await tokens.token() == "one"
        await clock.advance(3400)
        assert await tokens.token() == "one"
        await clock.advance(300)
        with pytest.raises(UpstreamAuthError):
            await tokens.token()
        await tokens.aclose()
