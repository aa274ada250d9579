"""A model server for proofs: its answers are digests of what it was asked, so equal answers mean equal prompts.

It is the world for the flows as well: whoever takes it for a proxy gets made-up pages (world.py), and nothing outside
is reached. Needs the standard library and cryptography: the original's environment loads this file as well.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.compat.flows import world
from tests.compat.flows.authority import authority
from tests.loopback import Loopback

_LANGUAGE = re.compile(r"(/language/|/translate\b)[^?]*")
_PATH = re.compile(r"/(chat/completions|completions|embeddings)(?:\?.*)?$")
#: To these prompts an answer that is no number, or no JSON, would be the end.
_WANTS_NUMBER = re.compile(
    r"\bstars?\b|\bscore\b|\brating\b|\brate\b|1 to 5|integer", re.IGNORECASE
)
_SHOWN = re.compile(r'"(\w+)"\s*:\s*("?\d)?')
#: Of an embedding, as those that indexes are made for.
_DIMENSIONS = 1536
_WANTS_JSON = re.compile(r"json", re.IGNORECASE)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Endpoint(Loopback):
    """Listens on loopback. asked: path and body of each request to a model, in the order in which they came.

    connections: by name, for the original's processes, which ask for them over HTTP.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.connections: dict[str, Any] = {}
        #: Answers that are fetched later, by path.
        self.jobs: dict[str, Any] = {}
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            #: Set once the connection is a tunnel to that host.
            host = ""

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                found = _PATH.search(self.path)
                if found is not None:
                    body = json.loads(text)
                    endpoint.asked.append((found[1], body))
                    self.say(200, *answer_to(found[1], body))
                elif (told := _LANGUAGE.search(self.path)) is not None:
                    self.speak(told[0], json.loads(text))
                else:
                    self.refuse()

            def speak(self, path: str, body: Any) -> None:
                if isinstance(body, dict):
                    body.pop("displayName", None)  # of a job: it holds the time
                endpoint.asked.append((path, body))
                answer = world.language(path, body)
                if not path.endswith("/jobs"):
                    self.say(200, "application/json", json.dumps(answer).encode())
                    return
                place = f"{path}/{digest(body)}"
                endpoint.jobs[place] = answer
                self.say(202, "application/json", b"", location=endpoint.url + place)

            def refuse(self) -> None:
                self.say(404, "text/plain", b"There is nothing here.")

            def do_GET(self) -> None:
                parts = self.path.strip("/").split("/")
                kept: Any = endpoint.jobs.get(self.path)
                if parts[0] == "connections" and not self.host:
                    kept = endpoint.connections.get(parts[-1])
                if kept is not None:
                    self.say(200, "application/json", json.dumps(kept).encode())
                elif self.host:
                    self.say(200, *world.page(f"https://{self.host}{self.path}"))
                elif self.path.startswith("http://"):
                    self.say(200, *world.page(self.path))
                else:
                    self.refuse()

            def do_CONNECT(self) -> None:
                self.host = self.path.partition(":")[0]
                self.send_response(200)
                self.end_headers()
                context = authority().context(self.host)
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb")
                self.wfile = self.connection.makefile("wb", 0)
                self.close_connection = False

            def finish(self) -> None:
                super().finish()
                if self.host:
                    self.connection.close()

            def say(self, status: int, kind: str, answer: bytes, *, location: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                if location:
                    self.send_header("Operation-Location", location)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                return

        super().__init__(Handler)


def answer_to(path: str, body: dict[str, Any]) -> tuple[str, bytes]:
    """The content type and the answer to one request, the same each time."""
    if path == "embeddings":
        return "application/json", _embedding(body)
    key = digest([body.get("model"), body.get("messages"), body.get("prompt")])
    text = _text(key, body)
    if body.get("stream"):
        return "text/event-stream", _stream(path, key, text)
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
    if path == "completions":
        choice["text"] = text
    else:
        choice["message"], choice["finish_reason"] = _message(key, text, body)
    return "application/json", json.dumps(_envelope(path, key, [choice])).encode()


def _embedding(body: dict[str, Any]) -> bytes:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = []
    for index, text in enumerate(texts):
        numbers = [int(each, 16) / 16 for each in digest(text)] * (_DIMENSIONS // 16)
        data.append({"object": "embedding", "index": index, "embedding": numbers})
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    whole = {"object": "list", "model": body.get("model"), "data": data, "usage": usage}
    return json.dumps(whole).encode()


def _text(key: str, body: dict[str, Any]) -> str:
    prompt = _prompt(body)
    number = 1 + int(key[0], 16) % 5
    asks_json = (body.get("response_format") or {}).get("type") == "json_object"
    if asks_json or _WANTS_JSON.search(prompt):
        told = {"answer": key, "score": number, "category": key[:4], "name": key}
        # The keys of the JSON that the prompt shows.
        shown = {name: number if digit else key for name, digit in _SHOWN.findall(prompt)}
        return json.dumps({**told, **shown})
    return str(number) if _WANTS_NUMBER.search(prompt) else key


def _prompt(body: dict[str, Any]) -> str:
    said = [body.get("prompt")]
    for message in body.get("messages") or []:
        content = message.get("content")
        parts = content if isinstance(content, list) else [content]
        said += [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "\n".join(str(each) for each in said if each)


def _message(key: str, text: str, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    has_answer = body["messages"][-1].get("role") in ("tool", "function")
    if has_answer or not (body.get("tools") or body.get("functions")):
        return message, "stop"
    message["content"] = None
    if body.get("tools"):
        call = _call(key, _chosen([each["function"] for each in body["tools"]], body))
        message["tool_calls"] = [{"id": f"call_{key}", "type": "function", "function": call}]
        return message, "tool_calls"
    message["function_call"] = _call(key, _chosen(body["functions"], body))
    return message, "function_call"


def _chosen(functions: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
    """The first function; the one that ends an agent's work once another has given something."""
    ends = [each for each in functions if each["name"] == "finish"]
    return ends[0] if ends and "Function generation requested" in _prompt(body) else functions[0]


def _call(key: str, function: dict[str, Any]) -> dict[str, str]:
    properties = function.get("parameters", {}).get("properties", {})
    arguments = {name: (told.get("enum") or [key])[0] for name, told in properties.items()}
    return {"name": function["name"], "arguments": json.dumps(arguments)}


def _stream(path: str, key: str, text: str) -> bytes:
    pieces = [text[: len(text) // 2], text[len(text) // 2 :]]
    events = []
    for piece in pieces:
        choice: dict[str, Any] = {"index": 0, "finish_reason": None, "text": piece}
        if path != "completions":
            choice = {"index": 0, "finish_reason": None, "delta": {"content": piece}}
        events.append(_envelope(path, key, [choice], is_piece=True))
    last: dict[str, Any] = {"index": 0, "finish_reason": "stop", "delta": {}, "text": ""}
    events.append(_envelope(path, key, [last], is_piece=True))
    lines = [f"data: {json.dumps(each)}\n\n" for each in events]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


def _envelope(
    path: str, key: str, choices: list[dict[str, Any]], *, is_piece: bool = False
) -> dict[str, Any]:
    kind = "text_completion" if path == "completions" else "chat.completion"
    whole: dict[str, Any] = {"id": key, "created": 1, "model": "digest", "choices": choices}
    whole["object"] = f"{kind}.chunk" if is_piece and path != "completions" else kind
    if not is_piece:
        whole["usage"] = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return whole
