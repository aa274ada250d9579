"""What all faces share: who asks, the request out of HTTP, the answer or the error back into it."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from farthing.base.config.watch import Reload
from farthing.base.telemetry.cells import Snapshot
from farthing.base.telemetry.logs import describe_exception
from farthing.core.calls import Caller, Head, Request
from farthing.core.errors import BadRequestError, FarthingError
from farthing.core.money import format_dollars
from farthing.gateway.call import Call
from farthing.gateway.client import Gateway
from farthing.server.guard import check_keyless
from farthing.wire.dialects import codec
from farthing.wire.edge.answers import Header, lines_of
from farthing.wire.edge.exchange import Exchange

if TYPE_CHECKING:
    from farthing.server.flowshelf import Shelf

_log = logging.getLogger("farthing.server")

MAX_TAGS = 20
_TAG = re.compile(r"[\w.:=/@+ -]{1,64}", re.ASCII)
_TOKEN = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_CACHE_WISHES = {"on": True, "off": False, "no-store": False}
#: Names of dropped fields that are told in one header; the rest is counted.
_DROPPED_SHOWN = 40
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

#: Headers of a call that are read here. Most calls carry none of them.
_READ_HERE = frozenset(
    {"idempotency-key", "traceparent", "x-farthing-cache", "x-farthing-session", "x-farthing-tags"}
)

Parameters = Mapping[str, str]


#: Tells the series of the processes that serve beside this one, summed or one by one.
Others = Callable[[], Awaitable[list[Snapshot]]]


async def no_others() -> list[Snapshot]:
    """This process serves alone."""
    return []


class Desk:
    """What every request may need beside itself: the gateway, and the state of this process.

    reload: reads the settings file anew, None without one. others: the series of the processes that serve
    beside this one. flows: the flows that are served. is_draining: the process is about to end.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        reload: Callable[[], Awaitable[Reload]] | None = None,
        others: Others,
        flows: Shelf,
    ) -> None:
        self.gateway = gateway
        self.reload = reload
        self.others = others
        self.flows = flows
        self.is_draining = False


class Visit(msgspec.Struct, frozen=True):
    """One request at one face. parameters: the named parts of its path."""

    desk: Desk
    face: Face
    exchange: Exchange
    parameters: Parameters

    @property
    def gateway(self) -> Gateway:
        """The gateway behind all faces."""
        return self.desk.gateway


#: Answers one visit, or raises FarthingError before anything was sent.
Handler = Callable[[Visit], Awaitable[None]]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method and path of a face.

    path: a template; `{name}` is one or more segments. when: more that must be true of the request, where
    two vendors use the same path. summary: its line in the OpenAPI document.
    """

    method: str
    path: str
    handle: Handler
    summary: str
    when: Callable[[Exchange], bool] | None = None


class Face(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor's HTTP API.

    read_key: the secret from where this vendor's clients send it. error_body: an error as this vendor
    writes it. passed_headers: request headers that a provider of the same kind shall see.
    is_control: answers while the process drains. request_id_header: where the vendor's clients look for
    the id to quote in a complaint.
    """

    name: str
    read_key: Callable[[Exchange], str | None]
    error_body: Callable[[FarthingError], bytes]
    operations: tuple[Operation, ...]
    passed_headers: tuple[str, ...] = ()
    is_control: bool = False
    request_id_header: bytes = b"x-request-id"


class Framing:
    """Server-sent events as the codecs write them: nothing to add.

    is_plain: bytes go out as they are, however many events they hold.
    """

    is_plain = True
    media = b"text/event-stream; charset=utf-8"

    def frame(self, wire: bytes) -> bytes:
        """The bytes to send for one event."""
        return wire

    def end(self) -> bytes:
        """The bytes after the last event."""
        return b""


def bearer(exchange: Exchange) -> str | None:
    """The token of `Authorization: Bearer …`."""
    text = exchange.head.headers.get("authorization")
    if text is None:
        return None
    scheme, _, token = text.partition(" ")
    if scheme == "Bearer" or scheme.lower() == "bearer":
        return token.strip() or None
    return None


def errors_of(dialect: str) -> Callable[[FarthingError], bytes]:
    """The error writer of a dialect, loaded at the first error."""
    return lambda error: codec(dialect).encode_error(error)


