"""The Python face: `chat` and `embed`, asynchronous and synchronous, through the same pipeline."""

from __future__ import annotations

import asyncio
import atexit
import base64
import os
import struct
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from farthing.base.config import load
from farthing.base.config.settings import Settings
from farthing.core.calls import Caller, Head, Request
from farthing.core.chat import ChatRequest, Completion, ResponseFormat
from farthing.core.errors import ConfigError
from farthing.core.messages import Message, Role, TextPart, text_of
from farthing.core.private import PrivateStruct
from farthing.gateway.client import Gateway, open_gateway
from farthing.gateway.texts import texts
from farthing.providers.detect import detect
from farthing.wire.dialects import codec

T = TypeVar("T")

#: The face's name in records and key scopes.
FACE = "python"
#: Who asks when Python code of this process does; no key is needed to call oneself.
_SELF = Caller(key_id="local", name="python", is_local=True, is_cache_allowed=True)
_CHAT, _EMBED = "openai-chat", "openai-embeddings"


class Reply(PrivateStruct, frozen=True, kw_only=True):
    """An answer. nanodollars: its exact cost. is_simulated: no real model gave it."""

    text: str
    completion: Completion
    call_id: str
    model: str
    deployment: str
    nanodollars: int
    is_simulated: bool

    def __str__(self) -> str:
        return self.text


class Vectors(PrivateStruct, frozen=True, kw_only=True):
    """Embeddings in the order of the inputs. nanodollars: their exact cost."""

    vectors: tuple[tuple[float, ...], ...]
    call_id: str
    model: str
    deployment: str
    nanodollars: int
    is_simulated: bool


