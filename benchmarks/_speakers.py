"""The four chat dialects as a plain client sees them: a question to send, and what an answer claims.

Written without the gateway's codecs, so that a mistake there cannot hide itself here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

CHAT, RESPONSES = "openai-chat", "openai-responses"
MESSAGES, GENERATE = "anthropic-messages", "google-generate"
_TEXT_DELTAS = ("response.output_text.delta", "response.function_call_arguments.delta")
SPEAKERS = (CHAT, RESPONSES, MESSAGES, GENERATE)


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a client of the dialect sends it."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = {}


class Seen(msgspec.Struct, kw_only=True):
    """What an answer says. text: with the names and arguments of tool calls. finish: its stop reason, whichever it
    is. has_end: the stream's end mark.

    is_readable False: not the form that the dialect promises.
    """

    text: str = ""
    finish: str | None = None
    has_end: bool = False
    has_error: bool = False
    is_readable: bool = True

    @property
    def claims_complete(self) -> bool:
        """Whether a careful client would take it for the whole answer."""
        return self.is_readable and not self.has_error and self.finish is not None and self.has_end


def ask(dialect: str, model: str, text: str, *, stream: bool, tool: bool = False) -> Ask:
    """A plain question; with a tool to call, if wanted."""
    turn = {"role": "user", "content": text}
    body: dict[str, Any] = {"model": model, "messages": [turn], "stream": stream, "max_tokens": 200}
    path, headers = "/v1/chat/completions", {}
    if dialect == RESPONSES:
        body = {"model": model, "input": text, "stream": stream, "max_output_tokens": 200}
        path = "/v1/responses"
    elif dialect == MESSAGES:
        path, headers = "/v1/messages", {"anthropic-version": "2023-06-01"}
    elif dialect == GENERATE:
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        contents = [{"role": "user", "parts": [{"text": text}]}]
        body = {"contents": contents, "generationConfig": {"maxOutputTokens": 200}}
        path = f"/v1beta/models/{model}:{verb}"
    if tool:
        body["tools"] = [_TOOLS[dialect]]
    return Ask(path=path, body=body, headers=headers)


_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
_FUNCTION = {"name": "weather", "description": "The weather of a city.", "parameters": _SCHEMA}
_TOOLS: dict[str, dict[str, Any]] = {
    CHAT: {"type": "function", "function": _FUNCTION},
    RESPONSES: {"type": "function", **_FUNCTION},
    MESSAGES: {"name": "weather", "input_schema": _SCHEMA},
    GENERATE: {"functionDeclarations": [_FUNCTION]},
}


def dialect_of(path: str) -> str:
    """The dialect that a provider is asked in, by its path."""
    ends = {"/chat/completions": CHAT, "/responses": RESPONSES, "/messages": MESSAGES}
    return next((name for end, name in ends.items() if path.endswith(end)), GENERATE)


def read(dialect: str, body: bytes, *, stream: bool) -> Seen:
    """What these bytes claim."""
    seen = Seen()
    if stream:
        for name, data in _events(body):
            _take(dialect, seen, name, data)
        seen.has_end = seen.has_end or (dialect == GENERATE and seen.finish is not None)
        return seen
    try:
        _take_whole(dialect, seen, json.loads(body))
    except (ValueError, KeyError, IndexError, TypeError):
        return Seen(is_readable=False)
    seen.has_end = True
    return seen


def _events(body: bytes) -> Iterator[tuple[str, str]]:
    """Name and data of each complete event; an unfinished last one is dropped, as the standard says."""
    *blocks, _ = body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n\n")
    for block in blocks:
        fields = [line.partition(":") for line in block.split("\n")]
        name = next((value.strip() for key, _, value in fields if key == "event"), "")
        data = "\n".join(value.removeprefix(" ") for key, _, value in fields if key == "data")
        if data:
            yield name, data


def _take(dialect: str, seen: Seen, name: str, data: str) -> None:
    if data == "[DONE]":
        seen.has_end = True
        return
    try:
        event = json.loads(data)
    except ValueError:
        seen.is_readable = False
        return
    if event.get("error") or name == "error" or event.get("type") in ("error", "response.failed"):
        seen.has_error = True
        return
    if dialect == CHAT:
        for choice in event.get("choices", ()):
            seen.text += _spoken(choice["delta"])
            seen.finish = choice.get("finish_reason") or seen.finish
    elif dialect == RESPONSES:
        kind = event["type"]
        if kind in _TEXT_DELTAS:
            seen.text += event["delta"]
        elif kind == "response.output_item.added":
            seen.text += event["item"].get("name", "")
        if kind in ("response.completed", "response.incomplete"):
            seen.finish, seen.has_end = kind, True
    elif dialect == MESSAGES:
        kind = event["type"]
        if kind == "content_block_start":
            seen.text += event["content_block"].get("name", "")
        elif kind == "content_block_delta":
            seen.text += event["delta"].get("text", "") + event["delta"].get("partial_json", "")
        elif kind == "message_delta":
            seen.finish = event["delta"].get("stop_reason") or seen.finish
        elif kind == "message_stop":
            seen.has_end = True
    else:
        _take_candidate(seen, event)


def _spoken(message: Any) -> str:
    text: str = message.get("content") or ""
    for call in message.get("tool_calls") or ():
        text += call["function"].get("name") or ""
        text += call["function"].get("arguments") or ""
    return text


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _take_candidate(seen: Seen, event: Any) -> None:
    for candidate in event.get("candidates", ()):
        parts = candidate.get("content", {}).get("parts", ())
        for part in parts:
            called = part.get("functionCall")
            seen.text += part.get("text", "")
            if called:
                seen.text += called["name"] + _compact(called["args"])
        seen.finish = candidate.get("finishReason") or seen.finish


def _take_whole(dialect: str, seen: Seen, body: Any) -> None:
    if body.get("error"):
        seen.has_error = True
    elif dialect == CHAT:
        choice = body["choices"][0]
        seen.text, seen.finish = _spoken(choice["message"]), choice["finish_reason"]
    elif dialect == RESPONSES:
        for item in body["output"]:
            seen.text += item.get("name", "") + item.get("arguments", "")
            seen.text += "".join(part["text"] for part in item.get("content", ()))
        seen.finish = body["status"]
    elif dialect == MESSAGES:
        for part in body["content"]:
            is_call = part["type"] == "tool_use"
            seen.text += part["name"] + _compact(part["input"]) if is_call else part["text"]
        seen.finish = body["stop_reason"]
    else:
        _take_candidate(seen, body)
        if seen.finish is None:
            raise KeyError("finishReason")
