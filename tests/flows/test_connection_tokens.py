"""Connections with `auth_mode: meid_token`: who gets their tokens, how long they are kept, what is told without one."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from farthing.base.clock import FakeClock
from farthing.core.errors import FlowError
from farthing.flows.connections.connections import (
    AzureAIServicesConnection,
    AzureOpenAIConnection,
    CognitiveSearchConnection,
    Connections,
)
from farthing.flows.connections.entra import Tokens, WithTokens
from farthing.flows.open import open_flow
from farthing.providers.entra import RENEW_BEFORE_S
from farthing.testing.server import Peer, serving
from tests.flows.test_package_tools import NoModels
from tests.flows.tool_cases import Recorder

SCOPE = "https://cognitiveservices.azure.com/.default"
SECRET = "a-client-secret"
CLIENT = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": SECRET}
VARIABLES = (
    *CLIENT, "AZURE_AUTHORITY_HOST", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "IDENTITY_ENDPOINT", "IDENTITY_HEADER",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _nobody_signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def issuing(lifetime: int = 3600) -> Callable[[Peer], Awaitable[None]]:
    """A token service that counts: token-1, token-2, …"""
    count = 0

    async def script(peer: Peer) -> None:
        nonlocal count
        count += 1
        body = {"access_token": f"token-{count}", "expires_in": lifetime, "token_type": "Bearer"}
        await peer.answer(json.dumps(body).encode())

    return script


def sign_in(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name, value in {**CLIENT, "AZURE_AUTHORITY_HOST": url}.items():
        monkeypatch.setenv(name, value)


async def token_of(connection: WithTokens) -> str:
    return await asyncio.to_thread(connection.get_token)


class Given(NamedTuple):
    """As azure-identity's tokens are."""

    token: str
    expires_on: int


class Counting:
    """A credential of a user's own. lifetime: seconds, by the clock."""

    def __init__(self, clock: FakeClock, lifetime: int = 3600) -> None:
        self.scopes: list[tuple[str, ...]] = []
        self.fails = False
        self._clock = clock
        self._lifetime = lifetime

    def get_token(self, *scopes: str) -> Given:
        self.scopes.append(scopes)
        if self.fails:
            raise ConnectionError
        return Given(f"token-{len(self.scopes)}", int(self._clock.now()) + self._lifetime)


async def test_the_identity_of_the_environment_buys_one_token_for_many_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(issuing()) as server:
        sign_in(monkeypatch, server.url)
        connection = AzureOpenAIConnection("https://a.example", auth_mode="meid_token")
        tokens = await asyncio.gather(*(token_of(connection) for _ in range(8)))
        assert set(tokens) == {"token-1"}
        (asked,) = server.asked
    assert asked.line == "POST /t/oauth2/v2.0/token HTTP/1.1"
    form = {"client_id": ["c"], "client_secret": [SECRET], "scope": [SCOPE]}
    assert parse_qs(asked.body.decode()) == {**form, "grant_type": ["client_credentials"]}


@pytest.mark.parametrize(
    ("connection", "scope"),
    [
        (AzureOpenAIConnection("https://a.openai.azure.com", auth_mode="meid_token"), SCOPE),
        (AzureAIServicesConnection("https://a.azure.us", auth_mode="meid_token"),
         "https://cognitiveservices.azure.us/.default"),
        (CognitiveSearchConnection("https://a.search.windows.net", auth_mode="meid_token"),
         "https://search.azure.com/.default"),
        (CognitiveSearchConnection("https://a.search.azure.cn/", auth_mode="meid_token"),
         "https://search.azure.cn/.default"),
    ],
)  # fmt: skip
def test_a_token_is_for_the_service_and_the_cloud_of_the_connection(
    connection: WithTokens, scope: str
) -> None:
    credential = connection.credential = Counting(FakeClock(start=2e9))
    assert connection.get_token() == "token-1"
    assert credential.scopes == [(scope,)]


