"""A small world for gateway tests: real accounts on SQLite, scripted answers behind the provider socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from farthing.accounts.accounts import Accounts
from farthing.base.clock import SystemClock
from farthing.base.config.settings import Settings, Storage
from farthing.base.storage import connect
from farthing.base.telemetry.metrics import Metrics
from farthing.core.calls import Caller, CallRecord, Event, EventKind, Request, Tally
from farthing.core.errors import UnknownModelError
from farthing.core.models import Deployment, Kind, Route
from farthing.core.prices import Price, Rates, Tier
from farthing.core.protocols import AnswerHead, Attempt
from farthing.gateway.cache import AnswerCache
from farthing.gateway.client import Gateway
from farthing.gateway.idempotency import IdempotencyStore
from farthing.gateway.policy import RankedPolicy
from farthing.gateway.snapshot import Shared, Snapshot
from farthing.wire.codec import StreamReader
from farthing.wire.dialects import codec

#: One dollar per million input tokens, two per million output tokens.
PRICE = Price(
    tiers={"standard": Tier(rates=Rates(input=1_000_000, output=2_000_000))},
    source="test",
    date="2026-11-24",
)
LOCAL = Caller(key_id="local", name="test", is_local=True, is_cache_allowed=True)

#: What an answer does, step by step: send these bytes, raise this error, or stop for ever (HANG).
HANG = "hang"
Step = bytes | Exception | str


class ScriptedProvider:
    """Answers attempts from a script: per deployment a list of answers, each a list of steps or an error."""

    def __init__(self, scripts: dict[str, list[Exception | Sequence[Step]]]) -> None:
        self.scripts = scripts
        self.attempts: list[Attempt] = []
        self.open_now = 0
        self.dialect = "openai-chat"

    def dialects(self, deployment: Deployment, kind: Kind) -> tuple[str, ...]:
        return (self.dialect,)

    @asynccontextmanager
    async def open(self, attempt: Attempt) -> AsyncIterator[ScriptedAnswer]:
        self.attempts.append(attempt)
        script = self.scripts[attempt.deployment.name].pop(0)
        if isinstance(script, Exception):
            raise script
        self.open_now += 1
        try:
            yield ScriptedAnswer(attempt, script)
        finally:
            self.open_now -= 1

    async def models(self) -> tuple[str, ...]:
        return ()

    async def aclose(self) -> None:
        pass


class ScriptedAnswer:
    def __init__(self, attempt: Attempt, script: Sequence[Step]) -> None:
        self.head = AnswerHead(request_id=f"up-{attempt.call_id}")
        self._attempt = attempt
        self._script = script
        self._codec = codec(attempt.dialect)
        self._reader: StreamReader | None = None
        self._tally = Tally()
        self.events = self._read()

    @property
    def tally(self) -> Tally:
        return self._reader.tally if self._reader else self._tally

    async def _read(self) -> AsyncGenerator[Event, None]:
        if self._attempt.stream:
            self._reader = self._codec.reader(want_deltas=self._attempt.want_deltas)
        for step in self._script:
            if isinstance(step, Exception):
                raise step
            if step == HANG:
                await asyncio.Event().wait()
            assert isinstance(step, bytes)
            if self._reader is None:
                self._tally = self._codec.tally(step)
                yield Event(wire=step, kind=EventKind.WHOLE)
            else:
                for event in self._reader.feed(step):
                    yield event
        if self._reader is not None:
            for event in self._reader.eof():
                yield event


class FixedDirectory:
    """Routes by name over the given deployments; the part of the real directory that a call uses."""

    def __init__(self, provider: ScriptedProvider, routes: dict[str, Route]) -> None:
        self.providers = {"scripted": provider}
        self.routes = routes
        self.deployments = {
            d.name: d for route in routes.values() for group in route.groups for d in group
        }

    def route(self, name: str) -> Route:
        if name not in self.routes:
            raise UnknownModelError(f"There is no model '{name}'.")
        return self.routes[name]

    async def aclose(self) -> None:
        pass


class World:
    """A gateway over scripted deployments, its accounts and the records of its calls."""

    def __init__(self, gateway: Gateway, provider: ScriptedProvider) -> None:
        self.gateway = gateway
        self.provider = provider
        self.records: list[CallRecord] = []

    def record(self, call: CallRecord) -> None:
        self.records.append(call)

    async def ask(self, request: Request, caller: Caller = LOCAL) -> bytes:
        """The whole answer's bytes."""
        async with self.gateway.open(request, caller) as call:
            return b"".join([event.wire async for event in call])


