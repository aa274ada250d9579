"""What prompt flow's package tools are asked in the proof, and a server on loopback that writes down what it gets.

Needs the standard library only: the original's environment loads this file as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.loopback import Loopback

#: Headers that a service may go by; the rest are the client's own.
HEADERS = (
    "api-key", "authorization", "azureml-model-deployment", "content-type", "ms-azure-ai-sender",
    "ocp-apim-subscription-key", "x-ms-user-agent",
)  # fmt: skip
KEY = "a-secret-key"
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FOUND = {"organic_results": [{"title": "a", "link": "https://a.example"}]}
LISTED = {
    "blocklistsMatch": [],
    "categoriesAnalysis": [
        {"category": "Hate", "severity": 2},
        {"category": "SelfHarm", "severity": 0},
        {"category": "Sexual", "severity": 4},
        {"category": "Violence", "severity": 6},
    ],
}
BY_KEY = {
    "blocklistsMatchResults": [],
    "hateResult": {"category": "Hate", "severity": 4},
    "selfHarmResult": {"category": "SelfHarm", "severity": 0},
    "sexualResult": {"category": "Sexual", "severity": 0},
    "violenceResult": {"category": "Violence", "severity": 2},
}
CHAT = "system:\nBe brief.\nuser:\nWhat is {{thing}}?\n"
VISION = "user:\nWhat is it?\n![image]({{picture}})\n"
PASSAGES = [
    {"text": "a cat sat on the mat", "score": 0.9, "metadata": {"url": "a"}},
    {"text": "the dog and the cat", "score": 0.4, "additional_fields": {"title": "b"}},
    {"text": "rain in the hills", "score": 0.2},
]
ANSWERED = {
    "id": "1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "text": "yes",
                 "message": {"role": "assistant", "content": "yes"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
VECTOR = {
    "object": "list", "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1},
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
}  # fmt: skip


@dataclass
class ToolCase:
    """One call of a tool. connection: a key of `CONNECTIONS`. status, answer: what the service says, each time."""

    name: str
    tool: str
    values: dict[str, Any]
    connection: str = ""
    status: int = 200
    answer: Any = field(default_factory=dict)


def _search(name: str, status: int = 200, answer: Any = FOUND, **values: Any) -> ToolCase:
    asked = {"query": "why is it so? & how", **values}
    return ToolCase(name, "serpapi", asked, "serp", status, answer)


def _judge(name: str, connection: str, answer: Any, status: int = 200, **values: Any) -> ToolCase:
    return ToolCase(name, "safety", {"text": "Früh ‘am’ Tag", **values}, connection, status, answer)


def _open(name: str, connection: str, answer: Any, status: int = 200, **values: Any) -> ToolCase:
    asked = {"prompt": CHAT, "api": "chat", "thing": "it", **values}
    return ToolCase(name, "open_model", asked, connection, status, answer)


def _rank(name: str, answer: Any = None, status: int = 200, **values: Any) -> ToolCase:
    asked = {"query": "the cat", "result_groups": PASSAGES, "top_k": 3, **values}
    connection = "reranker" if answer is not None else ""
    return ToolCase(name, "rerank", asked, connection, status, answer)


def _model(
    name: str, tool: str, connection: str, answer: Any = ANSWERED, **values: Any
) -> ToolCase:
    return ToolCase(name, tool, values, connection, 200, answer)


_RANKED = {"results": [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]}
_WORDS = {"prompt": CHAT, "thing": "it"}
_PICTURED = {"prompt": VISION, "picture": PICTURE}
_FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
CASES = [
    _search("google"),
    _search("google, ten more, safe", num=20, safe="active", location="Bonn, Germany"),
    _search("bing, safe", engine="bing", safe="active", num=5),
    _search("as many as the engine likes", num=0),
    _search("an engine that the tool does not name", engine="duckduckgo", num=3),
    _search("a key that is no good", 401, {"error": "Invalid API key."}),
    _search("an engine that SerpAPI does not know", 400, {"error": "Unsupported."}, engine="gogle"),
    _search("too many searches", 429, {"error": "Your account has run out of searches."}),
    _search("a service that fails", 503, "<html>"),
    _search("an answer that is no JSON", 200, "<html>"),
    _judge("all at medium", "safety", LISTED),
    _judge("each its own", "safety", LISTED, hate_category="high_sensitivity",
           sexual_category="low_sensitivity", violence_category="disable"),
    _judge("nothing matters", "safety", LISTED, hate_category="disable", sexual_category="disable",
           self_harm_category="disable", violence_category="disable"),
    _judge("a match in a block list", "safety",
           {**LISTED, "blocklistsMatch": [{"blocklistName": "b"}], "categoriesAnalysis":
            [{**each, "severity": 0} for each in LISTED["categoriesAnalysis"]]}),  # type: ignore[dict-item]
    _judge("an old version", "old_safety", BY_KEY),
    _judge("a sensitivity that there is not", "safety", LISTED, hate_category="medium"),
    _judge("no verdict on a category", "old_safety", {"hateResult": {"severity": 0}}),
    _judge("a key that is no good", "safety", {"error": {"code": "401", "message": "no"}}, 401),
    _judge("too many texts", "safety", {"error": {"code": "TooManyRequests", "message": "no"}}, 429),
    _judge("a service that fails", "safety", {"error": {"code": "InternalError", "message": "no"}}, 500),
    _open("llama, chat", "llama", {"output": "yes"}),
    _open("llama, chat, a deployment", "llama", {"output": "yes"}, deployment_name="blue", temperature=0.2,
          max_new_tokens=9, top_p=0.5, model_kwargs={"do_sample": False, "stop": ["x"]}),
    _open("llama, the default deployment", "llama", {"output": "yes"}, deployment_name=" default "),
    _open("llama, roles inside a line", "llama", {"output": "yes"}, prompt="Hi user:\nx\nASSISTANT :\ny"),
    _open("llama, roles in a row", "llama", {"output": "yes"},
          prompt="system:\nb\n\nuser:\nx\nassistant:\ny\nuser:\nz"),
    _open("llama, no role", "llama", {"output": "yes"}, prompt="What?"),
    _open("llama, a last message without words", "llama", {"output": "yes"}, prompt="system:\nx\nuser:\n"),
    _open("llama, completion", "llama", [{"0": "yes"}], api="completion", prompt="Say \\n \"{{thing}}\"\n"),
    _open("dolly", "dolly", [{"0": "yes"}], api="completion"),
    _open("falcon, chat is a completion", "falcon", [{"0": "yes"}]),
    _open("gpt2, an unexpected answer", "gpt2", [{"1": "yes"}], api="completion"),
    _open("llama, a service that fails", "llama", "no", 503),
    _open("serverless llama, chat", "serverless", ANSWERED),
    _open("serverless llama, completion", "serverless", ANSWERED, api="completion", prompt="Say {{thing}}"),
    _open("a connection without its key", "keyless", {}),
    _open("a family that there is not", "strange", {}),
    _rank("by words", ranker_parameters='{"ranker_type": "BM25"}'),
    _rank("by words, the best", ranker_parameters='{"ranker_type": "BM25"}', top_k=1),
    _rank("by words, all", ranker_parameters='{"ranker_type": "BM25"}', top_k=-1,
          result_groups=[PASSAGES, PASSAGES[:1]]),
    _rank("by scores", ranker_parameters='{"ranker_type": "Scaled Score Fusion"}',
          result_groups=[PASSAGES[:2], PASSAGES[2:]]),
    _rank("by scores, another constant",
          ranker_parameters='{"ranker_type": "Scaled Score Fusion", "ssf_rank_constant": 3}'),
    _rank("by a model", _RANKED, ranker_parameters="{model}", top_k=2),
    _rank("by a model, all", _RANKED, ranker_parameters="{model}", top_k=-1),
    _rank("by a model that fails", {"message": "no"}, 500, ranker_parameters="{model}"),
    _model("azure", "embedding", "azure", VECTOR, input="text", deployment_name="ada"),
    _model("openai", "embedding", "openai", VECTOR, input="text", model="text-embedding-3-small"),
    _model("serverless", "embedding", "model_serverless", VECTOR, input="text", model="embed-3"),
    _model("azure", "llm", "azure", deployment_name="gpt", temperature=0.5, max_tokens=9, **_WORDS),
    _model("azure, tools", "llm", "azure", deployment_name="gpt", tool_choice="auto",
           tools=[{"type": "function", "function": _FUNCTION}], seed=7, **_WORDS),
    _model("azure, completion", "llm", "azure", deployment_name="gpt", api="completion", suffix="s",
           logprobs=2, **_WORDS),
    _model("openai", "llm", "openai", model="gpt-4o", response_format={"type": "json_object"}, **_WORDS),
    _model("openai, completion", "llm", "openai", model="gpt-4o", api="completion", stop=["x"], **_WORDS),
    _model("serverless", "llm", "model_serverless", model="mistral", presence_penalty=0.5, **_WORDS),
    _model("azure", "llm_vision", "azure", deployment_name="gpt", detail="low", **_PICTURED),
    _model("openai", "llm_vision", "openai", model="gpt-4o", max_tokens=9, **_PICTURED),
    _model("azure", "aoai_gpt4v", "azure", deployment_name="gpt", seed=3, stop=["x"], **_PICTURED),
    _model("openai", "openai_gpt4v", "openai", model="gpt-4o", frequency_penalty=0.5, **_PICTURED),
]  # fmt: skip

#: By name: class, configs, secrets. {url}: of the server. Names of models are the same on both sides.
CONNECTIONS: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "serp": ("SerpConnection", {}, {"api_key": KEY}),
    "safety": (
        "AzureContentSafetyConnection",
        {"endpoint": "{url}", "api_version": "2023-10-01"},
        {"api_key": KEY},
    ),
    "old_safety": (
        "AzureContentSafetyConnection",
        {"endpoint": "{url}/a/path", "api_version": "2023-04-30-preview"},
        {"api_key": KEY},
    ),
    "azure": (
        "AzureOpenAIConnection",
        {"api_base": "{url}", "api_version": "2024-02-01"},
        {"api_key": KEY},
    ),
    "openai": ("OpenAIConnection", {"base_url": "{url}/v1"}, {"api_key": KEY}),
    "model_serverless": ("ServerlessConnection", {"api_base": "{url}"}, {"api_key": KEY}),
    "reranker": ("ServerlessConnection", {"api_base": "{url}/"}, {"api_key": KEY}),
    "strange": (
        "CustomConnection",
        {"endpoint_url": "{url}/score", "model_family": "MISTRAL"},
        {"endpoint_api_key": KEY},
    ),
    "keyless": ("CustomConnection", {"endpoint_url": "{url}/score", "model_family": "LLAMA"}, {}),
    "serverless": (
        "CustomConnection",
        {"endpoint_url": "{url}/inference.ai.azure.com", "model_family": "LLAMA"},
        {"endpoint_api_key": KEY},
    ),
}
for _family in ("llama", "dolly", "falcon", "gpt2"):
    CONNECTIONS[_family] = (
        "CustomConnection",
        {"endpoint_url": "{url}/score", "model_family": _family.upper()},
        {"endpoint_api_key": KEY},
    )


def fields(name: str, url: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """A connection: its class, its configs with the server's address in them, its secrets."""
    kind, configs, secrets = CONNECTIONS[name]
    return kind, {key: value.replace("{url}", url) for key, value in configs.items()}, dict(secrets)


def title(case: ToolCase) -> str:
    """A case's name among all."""
    return f"{case.tool}: {case.name}"


class Recorder(Loopback):
    """A server on loopback. Set `status` and `answer`; read `asked`."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.answer: Any = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._serve(self)

            do_POST = do_GET  # noqa: N815 -- the name that the base class calls

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(Handler)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        parts = urlsplit(handler.path)
        self.asked.append(
            {
                "method": handler.command,
                "path": parts.path,
                "query": sorted(parse_qsl(parts.query, keep_blank_values=True)),
                "headers": {
                    name: handler.headers[name] for name in HEADERS if name in handler.headers
                },
                "body": json.loads(body) if body[:1] in (b"{", b"[") else None,
            }
        )
        is_text = isinstance(self.answer, str)
        payload = (self.answer if is_text else json.dumps(self.answer)).encode()
        handler.send_response(self.status)
        handler.send_header("content-type", "text/html" if is_text else "application/json")
        handler.send_header("content-length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload)
