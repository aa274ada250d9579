"""Mutated requests of every dialect over a real socket: never a 500, always the dialect's own error."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.mistaken_world import World, mistaken_world
from tests.server.test_bad_input import message_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Statuses above 499 that mean somebody else's fault or ours to be full, and are documented as such.
DOCUMENTED = {502, 503, 504}
#: What the edge refuses before there is a request: plain text, no call id.
OWN_REFUSAL = b"Invalid HTTP request received."

_USER = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
_TOOL = {"name": "look", "description": "d", "parameters": {"type": "object", "properties": {}}}
_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
_CHAT = {
    "model": "sim/gpt",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, _IMAGE]},
        {"role": "assistant", "content": None, "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "x"},
        _USER,
    ],
    "tools": [{"type": "function", "function": _TOOL}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    "max_tokens": 8,
    "temperature": 0.5,
    "stop": ["x"],
    "stream": False,
    "stream_options": {"include_usage": True},
    "n": 1,
    "user": "u",
}
_MESSAGE = {
    "model": "sim/claude",
    "max_tokens": 8,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "x", "is_error": False}
            ],
        },
    ],
    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "disabled"},
    "stop_sequences": ["x"],
    "temperature": 0.5,
    "top_k": 3,
    "stream": False,
    "metadata": {"user_id": "u"},
}
_CONTENT = {
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "a/b", "data": "aGk="}}],
        },
        {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"a": 1}}}]},
    ],
    "systemInstruction": {"parts": [{"text": "s"}]},
    "tools": [{"functionDeclarations": [_TOOL]}],
    "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    "generationConfig": {"temperature": 0.5, "maxOutputTokens": 8, "candidateCount": 1},
    "safetySettings": [],
}
_RESPONSE = {
    "model": "sim/gpt",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "x"},
    ],
    "instructions": "s",
    "tools": [{"type": "function", **_TOOL}],
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "low"},
    "max_output_tokens": 16,
    "stream": False,
    "store": False,
}
_EMBEDDING = {
    "model": "sim/vectors",
    "input": ["a", "b"],
    "dimensions": 8,
    "encoding_format": "float",
}
_COMPLETION = {"model": "sim/gpt", "prompt": "Hi", "max_tokens": 4, "stream": False}
_ADMIN_KEY = {
    "name": "k",
    "role": "caller",
    "models": ["*"],
    "faces": [],
    "tags": [],
    "expires_at": 1,
}
_ADMIN_BUDGET = {"dollars": "1", "window": "day", "key": "k", "alert_at": [80]}

#: face, method, path, a valid body.
TARGETS: tuple[tuple[str, str, str, Any], ...] = (
    ("openai", "POST", "/v1/chat/completions", _CHAT),
    ("openai", "POST", "/v1/responses", _RESPONSE),
    ("openai", "POST", "/v1/completions", _COMPLETION),
    ("openai", "POST", "/v1/embeddings", _EMBEDDING),
    ("anthropic", "POST", "/v1/messages", _MESSAGE),
    ("anthropic", "POST", "/v1/messages/count_tokens", _MESSAGE),
    ("google", "POST", "/v1beta/models/sim/gemini:generateContent", _CONTENT),
    ("google", "POST", "/v1beta/models/sim/gpt:streamGenerateContent", _CONTENT),
    ("google", "POST", "/v1beta/models/sim/gemini:countTokens", _CONTENT),
    ("azure", "POST", "/openai/deployments/sim/gpt/chat/completions?api-version=2024-10-21", _CHAT),
    ("azure", "POST", "/openai/v1/responses", _RESPONSE),
    ("admin", "POST", "/admin/keys", _ADMIN_KEY),
    ("admin", "PUT", "/admin/budgets/fuzz", _ADMIN_BUDGET),
    ("admin", "POST", "/admin/keys/nobody/rotate", {"grace_s": 1}),
    ("admin", "POST", "/admin/unsettled/call_x/confirm", {"dollars": "1"}),
)
MODELS = ("sim/gpt", "sim/claude", "sim/gemini", "sim/vectors", "short", "nobody", "", None, 5, [])

EXTREMES = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        2**31,
        2**63,
        10**30,
        -(2**63),
        0.5,
        -1e308,
        "",
        " ",
        "\x00",
        "é" * 50,
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"type": "x"},
        "a" * 3000,
        "data:,",
        "data:image/png;base64,!",
        "{",
    ]
)
JSON = st.recursive(
    EXTREMES
    | st.text(max_size=8)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
HEADER_NAMES = st.sampled_from(
    [
        "x-farthing-tags",
        "x-farthing-cache",
        "x-farthing-session",
        "idempotency-key",
        "traceparent",
        "anthropic-version",
        "anthropic-beta",
        "x-goog-api-key",
        "openai-beta",
        "content-type",
        "origin",
    ]
)
HEADER_VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40
)


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, as a path of keys and indexes."""
    found = [path] if path else []
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in pairs:
        found += spots(inner, (*path, key))
    return found