@asynccontextmanager
async def world(
    folder: Path,
    scripts: dict[str, list[Exception | Sequence[Step]]],
    *,
    settings: Settings | None = None,
    fallbacks: tuple[str, ...] = (),
    dialect: str = "openai-chat",
    **deployment: object,
) -> AsyncIterator[World]:
    """Model `m` is served by the scripted deployments, in their order, one rank each.

    A script name with a prefix `other:` belongs to route `other` instead, for fallbacks.
    """
    settings = settings or Settings()
    settings = msgspec.structs.replace(
        settings, storage=Storage(url=f"sqlite:{folder / 'farthing.db'}")
    )
    provider = ScriptedProvider(scripts)
    provider.dialect = dialect
    groups: dict[str, list[tuple[Deployment, ...]]] = {"m": []}
    for name in scripts:
        route, _, _ = name.rpartition(":")
        facts = {"price": PRICE, "max_output_tokens": 1000, "context_tokens": 10_000, **deployment}
        made = Deployment(
            name=name, provider="scripted", model="model-x", remote_name="remote-x", **facts
        )
        groups.setdefault(route or "m", []).append((made,))
    routes = {
        name: Route(
            name=name,
            groups=tuple(ranks),
            strategy="ordered",
            fallbacks=fallbacks if name == "m" else (),
        )
        for name, ranks in groups.items()
    }
    clock = SystemClock()
    metrics = Metrics(settings.telemetry)
    database = connect(settings.storage, durability="process", exclusive=True)
    await database.open()
    accounts = Accounts(database, settings, clock=clock, environ={}, metrics=metrics)
    await accounts.open()
    shared = Shared(
        accounts=accounts,
        clock=clock,
        cache=AnswerCache(settings.cache, clock),
        idempotency=IdempotencyStore(clock),
        sinks=(metrics,),
        breakers={},
    )
    directory = FixedDirectory(provider, routes)
    snapshot = Snapshot(settings, directory, RankedPolicy(), shared)  # type: ignore[arg-type]
    it = World(Gateway(snapshot, metrics, {}), provider)
    shared_with_log = msgspec.structs.replace(shared, sinks=(metrics, it))
    snapshot.shared = shared_with_log
    try:
        yield it
    finally:
        await accounts.aclose()
        await database.close()


# --- the OpenAI chat dialect, by hand ---------------------------------------------------------------


def chat(*, stream: bool = False, text: str = "Hi", **fields: object) -> Request:
    """A request in the OpenAI chat dialect for model `m`."""
    body = msgspec.json.encode(
        {
            "model": "m",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 100,
            **({"stream": True} if stream else {}),
            **fields,
        }
    )
    return Request(dialect="openai-chat", body=body, head=codec("openai-chat").head(body))


def chunk(delta: dict[str, object] | None = None, finish: str | None = None) -> bytes:
    """One streamed chunk."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return _frame({"choices": [choice]})


def usage_chunk(input_tokens: int = 10, output_tokens: int = 5) -> bytes:
    """The chunk that carries usage and no choice."""
    return _frame({"choices": [], "usage": _usage(input_tokens, output_tokens)})


def whole(text: str = "Hello", *, input_tokens: int = 10, output_tokens: int = 5) -> bytes:
    """A complete unstreamed answer."""
    return msgspec.json.encode(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "remote-x",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": _usage(input_tokens, output_tokens),
        }
    )


def _usage(input_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


def _frame(fields: dict[str, object]) -> bytes:
    head = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "remote-x",
    }
    return b"data: " + msgspec.json.encode({**head, **fields}) + b"\n\n"


DONE = b"data: [DONE]\n\n"
ROLE = chunk({"role": "assistant", "content": ""})
#: A complete stream that says "Hello" in two pieces: 10 tokens in, 5 out, which is 20,000 nanodollars.
HELLO = [
    ROLE,
    chunk({"content": "Hel"}),
    chunk({"content": "lo"}),
    chunk(finish="stop"),
    usage_chunk(),
    DONE,
]
HELLO_NANODOLLARS = 10 * 1_000 + 5 * 2_000