class Client:
    """A gateway in this process, asynchronous. `async with Client() as client: await client.chat(…)`.

    settings: None reads `farthing.toml` and the environment as `farthing up` does.
    """

    def __init__(
        self, settings: Settings | None = None, *, environ: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings
        self._environ = os.environ if environ is None else environ
        self._stack = AsyncExitStack()
        self._gateway: Gateway | None = None

    async def __aenter__(self) -> Client:
        settings = self._settings or load(None, self._environ).settings
        detected = await detect(self._environ) if settings.server.detect else ()
        self._gateway = await self._stack.enter_async_context(
            open_gateway(settings, environ=self._environ, detected=detected, exclusive=False)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gateway = None
        await self._stack.aclose()

    async def chat(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        *,
        model: str,
        system: str | None = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
        schema: Mapping[str, object] | None = None,
        tags: Sequence[str] = (),
    ) -> Reply:
        """Ask `model` and wait for the whole answer.

        prompt: one user message, or messages as `{"role": …, "content": …}`. schema: JSON schema that the
        answer must follow. Raises the FarthingError tree.
        """
        chat = _chat_request(prompt, model, system, max_output_tokens, temperature, schema)
        gateway = self._open()
        async with gateway.open(_request(chat, tags), _SELF) as call:
            body = await call.whole()
            completion = codec(_CHAT).decode_response(body)
            return Reply(
                text="".join(text_of(choice.message) for choice in completion.choices[:1]),
                completion=completion,
                call_id=call.call_id,
                model=call.head.model,
                deployment=call.head.deployment,
                nanodollars=call.record.nanodollars,
                is_simulated=call.head.is_simulated,
            )

    async def stream(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        *,
        model: str,
        system: str | None = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
        tags: Sequence[str] = (),
    ) -> AsyncGenerator[str, None]:
        """Ask `model`; the answer's text comes piece by piece. A failure on the way raises.

        Close the iterator (`contextlib.aclosing`) when leaving it early; that cancels the provider's work.
        """
        chat = _chat_request(prompt, model, system, max_output_tokens, temperature, None)
        chat = msgspec.structs.replace(chat, stream=True)
        async with (
            self._open().open(_request(chat, tags), _SELF) as call,
            aclosing(texts(call, _CHAT)) as pieces,
        ):
            async for text in pieces:
                yield text

    async def embed(
        self, texts: Sequence[str], *, model: str, dimensions: int | None = None
    ) -> Vectors:
        """Embed texts. Raises the FarthingError tree."""
        payload: dict[str, object] = {"model": model, "input": list(texts)}
        payload["encoding_format"] = "base64"  # exact, and a quarter of the size of decimal text
        if dimensions is not None:
            payload["dimensions"] = dimensions
        body = msgspec.json.encode(payload)
        request = Request(dialect=_EMBED, body=body, head=codec(_EMBED).head(body), face=FACE)
        async with self._open().open(request, _SELF) as call:
            answer = msgspec.json.decode(await call.whole(), type=_EmbedAnswer)
            rows = sorted(answer.data, key=lambda row: row.index)
            return Vectors(
                vectors=tuple(_vector(row.embedding) for row in rows),
                call_id=call.call_id,
                model=call.head.model,
                deployment=call.head.deployment,
                nanodollars=call.record.nanodollars,
                is_simulated=call.head.is_simulated,
            )

    @property
    def gateway(self) -> Gateway:
        """The gateway that it opened. Raises ConfigError when it is not open."""
        return self._open()

    def _open(self) -> Gateway:
        if self._gateway is None:
            raise ConfigError(
                "This client is not open.", hint="Use it as `async with Client() as client:`."
            )
        return self._gateway


class _EmbedRow(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _EmbedAnswer(msgspec.Struct):
    data: list[_EmbedRow]


def _vector(embedding: str | list[float]) -> tuple[float, ...]:
    if isinstance(embedding, list):
        return tuple(embedding)
    raw = base64.b64decode(embedding)
    return struct.unpack(f"<{len(raw) // 4}f", raw)


def _chat_request(
    prompt: str | Sequence[Mapping[str, str]],
    model: str,
    system: str | None,
    max_output_tokens: int | None,
    temperature: float | None,
    schema: Mapping[str, object] | None,
) -> ChatRequest:
    messages = [_message("system", system)] if system else []
    if isinstance(prompt, str):
        messages.append(_message("user", prompt))
    else:
        messages += [_message(m["role"], m["content"]) for m in prompt]
    answer_form = None
    if schema is not None:
        answer_form = ResponseFormat(
            kind="json_schema",
            name="answer",
            schema=msgspec.Raw(msgspec.json.encode(schema)),
            strict=True,
        )
    return ChatRequest(
        model=model,
        messages=tuple(messages),
        max_output_tokens=max_output_tokens,
        temperature=temperature,
        response_format=answer_form,
    )


def _message(role: str, content: str) -> Message:
    return Message(role=msgspec.convert(role, Role), parts=(TextPart(text=content),))


def _request(chat: ChatRequest, tags: Sequence[str]) -> Request:
    body = codec(_CHAT).encode_request(chat).body
    head: Head = codec(_CHAT).head(body)
    return Request(dialect=_CHAT, body=body, head=head, face=FACE, tags=tuple(tags))


class _Background:
    """One client on one event loop in a thread, for callers without a loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="farthing", daemon=True)
        self._thread.start()
        self.client = self.run(Client().__aenter__())
        atexit.register(self.close)

    def run(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        self.run(self.client.__aexit__())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


class _Default:
    """Opens the background client on first use. The one piece of process state: it is what makes
    `farthing.chat(…)` a single line; code that wants its own settings uses `Client`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._background: _Background | None = None

    def get(self) -> _Background:
        with self._lock:
            if self._background is None:
                self._background = _Background()
            return self._background


_DEFAULT = _Default()


@dataclass(frozen=True)
class Background:
    """The client behind `farthing.chat`. loop: its own, in a thread; the gateway works on it alone."""

    gateway: Gateway
    caller: Caller
    loop: asyncio.AbstractEventLoop


def background() -> Background:
    """The client that `chat` and its neighbours use, opened on first use: for rooms above."""
    opened = _DEFAULT.get()
    return Background(opened.client.gateway, _SELF, opened.loop)


def chat(
    prompt: str | Sequence[Mapping[str, str]],
    *,
    model: str,
    system: str | None = None,
    max_output_tokens: int | None = None,
    temperature: float | None = None,
    schema: Mapping[str, object] | None = None,
    tags: Sequence[str] = (),
) -> Reply:
    """Ask `model` and wait: `farthing.chat("Hello", model="gpt-4o-mini").text`. See `Client.chat`."""
    background = _DEFAULT.get()
    return background.run(
        background.client.chat(
            prompt,
            model=model,
            system=system,
            max_output_tokens=max_output_tokens,
            temperature=temperature,
            schema=schema,
            tags=tags,
        )
    )


def stream(
    prompt: str | Sequence[Mapping[str, str]],
    *,
    model: str,
    system: str | None = None,
    max_output_tokens: int | None = None,
    temperature: float | None = None,
    tags: Sequence[str] = (),
) -> Iterator[str]:
    """Ask `model`; iterate the answer's text. Leaving the loop early cancels. See `Client.stream`."""
    background = _DEFAULT.get()
    pieces = background.client.stream(
        prompt,
        model=model,
        system=system,
        max_output_tokens=max_output_tokens,
        temperature=temperature,
        tags=tags,
    )
    try:
        while (piece := background.run(_next(pieces))) is not None:
            yield piece
    finally:
        background.run(_close(pieces))


def embed(texts: Sequence[str], *, model: str, dimensions: int | None = None) -> Vectors:
    """Embed texts and wait. See `Client.embed`."""
    background = _DEFAULT.get()
    return background.run(background.client.embed(texts, model=model, dimensions=dimensions))


async def _next(pieces: AsyncGenerator[str, None]) -> str | None:
    return await anext(pieces, None)


async def _close(pieces: AsyncGenerator[str, None]) -> None:
    await pieces.aclose()