@st.composite
def bodies(draw: st.DrawFn, valid: Any) -> bytes:
    """A valid body with some places dropped, doubled, swapped or replaced; at times no JSON at all."""
    kind = draw(st.integers(0, 19))
    if kind == 0:
        return draw(st.binary(max_size=60))
    if kind == 1:
        return json.dumps(draw(JSON)).encode()
    body = copy.deepcopy(valid)
    if "model" in body and draw(st.booleans()):
        body["model"] = draw(st.sampled_from(MODELS))
    if "stream" in body and draw(st.booleans()):
        body["stream"] = True
    for _ in range(draw(st.integers(0, 3))):
        places = spots(body)
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        parent = body
        for step in way:
            parent = parent[step]
        match draw(st.integers(0, 4)):
            case 0:
                del parent[last]
            case 1 if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[last]))
            case 2:
                parent[last] = copy.deepcopy(_at(body, draw(st.sampled_from(places))))
            case _:
                parent[last] = copy.deepcopy(draw(JSON))
    wire = json.dumps(body).encode()
    if kind == 2:
        return wire[: draw(st.integers(0, len(wire)))]
    if kind == 3:
        position = draw(st.integers(0, len(wire) - 1))
        return wire[:position] + draw(st.binary(min_size=1, max_size=3)) + wire[position + 1 :]
    if kind == 4:
        return wire[:-1] + b',"model": "sim/claude", "messages": 5}'
    return wire


def _at(body: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        body = body[step]
    return body


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, str, bytes, dict[str, str]]:
    """face, method, path, body, headers."""
    face, method, path, valid = draw(st.sampled_from(TARGETS))
    body = draw(bodies(valid))
    headers = {"content-type": "application/json"}
    if draw(st.integers(0, 5)) == 0:
        headers[draw(HEADER_NAMES)] = draw(HEADER_VALUES)
    if draw(st.integers(0, 9)) == 0:
        path += "&" if "?" in path else "?"
        path += draw(st.sampled_from(["key=x", "alt=sse", "api-version=%00", "by=%ff", "a=b&a=c"]))
    if draw(st.integers(0, 19)) == 0:
        method = draw(st.sampled_from(["GET", "PUT", "DELETE", "PATCH", "HEAD"]))
    return face, method, path, body, headers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with mistaken_world(tmp_path_factory.mktemp("fuzzed")) as world:
        yield world


def fuzz(world: World, examples: int) -> Any:
    """A coroutine that asks `examples` times; the client and the loop stay the same throughout."""
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests())
    def ask_all(request: tuple[str, str, str, bytes, dict[str, str]]) -> None:
        asyncio.run_coroutine_threadsafe(ask(world, *request), loop).result(60)

    return asyncio.to_thread(ask_all)


async def ask(
    world: World, face: str, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    """One request; raises AssertionError unless the answer is a good one or an error as documented."""
    key = world.keys["admin" if face == "admin" else "good"]
    headers = {"authorization": f"Bearer {key}", **headers}
    async with world.client.request(
        method, path, data=body, headers=headers, timeout=aiohttp.ClientTimeout(30)
    ) as reply:
        answer = await reply.read()
        if answer == OWN_REFUSAL:
            assert reply.status == 400
            return
        assert reply.status < 500 or reply.status in DOCUMENTED, answer
        is_call = face != "admin" and "count" not in path  # the others cost nothing and have no id
        if is_call or reply.status >= 400:
            assert reply.headers["x-farthing-call-id"]
        if reply.status >= 400 and method != "HEAD":
            told = message_of(face, json.loads(answer))
            assert told.strip()


async def alive(world: World) -> None:
    """The server still answers, and nothing of the calls is left."""
    good = json.dumps({"model": "sim/gpt", "messages": [{"role": "user", "content": "Hi"}]})
    await ask(world, "openai", "POST", "/v1/chat/completions", good.encode(), {})
    for _ in range(1000):
        if world.gateway.in_flight == 0:
            break
        await asyncio.sleep(0)
    assert world.gateway.in_flight == 0
    assert all(health.in_flight == 0 for health in world.gateway.health())
    assert await world.gateway.accounts.unsettled() == []


async def test_no_mutation_of_a_request_is_answered_by_a_500(world: World) -> None:
    before = len(asyncio.all_tasks())
    await fuzz(world, 250)
    await alive(world)
    assert len(asyncio.all_tasks()) <= before + 2


@pytest.mark.slow
async def test_thousands_of_mutations_leave_the_server_as_it_was(world: World) -> None:
    before = len(asyncio.all_tasks())
    await fuzz(world, 6_000)
    await alive(world)
    assert len(asyncio.all_tasks()) <= before + 2
