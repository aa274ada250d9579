"""An answer to `farthing ask`: from a gateway in this process, or from a running one over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec

from farthing.base.clock import Clock, SystemClock
from farthing.base.config.settings import Settings
from farthing.core.calls import Caller, Event, EventKind, Request
from farthing.core.chat import Completion, Delta, Failed, RefusalDelta, TextDelta
from farthing.core.errors import FarthingError, UpstreamUnreachableError
from farthing.core.messages import RefusalPart, TextPart
from farthing.core.money import format_dollars
from farthing.core.usage import Usage
from farthing.gateway.client import open_gateway
from farthing.providers.detect import detect
from farthing.wire.dialects import codec

DIALECT = "openai-chat"
#: Whoever can read the database may ask; the calls are booked under this name.
COMMAND_LINE = Caller(key_id="local", name="command line", role="admin", is_local=True)
#: How long an answer over HTTP may be silent, seconds.
SILENCE_S = 600.0

BodyFor = Callable[[str], bytes]


class Figures(msgspec.Struct, kw_only=True):
    """What is known of an answer beside its words. nanodollars None: not known here."""

    model: str
    deployment: str = ""
    usage: Usage | None = None
    nanodollars: int | None = None
    is_simulated: bool = False
    cache: str = "off"
    call_id: str = ""


class Answer:
    """Iterate it once for the pieces of the text; `figures` and `summary` are right afterwards."""

    def __init__(
        self,
        source: AsyncIterator[bytes],
        figures: Figures,
        *,
        is_stream: bool,
        clock: Clock,
        started_s: float,
        finish: Callable[[Figures], None] = lambda figures: None,
    ) -> None:
        self._source = source
        self._figures = figures
        self._is_stream = is_stream
        self._finish = finish
        self._clock = clock
        self._started_s = started_s
        self._latency_s = 0.0

    async def __aiter__(self) -> AsyncGenerator[str, None]:
        pieces = self._streamed() if self._is_stream else self._whole()
        async with aclosing(pieces):
            async for piece in pieces:
                if piece:
                    yield piece
        self._latency_s = self._clock.monotonic() - self._started_s
        self._finish(self._figures)

    def figures(self) -> dict[str, Any]:
        """For programs. cost_dollars is exact, as text."""
        cost = self._figures.nanodollars
        known: dict[str, Any] = msgspec.to_builtins(self._figures)
        del known["nanodollars"]
        known["cost_dollars"] = None if cost is None else format_dollars(cost)[1:].replace(",", "")
        known["latency_s"] = round(self._latency_s, 3)
        return known

    def summary(self) -> str:
        """For people: who answered, tokens, cost, time."""
        figures = self._figures
        parts = [figures.deployment or figures.model]
        if figures.usage is not None:
            parts.append(
                f"{figures.usage.input_tokens:,} in, {figures.usage.output_tokens:,} out tokens"
            )
        if figures.nanodollars is not None:
            parts.append(format_dollars(figures.nanodollars))
        if figures.cache == "hit":
            parts.append("from the cache")
        parts.append(f"{self._latency_s:.2f} s")
        if figures.is_simulated:
            parts.append("SIMULATED: no model was asked, no money was spent")
        return " · ".join(parts)

    async def _streamed(self) -> AsyncGenerator[str, None]:
        reader = codec(DIALECT).reader(want_deltas=True)
        async for chunk in self._source:
            for event in reader.feed(chunk):
                for delta in event.deltas or ():
                    yield _words(delta)
        reader.eof()
        self._figures.usage = reader.tally.usage

    async def _whole(self) -> AsyncGenerator[str, None]:
        body = b"".join([chunk async for chunk in self._source])
        completion = codec(DIALECT).decode_response(body)
        self._figures.usage = completion.usage
        yield _text(completion)


@asynccontextmanager
async def ask_here(
    settings: Settings, environ: Mapping[str, str], body_for: BodyFor, model: str | None
) -> AsyncIterator[Answer]:
    """Answer with a gateway of our own. model None: the one that examples use.

    Raises StorageLockedError when another process owns the database.
    """
    from farthing.cli.example import example_model

    clock = SystemClock()
    found = await detect(environ) if settings.server.detect else ()
    async with open_gateway(settings, environ=environ, detected=found) as gateway:
        body = body_for(model or example_model(gateway.directory))
        request = Request(dialect=DIALECT, body=body, head=codec(DIALECT).head(body), face="cli")
        started_s = clock.monotonic()
        async with gateway.open(request, COMMAND_LINE) as call:
            figures = Figures(
                model=call.head.model,
                deployment=call.head.deployment,
                is_simulated=call.head.is_simulated,
                cache=call.head.cache,
                call_id=call.call_id,
            )

            def finish(figures: Figures) -> None:
                figures.nanodollars = call.record.nanodollars

            yield Answer(
                _wires(call),
                figures,
                is_stream=request.head.stream,
                clock=clock,
                started_s=started_s,
                finish=finish,
            )


@asynccontextmanager
async def ask_there(
    url: str, key: str | None, body_for: BodyFor, model: str | None
) -> AsyncIterator[Answer]:
    """Answer with the gateway at `url`. model None: the first chat model that it lists."""
    import aiohttp

    headers = {"authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=SILENCE_S)
    try:
        async with aiohttp.ClientSession(base_url=url, headers=headers, timeout=timeout) as session:
            body = body_for(model or await _first_model(session))
            json_body = {"content-type": "application/json"}
            clock = SystemClock()
            started_s = clock.monotonic()
            async with session.post("/v1/chat/completions", data=body, headers=json_body) as reply:
                if reply.status != 200:
                    raise _refusal(reply.status, await reply.read())
                yield Answer(
                    reply.content.iter_any(),
                    _told(reply.headers),
                    is_stream=codec(DIALECT).head(body).stream,
                    clock=clock,
                    started_s=started_s,
                )
    except aiohttp.ClientError as error:
        raise UpstreamUnreachableError(
            f"The gateway at {url} cannot be reached or broke off ({type(error).__name__}).",
            hint="Is it running? Start one with `farthing up`.",
        ) from error


async def _first_model(session: Any) -> str:
    async with session.get("/v1/models") as reply:
        body = await reply.read()
        if reply.status != 200:
            raise _refusal(reply.status, body)
    rows = msgspec.json.decode(body)["data"]
    names = [row["id"] for row in rows if "embed" not in row["id"]]
    if not names:
        raise FarthingError("That gateway offers no model.", hint="Name one with --model.")
    return str(names[0])


async def _wires(events: Any) -> AsyncGenerator[bytes, None]:
    event: Event
    async for event in events:
        if event.kind is EventKind.ERROR:
            for delta in event.deltas or ():
                _words(delta)  # raises what the provider reported
        yield event.wire


def _words(delta: Delta) -> str:
    if isinstance(delta, Failed):
        raise delta.error
    return delta.text if isinstance(delta, TextDelta | RefusalDelta) else ""


def _text(completion: Completion) -> str:
    parts = completion.choices[0].message.parts if completion.choices else ()
    return "".join(part.text for part in parts if isinstance(part, TextPart | RefusalPart))


def _told(headers: Mapping[str, str]) -> Figures:
    from farthing.core.money import parse_dollars

    cost = headers.get("x-farthing-cost")
    return Figures(
        model=headers.get("x-farthing-model", ""),
        deployment=headers.get("x-farthing-deployment", ""),
        nanodollars=parse_dollars(cost) if cost else None,
        is_simulated=headers.get("x-farthing-simulated") == "true",
        cache=headers.get("x-farthing-cache", "off"),
        call_id=headers.get("x-farthing-call-id", ""),
    )


def _refusal(status: int, body: bytes) -> FarthingError:
    try:
        message = str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        message = "That address does not answer like a gateway."
    hint = "`farthing ask` sends the key in --key or FARTHING_KEY." if status == 401 else None
    return FarthingError(message, hint=hint, status=status)
