"""Plain content that is handed on where it arrives: the same bytes, in the same order, at the reader's pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from farthing.base.config.settings import Deployment, Provider, Settings, Storage
from farthing.core.calls import Request
from farthing.gateway.client import Gateway, open_gateway
from farthing.testing.server import Peer, Script, serving
from farthing.wire.dialects import codec
from tests.gateway.world import DONE, LOCAL, ROLE, chat, chunk, usage_chunk

WORDS = [chunk({"content": f"word{number} "}) for number in range(30)]
END = [chunk(finish="stop"), usage_chunk(), DONE]
PING = b": ping\n\n"
CALL = chunk(
    {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
)


@asynccontextmanager
async def gateway(folder: Path, script: Script) -> AsyncIterator[Gateway]:
    """A gateway whose one deployment is this scripted server."""
    price = {"input": "1", "output": "2", "source": "made up", "date": "2026-11-25"}
    deployment = msgspec.convert({"provider": "up", "model": "m", "price": price}, Deployment)
    async with serving(script) as server:
        settings = Settings(
            storage=Storage(url=f"sqlite:{folder / 'farthing.db'}"),
            providers={"up": Provider(type="openai", base_url=server.url, key="sk", models=())},
            deployments={"m": deployment},
        )
        async with open_gateway(settings, environ={}) as opened:
            yield opened


def streaming(*pieces: bytes) -> Script:
    """A server that says these pieces one after the other."""

    async def say(peer: Peer) -> None:
        await peer.stream(*pieces)

    return say


class Reader:
    """Takes what it is given. slow: it has enough after every piece, until it is waited for."""

    def __init__(self, *, slow: bool = False) -> None:
        self.taken: list[bytes] = []
        self.waits = 0
        self._slow = slow

    def take(self, data: bytes) -> bool:
        self.taken.append(data)
        return not self._slow

    async def wait(self) -> None:
        self.waits += 1
        await asyncio.sleep(0)

    @property
    def all(self) -> bytes:
        return b"".join(self.taken)


def asked(**fields: object) -> Request:
    return chat(stream=True, stream_options={"include_usage": True}, **fields)


async def forwarded(opened: Gateway, request: Request, reader: Reader) -> None:
    async with opened.open(request, LOCAL) as call:
        await call.forward(reader.take, reader.wait)


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize(
    "events",
    [
        [ROLE, *WORDS, *END],
        [ROLE, *WORDS[:3], PING, *WORDS[3:6], CALL, *WORDS[6:9], *END],
        [ROLE, CALL, CALL, CALL, *END],
        [b"".join([ROLE, *WORDS]), *END],
        [b"".join([ROLE, *WORDS, *END])],
        [piece for event in [ROLE, *WORDS, *END] for piece in (event[:31], event[31:])],
    ],
)
async def test_forwarding_gives_what_iterating_gives(
    tmp_path: Path, events: list[bytes], slow: bool
) -> None:
    async with gateway(tmp_path, streaming(*events)) as opened:
        reader = Reader(slow=slow)
        await forwarded(opened, asked(), reader)
        assert reader.all == b"".join(events)
        async with opened.open(asked(), LOCAL) as call:
            iterated = b"".join([event.wire async for event in call])
        assert iterated == reader.all
        assert bool(reader.waits) == slow
        assert await opened.accounts.unsettled() == []


async def test_a_stream_that_breaks_while_it_is_handed_on_ends_in_an_error(tmp_path: Path) -> None:
    async def break_off(peer: Peer) -> None:
        await peer.stream(ROLE, *WORDS[:5], ends=False)
        await asyncio.sleep(0.02)
        peer.reset()

    async with gateway(tmp_path, break_off) as opened:
        reader = Reader()
        await forwarded(opened, asked(), reader)
        assert reader.all.startswith(b"".join([ROLE, *WORDS[:5]]))
        assert b'"error"' in reader.taken[-1]
        assert b"[DONE]" not in reader.all
        (hold,) = await opened.accounts.unsettled()
        assert hold.state == "unconfirmed"


async def test_a_reader_who_leaves_while_content_is_handed_on_hangs_up(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def for_ever(peer: Peer) -> None:
        await peer.stream(ROLE, *WORDS, ends=False)
        await peer.hung_up()
        gone.set()

    async with gateway(tmp_path, for_ever) as opened:
        reader = Reader()
        task = asyncio.create_task(forwarded(opened, asked(), reader))
        while len(reader.all) < len(b"".join(WORDS)):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await gone.wait()


async def test_a_translated_stream_is_forwarded_event_by_event(tmp_path: Path) -> None:
    body = msgspec.json.encode(
        {
            "model": "m",
            "stream": True,
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "Hi"}],
        }
    )
    dialect = "anthropic-messages"
    request = Request(dialect=dialect, body=body, head=codec(dialect).head(body))
    async with gateway(tmp_path, streaming(ROLE, *WORDS, *END)) as opened:
        reader = Reader()
        await forwarded(opened, request, reader)
        assert reader.all.count(b"content_block_delta") == 2 * len(WORDS)
        assert reader.all.endswith(b'{"type":"message_stop"}\n\n')
