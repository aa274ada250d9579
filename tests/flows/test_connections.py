"""Connections: their files, the store, the environment; and that no text shows a secret."""

from __future__ import annotations

import copy
import json
import pickle
import stat
from pathlib import Path

import pytest

from farthing.core.errors import FlowError, FlowFormatError
from farthing.flows.code.marks import Secret
from farthing.flows.connections.connections import (
    STORE,
    AzureOpenAIConnection,
    CognitiveSearchConnection,
    Connection,
    ConnectionMissingError,
    Connections,
    CustomConnection,
    CustomStrongTypeConnection,
    OpenAIConnection,
    SerpConnection,
)
from farthing.flows.connections.types import TYPES, as_strong_type
from farthing.flows.graph import Node

KEY = "sk-very-secret-0123"

AZURE = """
$schema: https://example.test/schema.json
name: open_ai_connection
type: azure_open_ai
api_key: "<user-input>"
api_base: https://somewhere.example
api_type: "azure"
"""


def file(folder: Path, text: str, name: str = "c.yml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def project(folder: Path, **environ: str) -> Connections:
    return Connections(folder, environ=environ)


def test_a_file_becomes_a_connection_with_the_defaults_of_its_type(tmp_path: Path) -> None:
    connections = project(tmp_path)
    connections.create(file(tmp_path, AZURE), values={"api_key": KEY})
    found = project(tmp_path).get("open_ai_connection")
    assert isinstance(found, AzureOpenAIConnection)
    assert found.api_key == KEY
    assert found.api_base == "https://somewhere.example"
    assert found.api_type == "azure"
    assert found.api_version == "2024-02-01"
    assert found.auth_mode == "key"
    assert dict(**found)["api_key"] == KEY


def test_the_store_is_for_its_owner_alone_and_is_not_committed(tmp_path: Path) -> None:
    connections = project(tmp_path)
    connections.create(file(tmp_path, AZURE), values={"api_key": KEY})
    store = tmp_path / STORE
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert (store.parent / ".gitignore").read_text() == "connections.yaml\n"
    connections.create(file(tmp_path, AZURE), name="second", values={"api_key": KEY})
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert connections.names() == ("open_ai_connection", "second")


def test_a_key_that_is_a_reference_is_looked_up_when_it_is_used(tmp_path: Path) -> None:
    written = AZURE.replace('"<user-input>"', "${env:MY_KEY}")
    project(tmp_path, MY_KEY="x").create(file(tmp_path, written))
    assert "${env:MY_KEY}" in (tmp_path / STORE).read_text()
    assert project(tmp_path, MY_KEY=KEY).get("open_ai_connection")["api_key"] == KEY
    with pytest.raises(FlowError, match="MY_KEY"):
        project(tmp_path).get("open_ai_connection")
    assert project(tmp_path).show("open_ai_connection")["api_key"] == "${env:MY_KEY}"


def test_an_open_secret_is_asked_for_once_and_kept_when_the_file_is_created_again(
    tmp_path: Path,
) -> None:
    connections = project(tmp_path)
    with pytest.raises(FlowFormatError, match="--set api_key"):
        connections.create(file(tmp_path, AZURE))
    asked: list[str] = []

    def ask(field: str) -> str:
        asked.append(field)
        return KEY

    connections.create(file(tmp_path, AZURE), ask=ask)
    connections.create(file(tmp_path, AZURE), values={"api_version": "2030-01-01"}, ask=ask)
    assert asked == ["api_key"]
    found = connections.get("open_ai_connection")
    assert found["api_key"] == KEY
    assert found["api_version"] == "2030-01-01"


CUSTOM = """
name: mine
type: custom
configs:
  endpoint: "https://x.example"
secrets:
  token: "<to-be-replaced>"
"""


def test_the_keys_of_a_custom_connection_are_attributes(tmp_path: Path) -> None:
    connections = project(tmp_path)
    connections.create(file(tmp_path, CUSTOM), values={"secrets.token": KEY})
    found = connections.get("mine")
    assert isinstance(found, CustomConnection)
    assert found.token == KEY
    assert found.secrets["token"] == KEY
    assert found.endpoint == found.configs["endpoint"] == "https://x.example"
    assert found.is_secret("token")
    assert not found.is_secret("endpoint")
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = found.nothing_like_it
    assert copy.deepcopy(found).token == KEY
    assert pickle.loads(pickle.dumps(found)).endpoint == "https://x.example"


def test_a_users_own_type_has_its_annotated_names_as_fields() -> None:
    class Mine(CustomStrongTypeConnection):
        api_key: Secret
        api_base: str = "https://default.example"

    custom = CustomConnection(name="c", secrets={"api_key": KEY}, configs={})
    made = as_strong_type(custom, Mine)
    assert made.api_key == KEY
    assert made.api_base == "https://default.example"
    other = Mine(secrets={"api_key": "k"}, configs={"api_base": "b"})
    assert (other.api_base, other.api_key) == ("b", "k")
    other.api_key = "changed"
    assert other.secrets["api_key"] == "changed"


@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
def test_no_text_of_a_connection_shows_its_secret(kind: type[Connection]) -> None:
    if kind is CustomConnection:
        made: Connection = CustomConnection(secrets={"k": KEY})
    else:
        needed = {"api_base": "b", "endpoint": "e", "api_key": KEY}
        made = kind(name="n", **needed)  # type: ignore[arg-type]
    assert KEY not in f"{made} {made!r} {made.secrets} {made.secrets!r} {[made.secrets]}"
    assert KEY not in str(made._to_dict())


def test_showing_and_listing_scrub_secrets(tmp_path: Path) -> None:
    connections = project(tmp_path)
    connections.create(file(tmp_path, AZURE), values={"api_key": KEY})
    connections.create(file(tmp_path, CUSTOM), values={"secrets.token": KEY})
    connections.add(SerpConnection(KEY), name="search")
    shown = json.dumps([connections.show(each) for each in connections.names()])
    assert KEY not in shown
    assert shown.count("******") == 3
    assert [(each.name, each.type, each.source) for each in connections.list()] == [
        ("mine", "custom", "store"),
        ("open_ai_connection", "azure_open_ai", "store"),
        ("search", "serp", "store"),
    ]
    assert connections.get("mine").secrets["token"] == KEY
    connections.delete("mine")
    assert "mine" not in connections.names()


def test_one_that_is_missing_is_named_with_what_there_is_and_how_to_make_it(tmp_path: Path) -> None:
    connections = project(tmp_path)
    connections.create(file(tmp_path, AZURE), values={"api_key": KEY})
    with pytest.raises(ConnectionMissingError) as caught:
        connections.get("open_ai_conection", "classify", ["SerpConnection"])
    assert caught.value.connection == "open_ai_conection"
    assert caught.value.node == "classify"
    text = str(caught.value)
    assert "'classify'" in text
    assert "Did you mean 'open_ai_connection'?" in text
    assert "pf connection create" in text


def test_one_of_the_wrong_type_is_refused(tmp_path: Path) -> None:
    connections = Connections(given={"c": SerpConnection("k")}, environ={})
    with pytest.raises(FlowFormatError, match="is a SerpConnection; wanted: AzureOpenAIConnection"):
        connections.get("c", "n", ["AzureOpenAIConnection"])


def test_the_environment_stands_in_for_a_connection_of_a_model_type() -> None:
    azure = {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_ENDPOINT": "https://e.example"}
    found = Connections(environ=azure).get("open_ai_connection", "n", ["AzureOpenAIConnection"])
    assert isinstance(found, AzureOpenAIConnection)
    assert (found.name, found.api_base) == ("open_ai_connection", "https://e.example")
    plain = {"OPENAI_API_KEY": KEY}
    both = ["AzureOpenAIConnection", "OpenAIConnection"]
    assert isinstance(Connections(environ=plain).get("x", "n", both), OpenAIConnection)
    with pytest.raises(ConnectionMissingError, match="AZURE_OPENAI_API_KEY"):
        Connections(environ=plain).get("x", "n", ["AzureOpenAIConnection"])
    with pytest.raises(ConnectionMissingError):
        Connections(environ=azure).get("x", "n", ["CustomConnection"])


def test_the_type_of_a_connection_decides_whose_rules_a_request_follows() -> None:
    node = Node(name="ask", kind="llm", provider="AzureOpenAI")
    connections = Connections(
        environ={},
        given={
            "azure": AzureOpenAIConnection("b", "k"),
            "plain": OpenAIConnection("k"),
            "search": CognitiveSearchConnection("b", "k"),
        },
    )
    assert connections.vendor("azure", node) == "AzureOpenAI"
    assert connections.vendor("plain", node) == "OpenAI"
    with pytest.raises(FlowFormatError, match="serves no models"):
        connections.vendor("search", node)


def test_an_llm_node_may_name_a_connection_that_is_not_configured_unless_that_is_strict() -> None:
    connections = Connections(environ={})
    assert connections.vendor("x", Node(name="n", kind="llm")) == "AzureOpenAI"
    assert connections.vendor("x", Node(name="n", kind="llm", provider="OpenAI")) == "OpenAI"
    with pytest.raises(ConnectionMissingError, match="'n'"):
        connections.vendor("x", Node(name="n", kind="llm"), is_strict=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\n", "has no type"),
        ("name: a\ntype: azure_openai\n", "Did you mean 'azure_open_ai'"),
        ("name: a\ntype: serverless\napi_key: k\n", "has no api_base"),
        ("name: a\ntype: open_ai\napi_key: k\nbase_ur: x\n", "Write base_url"),
        ("type: serp\napi_key: k\n", "has no name"),
    ],
)
def test_a_file_that_is_wrong_is_told_so(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(FlowFormatError, match=said):
        project(tmp_path).create(file(tmp_path, text))


def test_files_may_be_given_instead_of_a_store(tmp_path: Path) -> None:
    text = "type: OpenAI\napi_key: ${env:K}\nbase_url: _\n"
    connections = Connections(files=[file(tmp_path, text, "plain.yaml")], environ={"K": KEY})
    found = connections.get("plain")
    assert isinstance(found, OpenAIConnection)
    assert (found.api_key, found.base_url, found.organization) == (KEY, None, None)
    with pytest.raises(FlowError, match="project's folder"):
        connections.add(found)
