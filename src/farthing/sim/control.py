"""The control port: state, invoice, faults and dead regions, for tests and for people with curl."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from farthing.core.errors import did_you_mean
from farthing.sim.asks import RefusedError
from farthing.sim.exchange import Exchange
from farthing.sim.faces.shape import Json, decode, encode
from farthing.sim.faults import MENU
from farthing.sim.scenario import FaultTable
from farthing.sim.script import Script, Step

if TYPE_CHECKING:
    from farthing.sim.engine import Inbound, Region
    from farthing.sim.http import Simulator


class _Faults(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /_sim/faults`: replaces the faults of one region, or of all."""

    faults: tuple[FaultTable, ...]
    region: str | None = None


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /_sim/regions/<name>`. Absent fields stay as they are; deployment: None means all."""

    is_alive: bool | None = None
    deployment: str | None = None
    is_retired: bool | None = None
    is_at_capacity: bool | None = None
    reduced_to: float | None = None


class Control:
    """Answers `/_sim/…`."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._changes: set[asyncio.Task[None]] = set()

    def receive(self, inbound: Inbound) -> Exchange:
        """Answer a control request; a mistake is a 4xx that says what exists."""
        try:
            kind, body = self._route(inbound)
            status = 200
        except RefusedError as refused:
            kind, status = "application/json", refused.status
            body = encode({"error": {"code": refused.code, "message": refused.message}})
        script = Script(status=status, headers=(("content-type", kind),), steps=(Step(data=body),))
        return Exchange(script, clock=self._simulator.clock, invoice=self._simulator.invoice)

    def _route(self, inbound: Inbound) -> tuple[str, bytes]:
        match inbound.method, inbound.path.strip("/").split("/"):
            case "GET", ["_sim", "state"]:
                return "application/json", encode(self._state())
            case "GET", ["_sim", "invoice"]:
                rows = self._simulator.invoice.rows
                lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
                return "application/x-ndjson", lines
            case "GET", ["_sim", "faults"]:
                menu: Json = {n: {"does": f.does, "billed": f.billed} for n, f in MENU.items()}
                return "application/json", encode(menu)
            case "POST", ["_sim", "faults"]:
                return "application/json", encode(self._set_faults(inbound.body))
            case "POST", ["_sim", "regions", name]:
                return "application/json", encode(self._change(name, inbound.body))
        raise RefusedError(
            404,
            "not_found",
            "Known: /_sim/state, /_sim/invoice, /_sim/faults, /_sim/regions/<name>.",
        )

    def _state(self) -> Json:
        simulator = self._simulator
        return {
            "scenario": simulator.scenario.name,
            "seed": simulator.scenario.seed,
            "now": simulator.clock.now(),
            "invoice": {
                "rows": len(simulator.invoice.rows),
                "dropped": simulator.invoice.dropped,
                "nanodollars": simulator.invoice.nanodollars,
            },
            "regions": {
                name: {"url": simulator.url(name), **region.state()}
                for name, region in simulator.regions.items()
            },
        }

    def _set_faults(self, body: bytes) -> Json:
        wanted = decode(body, _Faults)
        for fault in wanted.faults:
            if fault.name not in MENU:
                hint = did_you_mean(fault.name, MENU) or "GET /_sim/faults lists them."
                raise RefusedError(
                    400, "unknown_fault", f"There is no fault '{fault.name}'. {hint}"
                )
        chosen = (
            self._simulator.regions.values()
            if wanted.region is None
            else [self._region(wanted.region)]
        )
        for region in chosen:
            region.faults = wanted.faults
        return {"regions": [region.name for region in chosen], "faults": len(wanted.faults)}

    def _change(self, name: str, body: bytes) -> Json:
        region, change = self._region(name), decode(body, _Change)
        if change.deployment is not None and change.deployment not in region.places:
            hint = did_you_mean(change.deployment, region.places) or ""
            raise RefusedError(
                404, "not_found", f"{name} has no deployment '{change.deployment}'. {hint}"
            )
        for place in region.places.values():
            if change.deployment not in (None, place.name):
                continue
            if change.is_retired is not None:
                place.is_retired = change.is_retired
            if change.is_at_capacity is not None:
                place.is_at_capacity = change.is_at_capacity
            if change.reduced_to is not None and place.quota is not None:
                place.quota.reduce(change.reduced_to)
        if change.is_alive is not None:
            task = asyncio.get_running_loop().create_task(
                self._simulator.set_alive(name, change.is_alive)
            )
            self._changes.add(task)
            task.add_done_callback(self._changes.discard)
        return {
            "region": name,
            "is_alive": region.is_alive if change.is_alive is None else change.is_alive,
        }

    def _region(self, name: str) -> Region:
        if name not in self._simulator.regions:
            hint = did_you_mean(name, self._simulator.regions) or ""
            raise RefusedError(404, "not_found", f"There is no region '{name}'. {hint}")
        return self._simulator.regions[name]
