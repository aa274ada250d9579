"""Prompt flow's tools for models, called from Python code: what is sent where, and what comes back."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from farthing.core.errors import (
    FlowError,
    UpstreamAuthError,
    UpstreamRejectedError,
    UpstreamUnreachableError,
)
from farthing.flows import shim
from farthing.flows.code.packages import package_tool
from farthing.flows.connections.connections import (
    AzureOpenAIConnection,
    OpenAIConnection,
    SerpConnection,
    ServerlessConnection,
)
from farthing.flows.prompts.images import Image


class Endpoint:
    """A server that answers with what it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.statuses: list[int] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append((self.path, dict(self.headers), body))
                status = endpoint.statuses.pop(0) if endpoint.statuses else 200
                answer = endpoint.answer(self.path, body) if status == 200 else b"secret words"
                self.send_response(status)
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def answer(self, path: str, body: Any) -> bytes:
        if "embeddings" in path:
            return json.dumps({"data": [{"embedding": [0.5, 1.0]}]}).encode()
        if body.get("stream"):
            pieces = [{"choices": [{"delta": {"content": each}}]} for each in ("he", "llo")]
            pieces.append({"choices": []})
            lines = [f"data: {json.dumps(each)}\n\n" for each in pieces]
            return "".join([*lines, "data: [DONE]\n\n"]).encode()
        choice = {"message": {"role": "assistant", "content": "hello"}, "text": "on and on"}
        return json.dumps({"choices": [choice]}).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


def tools(name: str) -> Any:
    with shim.active():
        return importlib.import_module(f"promptflow.tools.{name}")


PROMPT = "system:\nbe brief\nuser:\n{{question}}\n{% for x in items %}{{x}}{% endfor %}"


def test_a_chat_goes_to_the_deployment_of_an_azure_connection(endpoint: Endpoint) -> None:
    connection = AzureOpenAIConnection(endpoint.url + "/", "k", api_version="2030-01-01")
    said = tools("aoai").chat(
        connection, PROMPT, "my model", temperature=0.5, question="why?", items=["a", "b"]
    )
    assert said == "hello"
    path, headers, body = endpoint.asked[0]
    assert path == "/openai/deployments/my%20model/chat/completions?api-version=2030-01-01"
    assert headers["api-key"] == "k"
    assert body == {
        "model": "my model",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "why?\nab"},
        ],
        "temperature": 0.5,
        "top_p": 1.0,
        "n": 1,
        "stream": False,
    }


def test_a_chat_with_an_openai_connection_has_its_rules(endpoint: Endpoint) -> None:
    connection = OpenAIConnection("k", organization="o", base_url=endpoint.url + "/v1")
    function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    said = tools("openai").chat(
        connection=connection, prompt=PROMPT, model="m", question="?", functions=[function]
    )
    assert said == {"role": "assistant", "content": "hello"}
    path, headers, body = endpoint.asked[0]
    assert path == "/v1/chat/completions"
    assert (headers["Authorization"], headers["OpenAI-Organization"]) == ("Bearer k", "o")
    assert "n" not in body


def test_a_stream_gives_the_text_piece_by_piece(endpoint: Endpoint) -> None:
    connection = OpenAIConnection("k", base_url=endpoint.url)
    provider = tools("openai").OpenAI(connection)
    assert list(provider.chat(PROMPT, "m", question="?", stream=True)) == ["he", "llo"]


def test_a_completion_goes_on_from_the_prompt(endpoint: Endpoint) -> None:
    connection = AzureOpenAIConnection(endpoint.url, "k")
    assert tools("aoai").completion(connection, "Say {{x}}", "d", x="it") == "on and on"
    assert endpoint.asked[0][2]["prompt"] == "Say it"


def test_an_embedding_is_a_vector_whatever_the_connection(endpoint: Endpoint) -> None:
    embedding = tools("embedding").embedding
    azure = AzureOpenAIConnection(endpoint.url, "k")
    assert embedding(azure, "text", deployment_name="ada") == [0.5, 1.0]
    assert embedding(ServerlessConnection("k", endpoint.url), "text", model="m") == [0.5, 1.0]
    assert [body for _, _, body in endpoint.asked] == [
        {"input": "text", "model": "ada"},
        {"input": ["text"], "model": "m", "encoding_format": "float"},
    ]
    assert endpoint.asked[1][0] == "/v1/embeddings"


def test_a_chat_about_images_puts_them_where_the_template_names_them(endpoint: Endpoint) -> None:
    tool = package_tool("promptflow.tools.aoai_gpt4v.AzureOpenAI.chat")
    assert tool.provider is not None
    image = Image(b"\x89PNG\r\n\x1a\n")
    provider = tool.provider(AzureOpenAIConnection(endpoint.url, "k"))
    said = provider.chat("user:\nWhat is it? ![image]({{i}})", "d", max_tokens=9, i=image)
    assert said == "hello"
    body = endpoint.asked[0][2]
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "What is it? "},
        {"type": "image_url", "image_url": {"url": image.url, "detail": "auto"}},
    ]
    assert (body["max_tokens"], body["presence_penalty"]) == (9, 0)


def test_a_busy_endpoint_is_asked_again(endpoint: Endpoint) -> None:
    endpoint.statuses = [429, 503]
    connection = OpenAIConnection("k", base_url=endpoint.url)
    assert tools("openai").chat(connection, PROMPT, "m", question="?") == "hello"
    assert len(endpoint.asked) == 3


def test_a_refusal_ends_it_at_once_and_its_words_are_not_shown(endpoint: Endpoint) -> None:
    connection = OpenAIConnection("k", base_url=endpoint.url)
    for status, kind in ((400, UpstreamRejectedError), (401, UpstreamAuthError)):
        endpoint.statuses = [status]
        with pytest.raises(kind) as caught:
            tools("openai").chat(connection, PROMPT, "m", question="?")
        assert caught.value.upstream_status == status
        assert "secret words" not in str(caught.value)
    assert len(endpoint.asked) == 2


def test_a_connection_that_leads_nowhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = tools("embedding").embedding
    with pytest.raises(FlowError, match="SerpConnection leads to no model"):
        embedding(SerpConnection("k"), "text")
    with pytest.raises(FlowError, match="is no URL"):
        embedding(AzureOpenAIConnection("aoai-api-endpoint", "k"), "text")
    monkeypatch.setattr("farthing.flows.connections.direct.TRIES", 1)
    with pytest.raises(UpstreamUnreachableError, match="ConnectionRefusedError"):
        embedding(OpenAIConnection("k", base_url="http://127.0.0.1:9"), "text")


def test_prompts_are_rendered_and_read_as_nodes_do() -> None:
    common = tools("common")
    text = common.render_jinja_template(PROMPT, question="why?")
    assert common.parse_chat(text, valid_roles=["system", "user"])[1]["content"] == "why?"
    with pytest.raises(FlowError, match="no role 'ghost'"):
        common.parse_chat(text, valid_roles=["ghost"])
