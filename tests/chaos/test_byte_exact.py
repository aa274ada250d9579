"""Whatever the packet borders, the client gets exactly the upstream's bytes, or exactly their translation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import aiohttp
import msgspec

from farthing.base.config.settings import Deployment, Provider, Settings, Storage
from farthing.base.config.settings import Server as ServerSettings
from farthing.core.calls import Head
from farthing.gateway.client import open_gateway
from farthing.server.listener import listen
from farthing.server.serve import serving
from farthing.testing.server import Peer
from farthing.testing.server import serving as scripted
from farthing.wire.dialects import codec

ANSWERS = 10_000
AT_ONCE = 24
#: Pieces of text that are awkward somewhere: in JSON, in SSE, in UTF-8, or for whoever compares bytes.
WORDS = [
    "word ",
    " ",
    "é",
    "日本",
    "😀",
    '"',
    "\\",
    "\n",
    "\r\n",
    "\\n",
    '"}',
    "data: ",
    "[DONE]",
    "x" * 700,
]


def frames(seed: int) -> list[bytes]:
    """A complete streamed answer of the chat dialect, with usage, made from its number."""
    draw = random.Random(seed)
    is_padded, is_spaced = draw.random() < 0.3, draw.random() < 0.1

    def frame(choices: list[dict[str, object]], **more: object) -> bytes:
        fields: dict[str, object] = {"id": f"chatcmpl-{seed}", "object": "chat.completion.chunk"}
        fields |= {"created": 1, "model": "m", "choices": choices, **more}
        if is_padded:
            fields["obfuscation"] = "p" * draw.randint(0, 9)
        data = msgspec.json.encode(fields)
        return b"data:" + (b"" if is_spaced else b" ") + data + b"\n\n"

    def choice(delta: dict[str, object], finish: str | None = None) -> dict[str, object]:
        return {"index": 0, "delta": delta, "finish_reason": finish}

    made = [frame([choice({"role": "assistant", "content": ""})])]
    for _ in range(draw.randint(1, 25)):
        text = "".join(draw.choices(WORDS, k=draw.randint(0, 3)))
        made.append(frame([choice({"content": text})]))
        if draw.random() < 0.05:
            made.append(b": ping\n\n")
    made.append(frame([choice({}, "stop")]))
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    made.append(frame([], usage=usage))
    made.append(b"data: [DONE]\n\n")
    return made


def whole(seed: int) -> bytes:
    """A complete unstreamed answer."""
    draw = random.Random(seed)
    text = "".join(draw.choices(WORDS, k=draw.randint(0, 200)))
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    fields = {"id": f"c{seed}", "object": "chat.completion", "model": "m", "choices": choices}
    return msgspec.json.encode({**fields, "usage": usage, "vendor": {"kept": [1, None]}})


def translated(seed: int) -> bytes:
    """What a client of the Messages API gets for that stream, read and written without any cut."""
    reader = codec("openai-chat").reader(want_deltas=True)
    writer = codec("anthropic-messages").writer(
        Head(model="m", stream=True), call_id="c", created=1
    )
    out = b""
    for event in [*reader.feed(b"".join(frames(seed))), *reader.eof()]:
        out += b"".join(writer.write(delta) for delta in event.deltas or ())
    return out + writer.end()


async def upstream(peer: Peer) -> None:
    """Answer by the number in the request, in pieces that end anywhere, chunked, sized or until the end."""
    asked = msgspec.json.decode(peer.asked.body)
    seed = int(asked["messages"][-1]["content"].split()[-1])
    draw = random.Random(-seed)
    is_stream = bool(asked.get("stream"))
    body = b"".join(frames(seed)) if is_stream else whole(seed)
    kind = "text/event-stream" if is_stream else "application/json"
    framing = draw.choice(["chunked", "sized", "close"])
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n"
    if framing == "chunked":
        head += "Transfer-Encoding: chunked\r\n"
        sent = b""
        for piece in cut(draw, body):
            sent += b"%x\r\n%b\r\n" % (len(piece), piece)
        body = sent + b"0\r\n\r\n"
    elif framing == "sized":
        head += f"Content-Length: {len(body)}\r\n"
    else:
        head += "Connection: close\r\n"
    for piece in cut(draw, head.encode() + b"\r\n" + body):
        await peer.say(piece)
        await asyncio.sleep(0)
    if framing == "close":
        peer.writer.close()


def cut(draw: random.Random, data: bytes) -> list[bytes]:
    """The same bytes in some pieces, none of them empty."""
    cuts = sorted({0, len(data), *(draw.randrange(len(data)) for _ in range(draw.randint(0, 12)))})
    return [data[start:end] for start, end in pairwise(cuts)]


@asynccontextmanager
async def gateway(folder: Path, base_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A served gateway over that upstream."""
    price = {"input": "1", "output": "2", "source": "made up", "date": "2026-11-25"}
    deployment = msgspec.convert({"provider": "up", "model": "m", "price": price}, Deployment)
    settings = Settings(
        server=ServerSettings(port=0, detect=False),
        storage=Storage(url=f"sqlite:{folder / 'farthing.db'}"),
        providers={"up": Provider(type="openai", base_url=base_url, key="sk-x", models=())},
        deployments={"m": deployment},
    )
    with listen(settings.server) as listener:
        async with (
            open_gateway(settings, environ={}) as opened,
            serving(opened, listener) as server,
            aiohttp.ClientSession(server.url) as client,
        ):
            yield client


async def answer(client: aiohttp.ClientSession, seed: int) -> tuple[bytes, bytes]:
    """What the client got, and what it should have got."""
    ask: dict[str, object] = {"model": "m", "messages": [{"role": "user", "content": f"n {seed}"}]}
    sort = seed % 4
    if sort == 0:
        path, expected = "/v1/chat/completions", whole(seed)
    elif sort == 3:
        path, expected = "/v1/messages", translated(seed)
        ask |= {"stream": True, "max_tokens": 100}
    else:
        path, expected = "/v1/chat/completions", b"".join(frames(seed))
        ask |= {"stream": True, "stream_options": {"include_usage": True}}
    async with client.post(path, json=ask) as reply:
        return await reply.read(), expected


async def test_every_byte_arrives_whatever_the_borders_of_packets_and_chunks(
    tmp_path: Path,
) -> None:
    seeds = iter(range(ANSWERS))
    wrong: list[int] = []

    async with scripted(upstream) as vendor, gateway(tmp_path, vendor.url) as client:

        async def work() -> None:
            for seed in seeds:
                got, expected = await answer(client, seed)
                if got != expected:
                    wrong.append(seed)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    assert wrong == []
