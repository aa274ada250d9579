from __future__ import annotations

import asyncio

import pytest

from farthing.providers.detect import detect, keyed, probe
from farthing.testing.server import Peer, serving


def test_keys_are_found_by_the_names_of_their_variables_only() -> None:
    found = keyed(
        {
            "OPENAI_API_KEY": "sk-canary",
            "GROQ_API_KEY": "  ",
            "GOOGLE_API_KEY": "canary",
            "HOME": "/",
        }
    )
    assert [each.name for each in found] == ["openai", "google"]
    assert [each.variable for each in found] == ["OPENAI_API_KEY", "GOOGLE_API_KEY"]
    assert "canary" not in repr(found)


def test_azure_needs_its_endpoint_beside_its_key() -> None:
    assert keyed({"AZURE_OPENAI_API_KEY": "k"}) == ()
    found = keyed({"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://a.example"})
    assert [each.name for each in found] == ["azure"]


async def test_a_model_server_is_known_by_its_list() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b'{"object":"list","data":[{"id":"b"},{"id":"a"}]}')
        peer.writer.close()

    async with serving(script) as server:
        assert await probe(f"{server.url}/v1") == ("a", "b")
        assert server.asked[0].line == "GET /v1/models HTTP/1.0"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"<html>", "text/html", "200 OK"),
        (b'{"object":"page","data":[]}', "application/json", "200 OK"),
        (b'{"data":[]}', "application/json", "200 OK"),
        (b"[1]", "application/json", "200 OK"),
        (b'{"object":"list","data":[]}', "application/json", "404 Not Found"),
        (b'{"object":"list","data":[{"id":3}]}', "application/json", "200 OK"),
        (b"\xff\x00", "application/json", "200 OK"),
    ],
)
async def test_whatever_else_listens_there_is_not_taken_for_one(
    body: bytes, kind: str, status: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(body, kind=kind, status=status)
        peer.writer.close()

    async with serving(script) as server:
        assert await probe(f"{server.url}/v1") is None


async def test_a_list_in_chunks_is_understood() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'17\r\n{"object":"list","data"\r\n6\r\n:null}\r\n0\r\n\r\n'
        )
        peer.writer.close()

    async with serving(script) as server:
        assert await probe(f"{server.url}/v1") == ()


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/v1", "http://example.com/v1", "http://127.evil.example"]
)
async def test_nothing_beyond_loopback_is_ever_asked(url: str) -> None:
    assert await probe(url) is None


async def test_a_silent_server_costs_the_start_no_more_than_the_cap() -> None:
    async with asyncio.timeout(5):
        assert all(each.variable is None for each in await detect({}, timeout_s=0.01))
    assert [task for task in asyncio.all_tasks() if "probe" in repr(task)] == []
