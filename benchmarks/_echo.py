"""A careless provider: it quotes the request, headers and all, in its errors, events and odd fields."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

_STATUSES = (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 529)
_WORD = re.compile(r"\w{18,60}")


@asynccontextmanager
async def echoing(seed: int = 3) -> AsyncIterator[str]:
    """The address of such a provider on loopback."""
    chance = random.Random(seed)

    async def handle(request: web.Request) -> web.StreamResponse:
        said = await request.text()
        answer = _ANSWERS[chance.randrange(len(_ANSWERS))]
        if (
            answer is not _odd
        ):  # a good answer belongs to the caller as it is, whatever the vendor put in
            said += "\n" + "\n".join(f"{k}: {v}" for k, v in request.headers.items())
        return await answer(request, said, chance)

    async with served(handle) as url:
        yield url


@asynccontextmanager
async def served(handle: web.RequestHandler | object) -> AsyncIterator[str]:
    """Any handler of all paths, on a free port of loopback."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handle)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def _error(request: web.Request, said: str, chance: random.Random) -> web.StreamResponse:
    word = _word(said)
    error = {"message": said, "type": word, "code": word, "param": word, "status": word}
    body = {"type": "error", "error": error, "detail": said, "message": said}
    headers = {"retry-after": word} if chance.random() < 0.2 else {}
    return web.json_response(body, status=chance.choice(_STATUSES), headers=headers)


async def _page(request: web.Request, said: str, chance: random.Random) -> web.StreamResponse:
    status = chance.choice((200, *_STATUSES))
    kind = chance.choice(("text/html", "text/plain", f"text/{_word(said)}"))
    return web.Response(
        body=f"<html>{said}</html>".encode(), status=status, headers={"content-type": kind}
    )


async def _broken(request: web.Request, said: str, chance: random.Random) -> web.StreamResponse:
    text = json.dumps({"choices": [said], "content": said, "candidates": said})
    body = chance.choice((text, text[:-9], said, json.dumps(said), f'{{"error": "{_word(said)}"}}'))
    return web.Response(text=body, content_type="application/json")


async def _moved(request: web.Request, said: str, chance: random.Random) -> web.StreamResponse:
    return web.Response(status=307, headers={"location": f"/v1/{_word(said)}"})


async def _odd(request: web.Request, said: str, chance: random.Random) -> web.StreamResponse:
    """A whole answer in all dialects at once, with the caller's word where the vendor's words belong."""
    word = _word(said)
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "service_tier": word}
    return web.json_response(
        {
            "id": word,
            "object": word,
            "model": word,
            "modelVersion": word,
            "type": "message",
            "role": "assistant",
            "service_tier": word,
            "system_fingerprint": word,
            "choices": [
                {"index": 0, "finish_reason": word, "message": {"role": word, "content": said}}
            ],
            "content": [{"type": "text", "text": said}, {"type": word}],
            "stop_reason": word,
            "stop_sequence": word,
            "candidates": [
                {"content": {"role": word, "parts": [{"text": said}]}, "finishReason": word}
            ],
            "usage": {**usage, "input_tokens": 3, "output_tokens": 2},
            "usageMetadata": {"promptTokenCount": 3, "trafficType": word},
        }
    )


async def _stream(request: web.Request, said: str, chance: random.Random) -> web.StreamResponse:
    """Some content, then the request quoted in an error event, or in something that is no event."""
    word = _word(said)
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    delta = {"index": 0, "delta": {"role": "assistant", "content": word}}
    chunk = {"id": word, "object": "chat.completion.chunk", "model": word, "choices": [delta]}
    if chance.random() < 0.7:
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
    error = {"type": "error", "error": {"type": word, "message": said, "code": word}}
    ending = chance.choice(
        (
            f"event: error\ndata: {json.dumps(error)}\n\n",
            f"data: {json.dumps(error)}\n\n",
            f"data: {{{said}\n\n",
            f"event: {word}\ndata: {json.dumps(said)}\n\n",
            # Lines that are no event pass like comments do; they belong to the caller as an answer does.
            said.partition("\n")[0] + "\n\n",
        )
    )
    await response.write(ending.encode())
    return response


def _word(said: str) -> str:
    found = _WORD.search(said)
    return found[0] if found else "nothing"


_ANSWERS = (_error, _error, _page, _broken, _moved, _odd, _odd, _stream, _stream)
