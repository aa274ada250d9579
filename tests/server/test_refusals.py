"""Bad input over a real socket: always an error in the caller's dialect, never a 500."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator

import pytest

from tests.server.conftest import Serve

CHAT = {"model": "sim/quick", "messages": [{"role": "user", "content": "Hi"}]}

BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe{",
    b'{"model": "sim/quick"}',
    b'{"model": 5, "messages": []}',
    b'{"messages": [{"role": "user", "content": "Hi"}]}',
    b'{"model": "sim/quick", "messages": "Hi"}',
    b'{"model": "sim/quick", "messages": [], "stream": "yes"}',
    b'{"model": "sim/quick", "messages": [], "x": ' + b"[" * 100_000,
    b'{"model": "sim/quick", "messages": [{"role": "user", "content": "\\ud800"}]}',
]
FACES = ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"]


@pytest.mark.parametrize("path", FACES)
async def test_a_bad_body_is_the_callers_fault_and_says_so(serve: Serve, path: str) -> None:
    async with serve() as running:
        for body in BAD_BODIES:
            async with running.client.post(path, data=body) as reply:
                assert 400 <= reply.status < 500, (path, body[:60])
                answer = await reply.json()
                assert answer["error"]["message"].endswith((".", "?", ")", "`"))
                assert reply.headers["x-farthing-call-id"]


async def test_an_unknown_model_lists_what_is_near(serve: Serve) -> None:
    async with (
        serve() as running,
        running.client.post("/v1/chat/completions", json={**CHAT, "model": "sim/quik"}) as reply,
    ):
        assert reply.status == 404
        assert "sim/quick" in (await reply.json())["error"]["message"]


async def test_a_body_over_the_limit_is_413_stated_or_chunked(serve: Serve) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 100_000

    async with serve(max_body_mb=1) as running:
        async with running.client.post("/v1/messages", data=io.BytesIO(b" " * 3_000_000)) as reply:
            assert reply.status == 413
            assert (await reply.json())["error"]["type"] == "request_too_large"
        async with running.client.post("/v1/chat/completions", data=chunks()) as reply:
            assert reply.status == 413
            assert "max_body_mb" in (await reply.json())["error"]["message"]


async def test_a_compressed_body_is_refused_by_name(serve: Serve) -> None:
    async with (
        serve() as running,
        running.client.post(
            "/v1/chat/completions", data=b"x", headers={"content-encoding": "gzip"}
        ) as reply,
    ):
        assert reply.status == 415
        assert "gzip" in (await reply.json())["error"]["message"]


async def test_huge_headers_are_400(serve: Serve) -> None:
    async with serve() as running:
        host, port = running.server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
        writer.write(b"a" * 66_000)
        answer = await reader.read()
        assert b"400 Bad Request" in answer
        writer.close()


async def test_bad_control_headers_are_named(serve: Serve) -> None:
    headers = [
        {"x-farthing-tags": ",".join(map(str, range(21)))},
        {"x-farthing-tags": "a" * 65},
        {"x-farthing-cache": "maybe"},
        {"idempotency-key": "k" * 256},
        {"x-farthing-session": "\t\u00e9"},
    ]
    async with serve() as running:
        for each in headers:
            async with running.client.post(
                "/v1/chat/completions", json=CHAT, headers=each
            ) as reply:
                assert reply.status == 400
                assert next(iter(each)) in (await reply.json())["error"]["message"].lower()


async def test_azures_classic_path_needs_a_version(serve: Serve) -> None:
    path = "/openai/deployments/sim/quick/chat/completions"
    async with serve() as running:
        for query in ("", "?api-version=soon"):
            async with running.client.post(path + query, json=CHAT) as reply:
                assert reply.status == 400
                assert "api-version" in (await reply.json())["error"]["message"]


async def test_a_page_elsewhere_cannot_call_without_a_key(serve: Serve) -> None:
    async with serve() as running:
        for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
            async with running.client.post(
                "/v1/chat/completions", json=CHAT, headers=headers
            ) as reply:
                assert reply.status == 403


async def test_an_allowed_page_may_read_the_answer(serve: Serve) -> None:
    origin = {"origin": "http://localhost:3000"}
    async with serve(cors_origins=("http://localhost:3000",)) as running:
        async with running.client.options("/v1/chat/completions", headers=origin) as reply:
            assert reply.status == 204
            assert reply.headers["access-control-allow-origin"] == origin["origin"]
            assert "POST" in reply.headers["access-control-allow-methods"]
        async with running.client.post("/v1/chat/completions", json=CHAT, headers=origin) as reply:
            assert reply.status == 200
            assert reply.headers["access-control-allow-origin"] == origin["origin"]


async def test_other_methods_and_paths_are_answered_in_the_dialect(serve: Serve) -> None:
    async with serve() as running:
        async with running.client.get("/v1/chat/completions") as reply:
            assert (reply.status, reply.headers["allow"]) == (405, "POST")
        async with running.client.post("/v1beta/nothing", json={}) as reply:
            assert reply.status == 404
            assert (await reply.json())["error"]["status"] == "NOT_FOUND"
