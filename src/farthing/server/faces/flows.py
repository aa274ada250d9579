"""Served flows: prompt flow's HTTP interface, below /flows/NAME, or at / when a flow is served alone.

What only flows need is imported when one is asked for: most gateways serve none.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from farthing import __version__
from farthing.core.calls import Caller
from farthing.core.errors import (
    AccessError,
    CapacityError,
    FarthingError,
    FlowError,
    UpstreamRateLimitedError,
)
from farthing.core.money import format_dollars
from farthing.server.faces.authority import read_key
from farthing.server.faces.face import (
    Face,
    Handler,
    Operation,
    Visit,
    identify,
    read_body,
    send_json,
    stop_when_gone,
    tags_of,
    traceparent_of,
)
from farthing.server.feedback import in_callers_trace, keep_feedback
from farthing.wire.edge.answers import Header
from farthing.wire.edge.exchange import Exchange

if TYPE_CHECKING:
    from farthing.flows.models import Spent
    from farthing.flows.serving.served import Answer, ServedFlow

_STREAM = "text/event-stream"
_ANYTHING = frozenset({"*/*"})
_JSON = frozenset({"application/json", "application/*", "*/*"})
_MEDIA = b"text/event-stream; charset=utf-8"
#: Whoever asks a server that its operator opened to everyone.
_ANYONE = Caller(key_id="local", name="anyone", is_local=True)
_END = object()


class NotAcceptableError(FlowError):
    """The caller takes no form in which the answer can be given."""

    code = "not_acceptable"
    status = 406


async def score(visit: Visit) -> None:
    """POST …/score: run one line"""
    from farthing.flows.models import GatewayModels
    from farthing.flows.serving.asking import asking

    exchange = visit.exchange
    caller = await _caller(visit)
    flow = await _flow(visit)
    wanted = _accepted(exchange)
    if _STREAM not in wanted and not wanted & _JSON:
        raise _not_acceptable(wanted)
    body = await read_body(visit)
    tags, trace = tags_of(exchange.header("x-farthing-tags")), traceparent_of(exchange)
    models = GatewayModels(visit.gateway, caller, tags=tags, traceparent=trace)
    with asking(models) as spent, in_callers_trace(exchange):
        stop_when_gone(exchange)
        try:
            answer = await flow.score(flow.inputs(body), takes_pieces=_STREAM in wanted)
            try:
                await _send(exchange, answer, wanted, spent)
            finally:
                await answer.aclose()
        except FarthingError as error:
            error.status = _status(error)
            raise


async def swagger(visit: Visit) -> None:
    """GET …/swagger.json: the flow's interface"""
    await _caller(visit)
    name = visit.parameters.get("name")
    flow = await _flow(visit)
    await send_json(visit, flow.swagger(server=f"/flows/{name}" if name else None))


async def feedback(visit: Visit) -> None:
    """POST …/feedback: what a caller thinks of an answer, as a span"""
    await _caller(visit)
    await _flow(visit)
    body = await read_body(visit)
    is_flat = (visit.exchange.query("flatten") or "").lower() == "true"
    with in_callers_trace(visit.exchange):
        keep_feedback(body, is_flat=is_flat)
    await send_json(visit, {"status": "Feedback received."})


async def health(visit: Visit) -> None:
    """GET …/health: it can answer"""
    await _flow(visit)
    await send_json(visit, {"status": "Healthy", "version": __version__})


async def version(visit: Visit) -> None:
    """GET …/version: of the build, where BUILD_INFO says it, else of Farthing"""
    build = os.environ.get("BUILD_INFO", "")
    try:
        number = msgspec.json.decode(build, type=dict[str, object])["build_number"]
    except (msgspec.MsgspecError, KeyError):
        number = __version__
    await send_json(visit, {"status": "Healthy", "build_info": build, "version": number})


async def page(visit: Visit) -> None:
    """GET …/: a page to try it"""
    from farthing.server.flowpage import PAGE, POLICY

    headers = ((b"content-security-policy", POLICY), (b"x-content-type-options", b"nosniff"))
    await visit.exchange.send(200, PAGE, headers, media=b"text/html; charset=utf-8")


async def listing(visit: Visit) -> None:
    """GET /flows: what is served"""
    await _caller(visit)
    await send_json(visit, {"flows": visit.desk.flows.names()})


# --- who asks, for what ---


async def _caller(visit: Visit) -> Caller:
    return _ANYONE if visit.desk.flows.is_open else await identify(visit)


async def _flow(visit: Visit) -> ServedFlow:
    return await visit.desk.flows.get(visit.parameters.get("name"))


