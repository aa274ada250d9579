"""Which face of which vendor a path means, and what the path itself says of the call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from farthing.sim.asks import Ask, Frame, RefusedError, Reply
from farthing.sim.faces import anthropic, google, openai_chat, openai_other, responses
from farthing.sim.scenario import Flavour

Name = Literal[
    "chat", "completions", "responses", "embeddings", "messages", "generate", "count", "models"
]


class Face(msgspec.Struct, frozen=True):
    """One dialect: how a request is read, and how an answer is written whole and streamed."""

    parse: Callable[[bytes], Ask]
    whole: Callable[[Reply], bytes]
    stream: Callable[[Reply], Iterable[Frame]]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a path says: the face, and (Azure classic, Google) the model and whether to stream."""

    name: Name
    model: str | None = None
    stream: bool | None = None


FACES: dict[str, Face] = {
    "chat": Face(openai_chat.parse, openai_chat.whole, openai_chat.stream),
    "completions": Face(
        openai_other.parse_completion, openai_other.completion, openai_other.completion_stream
    ),
    "responses": Face(responses.parse, responses.whole, responses.stream),
    "embeddings": Face(
        openai_other.parse_embedding, openai_other.embedding, openai_other.no_stream
    ),
    "messages": Face(anthropic.parse, anthropic.whole, anthropic.stream),
    "generate": Face(google.parse, google.whole, google.stream),
}
#: Who counts tokens, by flavour.
COUNTERS: dict[str, Callable[[bytes], Ask]] = {
    "anthropic": anthropic.parse_count,
    "google": google.parse_count,
}

_OPENAI: dict[str, Name] = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/responses": "responses",
    "/embeddings": "embeddings",
}
_CLASSIC = re.compile(r"/openai/deployments/([^/]+)(/.+)")
_GOOGLE = re.compile(r"/v1(?:beta|alpha)?/models/([^:/]+):(\w+)")
_GOOGLE_METHODS: dict[str, tuple[Name, bool]] = {
    "generateContent": ("generate", False),
    "streamGenerateContent": ("generate", True),
    "countTokens": ("count", False),
}


def find(flavour: Flavour, method: str, path: str, query: dict[str, str]) -> Target:
    """What is called. Raises RefusedError (404, 405, or 400 without api-version)."""
    target = _find(flavour, method, path, query)
    if target is None:
        raise RefusedError(404, "not_found", f"Invalid URL ({method} {path}).")
    wanted = "GET" if target.name == "models" else "POST"
    if method != wanted:
        raise RefusedError(405, "method_not_allowed", f"Not allowed to {method} on {path}.")
    return target


def _find(flavour: Flavour, method: str, path: str, query: dict[str, str]) -> Target | None:
    if flavour == "openai":
        return _openai(path, "/v1")
    if flavour == "azure":
        return _azure(path, query)
    if flavour == "anthropic":
        names: dict[str, Name] = {
            "/v1/messages": "messages",
            "/v1/messages/count_tokens": "count",
            "/v1/models": "models",
        }
        return Target(name=names[path]) if path in names else None
    if path in ("/v1beta/models", "/v1/models"):
        return Target(name="models")
    match = _GOOGLE.fullmatch(path)
    if match is None or match[2] not in _GOOGLE_METHODS:
        return None
    name, stream = _GOOGLE_METHODS[match[2]]
    if stream and query.get("alt") != "sse":
        raise RefusedError(
            400, "invalid", "The simulator streams server-sent events: add ?alt=sse."
        )
    return Target(name=name, model=match[1], stream=stream)


def _azure(path: str, query: dict[str, str]) -> Target | None:
    if path.startswith("/openai/v1"):
        return _openai(path, "/openai/v1")
    match = _CLASSIC.fullmatch(path)
    if match is None:
        return Target(name="models") if path == "/openai/models" else None
    if "api-version" not in query:
        raise RefusedError(404, "404", "Resource not found")
    name = _OPENAI.get(match[2])
    return None if name is None else Target(name=name, model=match[1])


def _openai(path: str, prefix: str) -> Target | None:
    rest = path.removeprefix(prefix)
    if rest == "/models" or re.fullmatch(r"/models/[^/]+", rest):
        return Target(name="models")
    name = _OPENAI.get(rest)
    return None if name is None or rest == path else Target(name=name)