async def test_a_token_is_renewed_shortly_before_its_end() -> None:
    clock = FakeClock()
    credential = Counting(clock)
    tokens = Tokens("c", SCOPE, credential, environ={}, clock=clock)
    assert [tokens.get(), tokens.get()] == ["token-1", "token-1"]
    await clock.advance(3600 - RENEW_BEFORE_S - 1)
    assert tokens.get() == "token-1"
    await clock.advance(2)
    assert tokens.get() == "token-2"


async def test_a_renewal_that_fails_is_no_failure_while_the_old_token_is_good() -> None:
    clock = FakeClock()
    credential = Counting(clock)
    tokens = Tokens("c", SCOPE, credential, environ={}, clock=clock)
    assert tokens.get() == "token-1"
    credential.fails = True
    await clock.advance(3600 - RENEW_BEFORE_S + 1)
    assert [tokens.get(), tokens.get()] == ["token-1", "token-1"]
    assert len(credential.scopes) == 2  # it is not tried at each call
    await clock.advance(RENEW_BEFORE_S)
    with pytest.raises(FlowError, match="Counting failed with ConnectionError"):
        tokens.get()
    credential.fails = False
    assert tokens.get() == "token-4"


async def test_a_refusal_says_oauths_word_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refusing(peer: Peer) -> None:
        told = {"error": "invalid_client", "error_description": f"not {SECRET}"}
        await peer.answer(json.dumps(told).encode(), status="401 Unauthorized")

    async with serving(refusing) as server:
        sign_in(monkeypatch, server.url)
        connection = AzureOpenAIConnection("https://a.example", auth_mode="meid_token", name="main")
        with pytest.raises(
            FlowError, match=r"connection 'main' with status 401 \(invalid_client\)"
        ) as e:
            await token_of(connection)
    assert "AZURE_CLIENT_ID" in str(e.value)
    assert SECRET not in f"{e.value}{e.value!r}{e.value.__cause__!r}"


async def test_without_an_identity_it_says_what_to_set_and_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "azure.identity" in sys.modules or _has_azure_identity():
        pytest.skip("azure-identity is installed, and asks in its own way.")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{port}")
    connection = AzureOpenAIConnection("https://a.example", auth_mode="meid_token", name="main")
    with pytest.raises(FlowError, match=r"No Entra token for connection 'main'") as caught:
        await token_of(connection)
    assert "AZURE_CLIENT_SECRET" in str(caught.value)
    assert "pip install 'farthing[azure]'" in str(caught.value)


async def test_the_identity_of_the_machine_is_asked_when_nothing_else_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if _has_azure_identity():
        pytest.skip("azure-identity is installed, and asks in its own way.")
    async with serving(issuing()) as server:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.url)
        connection = AzureOpenAIConnection("https://a.example", auth_mode="meid_token")
        assert await token_of(connection) == "token-1"
        query = parse_qs(urlsplit(server.asked[0].line.split()[1]).query)
    assert query["resource"] == ["https://cognitiveservices.azure.com"]


def test_a_credential_that_fails_is_told_by_its_class_without_its_words() -> None:
    class SignedOut:
        def get_token(self, *scopes: str) -> Given:
            raise ValueError("tenant-7 is private")

    connection = AzureOpenAIConnection(
        "https://a.example", auth_mode="meid_token", credential=SignedOut(), name="main"
    )
    with pytest.raises(FlowError, match="SignedOut failed with ValueError") as caught:
        connection.get_token()
    assert "az login" in str(caught.value)
    assert "tenant-7" not in str(caught.value)


PACKAGE = """
from collections import namedtuple
class DefaultAzureCredential:
    def get_token(self, *scopes, **more):
        return namedtuple("AccessToken", "token expires_on")(f"for {scopes[0]}", 1e10)
"""