def _accepted(exchange: Exchange) -> frozenset[str]:
    """The media types that the caller names; no header takes everything."""
    named = exchange.header("accept")
    if not named:
        return _ANYTHING
    types = {each.partition(";")[0].strip().lower() for each in named.split(",")} - {""}
    return frozenset(types) or _ANYTHING


def _not_acceptable(wanted: frozenset[str], *, has_stream: bool = True) -> NotAcceptableError:
    offered = f"application/json or {_STREAM}" if has_stream else "application/json"
    return NotAcceptableError(
        f"The answer cannot be given as {', '.join(sorted(wanted))[:200]}.",
        hint=f"Accept {offered}.",
    )


def _status(error: FarthingError) -> int:
    """Of what failed a line: 400 where the caller or the flow is at fault, else 500.

    What a client must tell apart to act on it keeps its own: money, permission, rates.
    """
    if isinstance(error, AccessError | CapacityError | UpstreamRateLimitedError):
        return error.status
    if isinstance(error, NotAcceptableError):
        return error.status
    return 400 if isinstance(error, FlowError) or error.status < 500 else 500


# --- the answer ---


async def _send(exchange: Exchange, answer: Answer, wanted: frozenset[str], spent: Spent) -> None:
    if answer.stream is not None and _STREAM in wanted:
        await _send_stream(exchange, answer)
        return
    if not wanted & _JSON:
        raise _not_acceptable(wanted, has_stream=answer.stream is not None)
    whole = msgspec.json.encode(await answer.whole())
    await exchange.send(200, whole, _cost(spent))


async def _send_stream(exchange: Exchange, answer: Answer) -> None:
    pieces = answer.pieces
    assert pieces is not None, "it has a stream"
    # The head waits for the first piece, so that a refusal (a budget, a model that is down) has its status.
    piece = await anext(pieces, _END)
    await exchange.start_stream((), media=_MEDIA)
    if answer.outputs:
        await exchange.write(_event(answer.outputs))
    try:
        while piece is not _END:
            await exchange.write(_event({answer.stream: piece}))
            piece = await anext(pieces, _END)
    except FarthingError as error:
        # The last event says so. A cut connection would be clearer still, but browsers throw away what came
        # just before it, this event too.
        error.status = _status(error)
        await exchange.write(b"event: error\n" + _framed(_error_body(error)))
    await exchange.finish()


def _event(data: object) -> bytes:
    return _framed(msgspec.json.encode(data))


def _framed(wire: bytes) -> bytes:
    return b"data: " + wire + b"\n\n"


def _cost(spent: Spent) -> tuple[Header, ...]:
    if not spent.calls:
        return ()
    dollars = format_dollars(spent.nanodollars).replace("$", "").replace(",", "")
    return ((b"x-farthing-cost", dollars.encode("ascii")),)


def _error_body(error: FarthingError) -> bytes:
    """`{"error": {"code", "message"}}`; no path of this machine, so not the error's own text."""
    text = f"{error.message} {error.hint}" if error.hint else error.message
    code = "UserError" if error.status < 500 else "SystemError"
    return msgspec.json.encode({"error": {"code": code, "message": text}})


def _is_short(exchange: Exchange) -> bool:
    # A parameter takes any number of segments, and /flows/NAME/score is no flow of that name.
    return exchange.path.rstrip("/").count("/") == 2


def _operations(prefix: str) -> tuple[Operation, ...]:
    def at(method: str, path: str, handle: Handler, summary: str) -> Operation:
        return Operation(method=method, path=prefix + path, handle=handle, summary=summary)

    return (
        at("POST", "/score", score, "Run one line of a flow"),
        at("POST", "/feedback", feedback, "Tell what you think of an answer"),
        at("GET", "/swagger.json", swagger, "The flow's interface"),
        at("GET", "/health", health, "Whether the flow can answer"),
        at("GET", "/version", version, "Version of the build"),
        Operation(
            method="GET",
            path=prefix or "/",
            handle=page,
            summary="A page to try the flow",
            when=_is_short if prefix else None,
        ),
    )


#: All flows of the settings, on the gateway's port.
FACE = Face(
    name="flows",
    read_key=read_key,
    error_body=_error_body,
    operations=(
        Operation(method="GET", path="/flows", handle=listing, summary="The flows that are served"),
        *_operations("/flows/{name}"),
    ),
)
#: One flow that has a port for itself.
ALONE = Face(name="flows", read_key=read_key, error_body=_error_body, operations=_operations(""))
