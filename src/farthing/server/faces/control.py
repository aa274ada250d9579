"""What machines ask of the process: is it alive, is it ready, its metrics."""

from __future__ import annotations

import msgspec

from farthing import __version__
from farthing.base.telemetry.metrics import CONTENT_TYPE
from farthing.core.errors import FarthingError, StorageError
from farthing.gateway.client import Gateway
from farthing.server.faces.authority import authorise, encode_error, read_key
from farthing.server.faces.face import Face, Operation, Visit, send_json

#: What is told to whoever opens the address in a browser.
_WELCOME = {
    "name": "farthing",
    "version": __version__,
    "openai": "/v1",
    "azure": "/openai",
    "anthropic": "/v1/messages",
    "google": "/v1beta",
    "admin": "/admin/openapi.json",
    "health": "/health",
    "ready": "/ready",
    "metrics": "/metrics",
}


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether calls should be sent here, and if not, why not."""

    ready: bool
    reasons: tuple[str, ...] = ()


async def welcome(visit: Visit) -> None:
    """GET /"""
    await send_json(visit, _WELCOME)


async def health(visit: Visit) -> None:
    """GET /health: the process is alive. It touches nothing, so it costs nothing to ask often."""
    await send_json(visit, {"status": "ok"})


async def ready(visit: Visit) -> None:
    """GET /ready: 200 when calls should be sent here, else 503 with the reasons"""
    reasons = []
    if visit.desk.is_draining:
        reasons.append("The process is about to end.")
    deployments = visit.gateway.health()
    if deployments and all(row.state == "open" for row in deployments):
        reasons.append("Every deployment is out of rotation after failures.")
    try:
        await visit.gateway.accounts.check()
    except FarthingError as error:
        reasons.append(str(error))
    answer = Readiness(ready=not reasons, reasons=tuple(reasons))
    status = 200 if answer.ready else 503
    await visit.exchange.send(status, msgspec.json.encode(answer))


async def metrics(visit: Visit) -> None:
    """GET /metrics: Prometheus text; a key needs the role viewer"""
    await authorise(visit, "viewer")
    await _measure(visit.gateway)
    body = visit.gateway.metrics.render(await visit.desk.others())
    await visit.exchange.send(200, body, media=CONTENT_TYPE.encode("ascii"))


async def _measure(gateway: Gateway) -> None:
    """Set the gauges that are only looked at when somebody asks."""
    metrics = gateway.metrics
    metrics.set_in_flight(gateway.in_flight)
    for row in gateway.health():
        metrics.set_breaker(row.deployment, row.state)
    try:
        for state in await gateway.accounts.budgets():
            budget = state.budget
            metrics.set_budget(budget.name, limit=budget.nanodollars, remaining=state.left)
        metrics.set_open_reservations(len(await gateway.accounts.unsettled()))
    except StorageError:
        return  # the other series are still worth having; /ready tells of the database


FACE = Face(
    name="control",
    read_key=read_key,
    error_body=encode_error,
    is_control=True,
    operations=(
        Operation(method="GET", path="/", handle=welcome, summary="Where things are"),
        Operation(method="GET", path="/health", handle=health, summary="The process is alive"),
        Operation(method="GET", path="/ready", handle=ready, summary="Calls should be sent here"),
        Operation(method="GET", path="/metrics", handle=metrics, summary="Prometheus metrics"),
    ),
)