async def identify(visit: Visit) -> Caller:
    """Who asks. Raises AccessError; in keyless mode also for requests that a web page may have caused."""
    secret = visit.face.read_key(visit.exchange)
    caller = await visit.gateway.identify(secret, face=visit.face.name)
    if caller.is_local:
        check_keyless(visit.exchange, visit.gateway.settings.server)
    return caller


def identify_now(visit: Visit) -> Caller | None:
    """Who asks, where that is known without waiting; None: await `identify`."""
    face = visit.face
    secret = face.read_key(visit.exchange)
    caller = visit.desk.gateway.accounts.identify_now(secret, face=face.name)
    if caller is not None and caller.is_local:
        check_keyless(visit.exchange, visit.gateway.settings.server)
    return caller


async def read_body(visit: Visit) -> bytes:
    """The body within the settings' bound."""
    return await visit.exchange.body(visit.gateway.settings.server.max_body_mb)


async def answer_call(
    visit: Visit,
    dialect: str,
    *,
    complete: Callable[[bytes], bytes] | None = None,
    fill: Callable[[Head], Head] | None = None,
    framing: Callable[[], Framing] = Framing,
) -> None:
    """A model call from request to last byte.

    complete, fill: add to the body, or only to the head, what the path says. framing: how events are laid
    on the connection.
    """
    exchange, gateway = visit.exchange, visit.desk.gateway
    caller = identify_now(visit)
    if caller is None:
        caller = await identify(visit)
    max_mb = gateway.settings.server.max_body_mb
    body = exchange.body_now(max_mb)
    if body is None:
        body = await exchange.body(max_mb)
    if complete is not None:
        body = complete(body)
    head = codec(dialect).head(body)
    if fill is not None:
        head = fill(head)
    if not head.model:
        raise BadRequestError(
            "The request names no model.",
            hint='Add "model" with one of the names that GET /v1/models lists.',
            param="model",
        )
    request = _request(visit, dialect, body, head)
    stop_when_gone(exchange)
    async with gateway.open(request, caller) as call:
        if head.stream:
            await _send_stream(visit, call, framing())
        else:
            await _send_whole(visit, call)


def stop_when_gone(exchange: Exchange) -> None:
    """Cancel the work on this answer when its client leaves: nobody waits for it any more."""
    assert exchange.task is not None, "a request is answered in a task"
    exchange.on_gone(exchange.task.cancel)


async def send_json(visit: Visit, document: object) -> None:
    """A small JSON answer that is no model call."""
    await visit.exchange.send(200, msgspec.json.encode(document))


async def send_error(visit: Visit, error: FarthingError, headers: tuple[Header, ...] = ()) -> None:
    """An error in the face's own form, with its status, `retry-after` and an id to quote."""
    error.call_id = error.call_id or visit.gateway.clock.new_id("refused")
    error.request_id = error.request_id or error.call_id  # Anthropic's bodies show it
    call_id = error.call_id.encode("ascii")
    told: list[Header] = [
        (b"x-farthing-call-id", call_id),
        (visit.face.request_id_header, call_id),
        *headers,
    ]
    if error.retry_after_s is not None:
        told.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
        told.append((b"retry-after-ms", b"%d" % math.ceil(error.retry_after_s * 1000)))
    if error.status >= 500 and not error.retryable:
        told.append((b"x-should-retry", b"false"))  # read by the OpenAI and Anthropic SDKs
    if error.status == 401:
        told.append((b"www-authenticate", b"Bearer"))
    if error.status in (408, 413):
        visit.exchange.keep_alive = False  # the rest of the body is not read
    await visit.exchange.send(error.status, visit.face.error_body(error), told)


def internal_error(error: Exception) -> FarthingError:
    """What a caller is told of a fault of ours. It is logged by type and place; its words may be private."""
    _log.error("A request failed by a fault in Farthing.\n%s", describe_exception(error))
    return FarthingError(
        "The gateway failed by a fault of its own.",
        hint="Its log has the place; please report it.",
        code="internal_error",
    )


