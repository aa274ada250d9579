"""Requests whose every field of text carries a canary, in all dialects; and the search for canaries.

A canary is the run's marker, the number of its request, and a letter for the field. It is made of letters and
digits, so that JSON, URLs and headers carry it unchanged; what is searched is the marker, also in base64 (at
each of its three alignments), hexadecimal and UTF-16.
"""

from __future__ import annotations

import base64
import json
import random
import re
from typing import Any

import msgspec

#: Kinds of requests: one for each API, and requests that are refused.
KINDS = (
    "chat",
    "responses",
    "messages",
    "generate",
    "embeddings",
    "completions",
    "count",
    "invalid",
)
#: How often each kind is asked.
_WEIGHTS = (30, 15, 20, 15, 5, 3, 2, 10)


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """One request. stream: whether its answer comes as events."""

    number: int
    method: str = "POST"
    path: str
    body: bytes = b""
    headers: dict[str, str]
    stream: bool = False


class Marker:
    """The word that all canaries of a run begin with."""

    def __init__(self, word: str) -> None:
        self.word = word
        raw = word.encode()
        # Of 4 characters of base64 the first and last may mix with neighbours: the inner ones are fixed.
        encoded = [base64.b64encode(b"\0" * pad + raw)[4 if pad else 0 : -4] for pad in range(3)]
        wide = [word.encode("utf-16-le"), word.encode("utf-16-be")]
        forms = [raw, raw.hex().encode(), *encoded, *wide]
        self._pattern = re.compile(b"|".join(re.escape(form) for form in forms), re.IGNORECASE)
        self._numbered = re.compile(re.escape(raw) + rb"(\d{6})")

    def canary(self, number: int, field: str) -> str:
        """The canary of one field of one request."""
        return f"{self.word}{number:06d}{field}"

    def count(self, data: bytes) -> int:
        """Occurrences in any form."""
        return len(self._pattern.findall(data))

    def context(self, data: bytes) -> str:
        """The surroundings of the first one, for a person."""
        found = self._pattern.search(data)
        return repr(data[max(0, found.start() - 120) : found.end() + 60]) if found else ""

    def strangers(self, data: bytes, number: int) -> int:
        """Occurrences of other requests' canaries."""
        return sum(int(each) != number for each in self._numbered.findall(data))


