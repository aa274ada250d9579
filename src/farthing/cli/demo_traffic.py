"""The demo's traffic: the wire shapes of the vendors' own clients, mixed, against the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

import aiohttp
import msgspec

Json = dict[str, object]

#: Things that people ask; each is short, so that the demo's figures stay readable.
QUESTIONS = (
    "Which of these invoices is overdue? A-17 due 2026-10-01, A-18 due 2026-12-01.",
    "Summarise in one sentence: the pump failed twice in March, then never again.",
    "Label the mood of this review: the battery died after a day, support was kind.",
    "Turn this into a title: how we cut our token bill without losing an answer.",
    "What is the capital of the country whose flag has a red maple leaf?",
    "Rewrite politely: send me the report now.",
)


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """One request of the demo: a client's dialect, its path, headers and body."""

    dialect: str
    path: str
    headers: Mapping[str, str]
    body: Json
    is_stream: bool


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the client saw. is_complete: the dialect's own end was there."""

    shot: Shot
    status: int
    deployment: str
    is_complete: bool
    error: str | None = None


Shape = Callable[[str, str, str, bool], Shot]


def shots(count: int, keys: Mapping[str, str], models: Mapping[str, str]) -> Iterator[Shot]:
    """`count` requests in turn over dialects, streams, questions and keys.

    keys: name → secret. models: `chat` and `cheap`, names that the gateway knows.
    """
    shapes: tuple[Shape, ...] = (_openai, _responses, _anthropic, _google, _azure)
    secrets = list(keys.values())
    for number in range(count):
        shape = shapes[number % len(shapes)]
        secret = secrets[number % len(secrets)]
        model = models["chat"] if number % 3 else models["cheap"]
        question = QUESTIONS[number % len(QUESTIONS)]
        yield shape(secret, model, question, number % 2 == 0)


async def shoot(session: aiohttp.ClientSession, base_url: str, shot: Shot) -> Outcome:
    """Send one request and read its answer to the end."""
    try:
        async with session.post(
            base_url + shot.path, json=shot.body, headers=dict(shot.headers)
        ) as answer:
            body = await answer.read()
            ok = answer.status == 200
            return Outcome(
                shot=shot,
                status=answer.status,
                deployment=answer.headers.get("x-farthing-deployment", ""),
                is_complete=ok and _is_complete(shot, body),
                error=None if ok else message_in(body),
            )
    except (aiohttp.ClientError, TimeoutError) as error:
        return Outcome(
            shot=shot, status=0, deployment="", is_complete=False, error=type(error).__name__
        )


async def shoot_all(
    session: aiohttp.ClientSession,
    base_url: str,
    queue: Iterator[Shot],
    *,
    clients: int,
    seen: Callable[[Outcome], None],
) -> None:
    """Send every request of the queue by `clients` concurrent clients."""

    async def client() -> None:
        for shot in queue:
            seen(await shoot(session, base_url, shot))

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())


def message_in(body: bytes) -> str:
    """The error's sentence, whatever the dialect."""
    try:
        error = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["error"]
        return str(msgspec.json.decode(error, type=dict[str, object])["message"])
    except (msgspec.DecodeError, KeyError):
        return f"{len(body)} bytes that are no error of a known dialect"


_ENDS = {
    "openai chat": b"data: [DONE]",
    "azure chat": b"data: [DONE]",
    "openai responses": b"event: response.completed",
    "anthropic": b"event: message_stop",
    "google": b'"finishReason"',
}


def _is_complete(shot: Shot, body: bytes) -> bool:
    return not shot.is_stream or _ENDS[shot.dialect] in body


def _bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def _chat_body(model: str, question: str, stream: bool) -> Json:
    messages = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": question},
    ]
    body: Json = {"model": model, "messages": messages, "max_completion_tokens": 60}
    return {**body, "stream": True} if stream else body


def _openai(secret: str, model: str, question: str, stream: bool) -> Shot:
    return Shot(
        dialect="openai chat",
        path="/v1/chat/completions",
        headers=_bearer(secret),
        body=_chat_body(model, question, stream),
        is_stream=stream,
    )


def _azure(secret: str, model: str, question: str, stream: bool) -> Shot:
    return Shot(
        dialect="azure chat",
        path=f"/openai/deployments/{model}/chat/completions?api-version=2024-10-21",
        headers={"api-key": secret},
        body=_chat_body(model, question, stream),
        is_stream=stream,
    )


def _responses(secret: str, model: str, question: str, stream: bool) -> Shot:
    body: Json = {
        "model": model,
        "instructions": "Answer briefly.",
        "input": question,
        "max_output_tokens": 60,
        "stream": stream,
        "store": False,
    }
    return Shot(
        dialect="openai responses",
        path="/v1/responses",
        headers=_bearer(secret),
        body=body,
        is_stream=stream,
    )


def _anthropic(secret: str, model: str, question: str, stream: bool) -> Shot:
    body: Json = {
        "model": model,
        "system": "Answer briefly.",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 60,
        "stream": stream,
    }
    return Shot(
        dialect="anthropic",
        path="/v1/messages",
        headers={"x-api-key": secret, "anthropic-version": "2023-06-01"},
        body=body,
        is_stream=stream,
    )


def _google(secret: str, model: str, question: str, stream: bool) -> Shot:
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    body: Json = {
        "systemInstruction": {"parts": [{"text": "Answer briefly."}]},
        "contents": [{"role": "user", "parts": [{"text": question}]}],
        "generationConfig": {"maxOutputTokens": 60},
    }
    return Shot(
        dialect="google",
        path=f"/v1beta/models/{model}:{verb}",
        headers={"x-goog-api-key": secret},
        body=body,
        is_stream=stream,
    )