def _request(visit: Visit, dialect: str, body: bytes, head: Head) -> Request:
    face, headers = visit.face, visit.exchange.head.headers
    passed: tuple[tuple[str, str], ...] = ()
    for name in face.passed_headers:
        if name in headers:
            passed += ((name, headers[name]),)
    if _READ_HERE.isdisjoint(headers):
        return Request(dialect=dialect, body=body, head=head, face=face.name, headers=passed)
    return Request(
        dialect=dialect,
        body=body,
        head=head,
        face=face.name,
        headers=passed,
        tags=tags_of(headers.get("x-farthing-tags")),
        session=_token(headers, "x-farthing-session"),
        idempotency_key=_token(headers, "idempotency-key"),
        use_cache=_cache_wish(headers.get("x-farthing-cache")),
        traceparent=traceparent_of(visit.exchange),
    )


async def _send_stream(visit: Visit, call: Call, framing: Framing) -> None:
    exchange = visit.exchange
    await exchange.start_stream(_call_headers(visit, call), media=framing.media)
    if framing.is_plain:
        await call.forward(exchange.push, exchange.drained)
    else:
        async for event in call:
            await exchange.write(framing.frame(event.wire))
    end = framing.end()
    if end:
        await exchange.write(end)
    await exchange.finish()


async def _send_whole(visit: Visit, call: Call) -> None:
    body = await call.whole()
    await visit.exchange.send(200, body, _call_headers(visit, call))


def _call_headers(visit: Visit, call: Call) -> bytes:
    """What was done for the answer. The cost is exact; a stream's is not known when its headers leave."""
    head, call_id = call.head, call.call_id.encode("ascii")
    lines = b"x-farthing-call-id: %b\r\n%b: %b\r\n%b" % (
        call_id,
        visit.face.request_id_header,
        call_id,
        _place_lines(head.model, head.deployment, head.cache),
    )
    if head.nanodollars is not None:
        lines += _cost_line(head.nanodollars)
    if head.dropped:
        shown = list(head.dropped[:_DROPPED_SHOWN])
        if len(head.dropped) > _DROPPED_SHOWN:
            shown.append(f"and {len(head.dropped) - _DROPPED_SHOWN} more")
        lines += lines_of(((b"x-farthing-dropped", _printable(", ".join(shown))),))
    if head.is_simulated:
        lines += b"x-farthing-simulated: true\r\n"
    return lines


@lru_cache(maxsize=1024)
def _place_lines(model: str, deployment: str, cache: str) -> bytes:
    return lines_of(
        (
            (b"x-farthing-model", _printable(model)),
            (b"x-farthing-deployment", _printable(deployment)),
            (b"x-farthing-cache", cache.encode("ascii")),
        )
    )


@lru_cache(maxsize=4096)
def _cost_line(nanodollars: int) -> bytes:
    dollars = format_dollars(nanodollars).replace("$", "").replace(",", "")
    return lines_of(((b"x-farthing-cost", dollars.encode("ascii")),))


def _printable(text: str) -> bytes:
    return _UNPRINTABLE.sub("?", text)[:4096].encode("ascii")


def traceparent_of(exchange: Exchange) -> str | None:
    """The W3C trace that the request belongs to; None when it names none that can be read."""
    trace = exchange.header("traceparent")
    return trace if trace and _TRACEPARENT.fullmatch(trace) else None


def tags_of(text: str | None) -> tuple[str, ...]:
    """The tags in the header x-farthing-tags. Raises BadRequestError."""
    if not text:
        return ()
    tags = tuple(dict.fromkeys(tag.strip() for tag in text.split(",") if tag.strip()))
    if len(tags) > MAX_TAGS or not all(_TAG.fullmatch(tag) for tag in tags):
        raise BadRequestError(
            "The header x-farthing-tags cannot be read.",
            hint=f"Send at most {MAX_TAGS} tags, separated by commas, each of at most 64 letters, digits or "
            "any of . : = / @ + - _ and space.",
            param="x-farthing-tags",
        )
    return tags


def _token(headers: Mapping[str, str], header: str) -> str | None:
    value = headers.get(header)
    if not value:
        return None
    if not _TOKEN.fullmatch(value):
        raise BadRequestError(
            f"The header {header} cannot be read.",
            hint="Send at most 255 printable ASCII characters.",
            param=header,
        )
    return value


def _cache_wish(text: str | None) -> bool | None:
    if text is None:
        return None
    if text.lower() not in _CACHE_WISHES:
        raise BadRequestError(
            "The header x-farthing-cache has an unknown value.",
            hint="Send on, off or no-store.",
            param="x-farthing-cache",
        )
    return _CACHE_WISHES[text.lower()]