class Writer:
    """Writes requests. models: what the gateway offers, by kind `chat` and `embed`."""

    def __init__(
        self, marker: Marker, models: dict[str, tuple[str, ...]], keys: tuple[str, ...], seed: int
    ) -> None:
        self._marker = marker
        self._models = models
        self._keys = keys
        self._random = random.Random(seed)

    def request(self, number: int) -> Marked:
        """Request number `number`."""
        kind = self._random.choices(KINDS, _WEIGHTS)[0]
        if kind == "invalid":
            return self._invalid(number)
        stream = self._random.random() < 0.5 and kind not in ("embeddings", "count")
        model = self._random.choice(self._models["embed" if kind == "embeddings" else "chat"])
        path, body = _BODIES[kind](lambda field: self._marker.canary(number, field), model, stream)
        if kind == "generate" and self._random.random() < 0.3:
            body.pop("tools")
        return Marked(
            number=number,
            path=path,
            body=json.dumps(body).encode(),
            headers=self._headers(number),
            stream=stream,
        )

    def _headers(self, number: int, key: str | None = None) -> dict[str, str]:
        """A valid key in one of its places, and canaries in headers that clients and proxies send."""
        key = key or self._random.choice(self._keys)
        name, prefix = self._random.choice(
            (
                ("authorization", "Bearer "),
                ("x-api-key", ""),
                ("x-goog-api-key", ""),
                ("api-key", ""),
            )
        )
        headers = {
            "content-type": "application/json",
            "anthropic-version": "2023-06-01",
            # Each vendor's client sends its own; with all of them every face finds one.
            "authorization": f"Bearer {key}",
            "x-api-key": key,
            "x-goog-api-key": key,
            "api-key": key,
            name: prefix + key,
        }
        for header, field in _HEADERS.items():
            if self._random.random() < 0.4:
                headers[header] = self._marker.canary(number, field)
        return headers

    def _invalid(self, number: int) -> Marked:
        """A request that is refused: a wrong key, a made-up model or path, a broken body."""
        word = self._marker.canary(number, "z")
        good = {"model": self._models["chat"][0], "messages": [{"role": "user", "content": word}]}
        broken: list[tuple[str, bytes]] = [
            ("/v1/chat/completions", json.dumps({**good, "model": word}).encode()),
            ("/v1/messages", json.dumps({**good, "model": word, "max_tokens": 9}).encode()),
            ("/v1/responses", json.dumps({"model": word, "input": word}).encode()),
            ("/v1/embeddings", json.dumps({"model": word, "input": word}).encode()),
            (f"/v1beta/models/{word}:generateContent", b'{"contents":[]}'),
            (f"/v1beta/models/{word}:{word}", b"{}"),
            (f"/openai/deployments/{word}/chat/completions?api-version={word}", b"{}"),
            (f"/v1/{word}", b"{}"),
            (f"/{word}?q={word}", b""),
            (f"/admin/keys/{word}", b""),
            ("/admin/keys", b'{"name": 3, "%s": "%s"}' % (word.encode(), word.encode())),
            ("/v1/chat/completions", json.dumps(good).encode()[:-3]),
            ("/v1/chat/completions", b'{"model": "%s' % word.encode()),
            ("/v1/chat/completions", b'{"model": "\xff%s"}' % word.encode()),
            ("/v1/chat/completions", json.dumps({**good, "messages": word}).encode()),
            ("/v1/chat/completions", json.dumps({**good, "max_tokens": word}).encode()),
            ("/v1/chat/completions", json.dumps({**good, "tools": [{"type": word}]}).encode()),
            ("/v1/chat/completions", json.dumps({**good, "service_tier": word}).encode()),
            ("/v1/chat/completions", json.dumps({**good, "n": 3, "tool_choice": word}).encode()),
            ("/v1/messages", json.dumps({**good, "system": {word: word}}).encode()),
            ("/v1/messages", b'{"a":' * 2000 + word.encode()),
            (f"/v1beta/models/{good['model']}:generateContent?key={word}", b'{"contents":3}'),
        ]
        path, body = self._random.choice(broken)
        headers = self._headers(number)
        if self._random.random() < 0.3:  # a key that is none, in every place
            headers = self._headers(number, key=f"sk-{word}")
        if self._random.random() < 0.1:
            headers["x-farthing-tags"] = f"<{word}>"
        if self._random.random() < 0.1:
            headers["x-farthing-cache"] = word
        return Marked(number=number, path=path, body=body, headers=headers)


#: Headers that may carry text. Tags (`x-farthing-tags`) are stored by design and carry none.
_HEADERS = {
    "idempotency-key": "H",
    "x-farthing-session": "I",
    "user-agent": "J",
    "cookie": "K",
    "referer": "L",
    "x-forwarded-for": "M",
    "x-request-id": "N",
    "x-client-request-id": "O",
    "tracestate": "P",
    "baggage": "Q",
    "openai-organization": "R",
    "openai-beta": "S",
    "anthropic-beta": "T",
    "x-ms-client-request-id": "U",
    "x-goog-api-client": "V",
    "proxy-authorization": "W",
}


def _schema(c: Any, letter: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            c(letter): {"type": "string", "description": c(letter), "enum": [c(letter)]}
        },
        "required": [c(letter)],
        "additionalProperties": False,
    }


def _picture(c: Any) -> str:
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + c("p").encode() * 3).decode()