def test_who_is_signed_in_here_is_asked_through_azure_identity_when_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "azure/identity").mkdir(parents=True)
    (tmp_path / "azure/__init__.py").write_text("")
    (tmp_path / "azure/identity/__init__.py").write_text(PACKAGE)
    for name in [each for each in sys.modules if each.partition(".")[0] == "azure"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        connection = AzureOpenAIConnection("https://a.example", auth_mode="meid_token")
        assert connection.get_token() == f"for {SCOPE}"
    finally:
        for name in ("azure", "azure.identity"):
            sys.modules.pop(name, None)


async def test_a_credential_of_azure_identity_itself_will_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    identity = pytest.importorskip("azure.identity")

    async def issues(peer: Peer) -> None:
        told = {"access_token": "token-1", "expires_on": "9999999999", "resource": "r"}
        await peer.answer(json.dumps({**told, "token_type": "Bearer"}).encode())

    async with serving(issues) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi")
        monkeypatch.setenv("IDENTITY_HEADER", "h")
        connection = AzureOpenAIConnection("https://a.example", auth_mode="meid_token")
        connection.credential = identity.ManagedIdentityCredential()
        assert await token_of(connection) == "token-1"
        assert server.asked[0].headers["x-identity-header"] == "h"


YAML = """
name: main
type: azure_open_ai
api_base: https://a.openai.azure.com
auth_mode: meid_token
"""


@pytest.mark.parametrize("more", ["", "api_key: ''\n", "api_key: <user-input>\n"])
def test_a_connection_with_tokens_is_created_without_a_key(tmp_path: Path, more: str) -> None:
    file = tmp_path / "c.yml"
    file.write_text(YAML + more)
    connections = Connections(tmp_path, environ={})
    connections.create(file)
    found = connections.get("main")
    assert isinstance(found, AzureOpenAIConnection)
    assert (found.auth_mode, found.api_key) == ("meid_token", None)


def test_a_key_that_stands_beside_auth_mode_is_neither_used_nor_shown(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text(f"{YAML}api_key: {SECRET}\n")
    connections = Connections(tmp_path, environ={})
    connections.create(file)
    assert connections.get("main").secrets == {}
    assert SECRET not in str(connections.show("main"))


def test_a_copy_of_a_connection_has_its_fields_and_no_token() -> None:
    connection = AzureOpenAIConnection("https://a.example", auth_mode="meid_token", name="main")
    connection.credential = Counting(FakeClock(start=2e9))
    assert connection.get_token() == "token-1"
    assert b"token-1" not in pickle.dumps({**connection.__getstate__(), "credential": None})
    assert copy.deepcopy(connection).get_token() == "token-2"
    assert "token-1" not in f"{connection!r}{vars(connection)}"


FLOW = """
inputs: {question: {type: string}}
outputs: {answer: {type: string, reference: '${waits.output}'}}
nodes:
- name: plain
  type: python
  source: {type: code, path: plain.py}
  inputs: {connection: main}
- name: waits
  type: python
  source: {type: code, path: waits.py}
  inputs: {connection: main, before: '${plain.output}'}
"""
NODE = """
from promptflow.core import tool
from promptflow.connections import AzureOpenAIConnection
@tool
%sdef node(connection: AzureOpenAIConnection, before: str = ""):
    return before + connection.get_token()
"""


async def test_the_nodes_of_a_flow_get_tokens_wherever_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flow.dag.yaml").write_text(FLOW)
    (tmp_path / "plain.py").write_text(NODE % "")
    (tmp_path / "waits.py").write_text(NODE % "")
    given = {"main": AzureOpenAIConnection("https://a.example", auth_mode="meid_token")}
    async with serving(issuing()) as server:
        sign_in(monkeypatch, server.url)
        flow = open_flow(
            tmp_path,
            models=NoModels(),
            connections=Connections(given=given, environ={}),
            clock=FakeClock(),
        )
        line = await flow.run({"question": "?"})
        await flow.aclose()
        assert len(server.asked) == 1
    assert line.error is None
    assert line.outputs == {"answer": "token-1token-1"}


def test_a_node_on_the_loop_may_ask_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """It blocks the loop while the token is fetched, and does not wait for itself."""

    async def node() -> str:
        return AzureOpenAIConnection("https://a.example", auth_mode="meid_token").get_token()

    with Recorder() as server:
        server.answer = {"access_token": "token-1", "expires_in": 3600}
        sign_in(monkeypatch, server.url)
        assert asyncio.run(node()) == "token-1"


def _has_azure_identity() -> bool:
    try:
        import azure.identity  # noqa: F401
    except ImportError:
        return False
    return True
