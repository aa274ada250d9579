"""Each mistake in a request: its status, the dialect's form, and a message that says what to do next."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.mistakes import is_on_page, masked, row
from tests.server.mistaken_requests import CHAT, CHAT_PATH, TABLE, Mistake
from tests.server.mistaken_world import World, mistaken_world

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with mistaken_world(tmp_path_factory.mktemp("mistaken")) as world:
        yield world


@pytest.mark.parametrize("mistake", TABLE, ids=lambda mistake: mistake.did)
async def test_a_mistake_is_told_with_what_to_do_next(world: World, mistake: Mistake) -> None:
    status, headers, answer = await send(world, mistake)
    assert status == mistake.status, answer
    assert headers["x-farthing-call-id"]
    message = message_of(mistake.face, json.loads(answer))
    missing = [part for part in mistake.parts if part not in message]
    assert not missing, message
    assert is_on_page(line(mistake, message)), "run tools/generate_mistakes.py"


async def test_a_good_call_still_succeeds_after_all_of_them(world: World) -> None:
    good = Mistake(
        did="", status=200, parts=("", "", ""), body=json.dumps(CHAT).encode(), path=CHAT_PATH
    )
    status, _, answer = await send(world, good)
    assert status == 200, answer


async def send(world: World, mistake: Mistake) -> tuple[int, dict[str, str], bytes]:
    """Make the mistake; status, headers (names in lower case) and body of the answer."""
    headers = {"content-type": "application/json", **mistake.headers}
    if mistake.key is not None:
        secret = mistake.key[1:] if mistake.key.startswith("=") else world.keys[mistake.key]
        headers["authorization"] = f"Bearer {secret}"
    async with world.client.request(
        mistake.method, mistake.path, data=mistake.data(), headers=headers
    ) as reply:
        names = {name.lower(): value for name, value in reply.headers.items()}
        return reply.status, names, await reply.read()


def message_of(face: str, answer: Any) -> str:
    """The message where the dialect's clients look for it; the rest of the form is asserted."""
    error = answer["error"]
    match face:
        case "openai" | "azure":
            assert set(error) >= {"message", "type", "param", "code"}
            assert isinstance(error["code"], str)
        case "anthropic":
            assert answer["type"] == "error"
            assert isinstance(error["type"], str)
            assert answer["request_id"]
        case "google":
            assert isinstance(error["code"], int)
            assert error["status"].isupper()
        case "admin":
            assert set(error) == {"code", "message", "hint", "param", "retryable"}
            return f"{error['message']} {error['hint'] or ''}".strip()
    return str(error["message"])


def line(mistake: Mistake, message: str) -> str:
    """The mistake's line on the page."""
    return row(f"A caller {mistake.did}", str(mistake.status), masked(message))


async def lines(folder: Path) -> list[str]:
    """All lines of the page that this table writes."""
    async with mistaken_world(folder) as world:
        written = []
        for mistake in TABLE:
            _, _, answer = await send(world, mistake)
            written.append(line(mistake, message_of(mistake.face, json.loads(answer))))
        return written