def _chat(c: Any, model: str, stream: bool) -> tuple[str, dict[str, Any]]:
    call = {
        "id": c("i"),
        "type": "function",
        "function": {"name": c("n"), "arguments": json.dumps({c("a"): c("a")})},
    }
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": c("s"), "name": c("m")},
            {"role": "user", "content": c("u")},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": c("i"), "content": c("r")},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": f"Say “{c('t')}” again."},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{_picture(c)}"},
                    },
                ],
            },
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": c("n"),
                    "description": c("d"),
                    "parameters": _schema(c, "a"),
                },
            }
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": c("f"), "schema": _schema(c, "g")},
        },
        "stop": [c("x")],
        "user": c("e"),
        "metadata": {c("k"): c("v")},
        "safety_identifier": c("y"),
        "prompt_cache_key": c("c"),
        "service_tier": "auto",
        "stream": stream,
        "max_tokens": 60,
    }
    return "/v1/chat/completions", body


def _responses(c: Any, model: str, stream: bool) -> tuple[str, dict[str, Any]]:
    body = {
        "model": model,
        "instructions": c("s"),
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": c("u")}]},
            {
                "type": "function_call",
                "call_id": c("i"),
                "name": c("n"),
                "arguments": f'"{c("a")}"',
            },
            {"type": "function_call_output", "call_id": c("i"), "output": c("r")},
        ],
        "tools": [
            {
                "type": "function",
                "name": c("n"),
                "description": c("d"),
                "parameters": _schema(c, "a"),
            }
        ],
        "metadata": {c("k"): c("v")},
        "user": c("e"),
        "prompt_cache_key": c("c"),
        "safety_identifier": c("y"),
        "stream": stream,
        "max_output_tokens": 60,
    }
    return "/v1/responses", body


def _messages(c: Any, model: str, stream: bool) -> tuple[str, dict[str, Any]]:
    picture = {"type": "base64", "media_type": "image/png", "data": _picture(c)}
    body = {
        "model": model,
        "system": [{"type": "text", "text": c("s")}],
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": c("u")}, {"type": "image", "source": picture}],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": c("i"), "name": c("n"), "input": {c("a"): c("a")}}
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": c("i"), "content": c("r")}],
            },
        ],
        "tools": [{"name": c("n"), "description": c("d"), "input_schema": _schema(c, "a")}],
        "metadata": {"user_id": c("e")},
        "stop_sequences": [c("x")],
        "stream": stream,
        "max_tokens": 60,
    }
    return "/v1/messages", body


def _generate(c: Any, model: str, stream: bool) -> tuple[str, dict[str, Any]]:
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    declared = {"name": c("n"), "description": c("d")}
    body = {
        "systemInstruction": {"parts": [{"text": c("s")}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": c("u")},
                    {"inlineData": {"mimeType": "image/png", "data": _picture(c)}},
                ],
            }
        ],
        "tools": [{"functionDeclarations": [declared]}],
        "generationConfig": {"stopSequences": [c("x")], "maxOutputTokens": 60},
        "labels": {c("k"): c("v")},
    }
    return f"/v1beta/models/{model}:{verb}", body


def _embeddings(c: Any, model: str, stream: bool) -> tuple[str, dict[str, Any]]:
    return "/v1/embeddings", {"model": model, "input": [c("u"), c("t")], "user": c("e")}


def _completions(c: Any, model: str, stream: bool) -> tuple[str, dict[str, Any]]:
    body = {"model": model, "prompt": c("u"), "stop": [c("x")], "user": c("e"), "stream": stream}
    return "/v1/completions", body


def _count(c: Any, model: str, stream: bool) -> tuple[str, dict[str, Any]]:
    body = {"model": model, "system": c("s"), "messages": [{"role": "user", "content": c("u")}]}
    return "/v1/messages/count_tokens", body


_BODIES = {
    "chat": _chat,
    "responses": _responses,
    "messages": _messages,
    "generate": _generate,
    "embeddings": _embeddings,
    "completions": _completions,
    "count": _count,
}
