"""Model calls over a real socket: each face, whole and streamed, with what is told in headers."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from tests.server.conftest import Serve

CHAT = {"model": "sim/quick", "messages": [{"role": "user", "content": "Say the word penny."}]}
ANTHROPIC = {**CHAT, "max_tokens": 64}
GOOGLE = {"contents": [{"role": "user", "parts": [{"text": "Say the word penny."}]}]}

WHOLE = [
    ("/v1/chat/completions", CHAT),
    ("/v1/completions", {"model": "sim/quick", "prompt": "Say the word penny."}),
    ("/v1/responses", {"model": "sim/quick", "input": "Say the word penny."}),
    ("/v1/embeddings", {"model": "sim/embed", "input": "penny"}),
    ("/openai/deployments/sim/quick/chat/completions?api-version=2024-10-21", CHAT),
    ("/openai/v1/chat/completions", CHAT),
    ("/v1/messages", ANTHROPIC),
    ("/v1beta/models/sim/quick:generateContent", GOOGLE),
    ("/v1/models/sim/quick:generateContent", GOOGLE),
]
STREAMED = [
    ("/v1/chat/completions", {**CHAT, "stream": True}, b"data: [DONE]\n\n"),
    ("/v1/responses", {"model": "sim/quick", "input": "Hi", "stream": True}, b"response.completed"),
    ("/v1/messages", {**ANTHROPIC, "stream": True}, b"message_stop"),
    ("/v1beta/models/sim/quick:streamGenerateContent?alt=sse", GOOGLE, b'"finishReason"'),
]


@pytest.mark.parametrize(("path", "body"), WHOLE, ids=[path for path, _ in WHOLE])
async def test_a_whole_answer_tells_who_answered_and_what_it_cost(
    serve: Serve, path: str, body: object
) -> None:
    async with serve() as running, running.client.post(path, json=body) as reply:
        assert reply.status == 200, await reply.text()
        await reply.json()
        assert reply.headers["x-farthing-call-id"].startswith("call_")
        assert "@near" in reply.headers["x-farthing-deployment"]
        assert reply.headers["x-farthing-simulated"] == "true"
        assert reply.headers["x-farthing-cache"] == "off"
        assert Decimal(reply.headers["x-farthing-cost"]) > 0


@pytest.mark.parametrize(("path", "body", "mark"), STREAMED, ids=[path for path, _, _ in STREAMED])
async def test_a_stream_ends_with_its_dialects_end_mark(
    serve: Serve, path: str, body: object, mark: bytes
) -> None:
    async with serve() as running, running.client.post(path, json=body) as reply:
        assert reply.status == 200, await reply.text()
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert "x-farthing-cost" not in reply.headers
        assert mark in await reply.read()


async def test_googles_stream_without_sse_is_a_json_array(serve: Serve) -> None:
    path = "/v1beta/models/sim/quick:streamGenerateContent"
    async with serve() as running, running.client.post(path, json=GOOGLE) as reply:
        assert reply.content_type == "application/json"
        pieces = msgspec.json.decode(await reply.read())
        assert pieces[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_every_face_lists_the_models_in_its_own_form(serve: Serve) -> None:
    async with serve() as running:
        client = running.client
        async with client.get("/v1/models") as reply:
            rows = (await reply.json())["data"]
            assert "sim/quick" in [row["id"] for row in rows]
        async with client.get("/v1/models", headers={"anthropic-version": "2023-06-01"}) as reply:
            listing = await reply.json()
            assert listing["data"][0]["type"] == "model"
            assert listing["first_id"] == listing["data"][0]["id"]
        async with client.get("/v1beta/models") as reply:
            names = [row["name"] for row in (await reply.json())["models"]]
            assert "models/sim/quick" in names
        async with client.get("/v1/models/sim/quick") as reply:
            assert (await reply.json())["id"] == "sim/quick"


async def test_tokens_are_counted_without_a_call(serve: Serve) -> None:
    body = {"model": "sim/quick", "messages": CHAT["messages"]}
    async with serve() as running:
        async with running.client.post("/v1/messages/count_tokens", json=body) as reply:
            assert (await reply.json())["input_tokens"] > 4
            assert reply.headers["x-farthing-estimated"] == "true"
        path = "/v1beta/models/sim/quick:countTokens"
        async with running.client.post(path, json=GOOGLE) as reply:
            assert (await reply.json())["totalTokens"] > 4


async def test_a_repeated_idempotency_key_gets_the_same_answer_once(serve: Serve) -> None:
    headers = {"idempotency-key": "order-7"}
    async with serve() as running:
        answers, caches = [], []
        for _ in range(2):
            async with running.client.post(
                "/v1/chat/completions", json=CHAT, headers=headers
            ) as reply:
                answers.append(await reply.read())
                caches.append(reply.headers["x-farthing-cache"])
        assert answers[0] == answers[1]
        assert caches == ["off", "replayed"]
