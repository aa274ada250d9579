"""The engine: one simulated region, from a request's bytes to a timed script and an invoice row."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from farthing.base.clock import Clock
from farthing.core.private import PrivateStruct
from farthing.core.usage import Usage
from farthing.sim import faults, filters, headers, words
from farthing.sim.asks import Ask, RefusedError, Reply, Screening
from farthing.sim.compose import compose, output_tokens
from farthing.sim.draws import Draws
from farthing.sim.exchange import Bill, Exchange
from farthing.sim.faces.errors import error_body
from farthing.sim.faces.listing import count_body, models_body
from farthing.sim.faces.routes import COUNTERS, FACES, Target, find
from farthing.sim.invoice import Invoice
from farthing.sim.place import IMAGE_TOKENS, Place
from farthing.sim.prefix import usage_of
from farthing.sim.scenario import FaultTable, Scenario, Where
from farthing.sim.script import Script, Step
from farthing.sim.text import count

_WHERES: tuple[Where, ...] = ("first", "middle", "last")


class Inbound(PrivateStruct, frozen=True):
    """A request as it arrived. headers: lower-case names.

    wants_usage: a stream shall tell its usage whatever the body says (callers in this process).
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    wants_usage: bool = False


class Region:
    """One region: deployments behind one address. Deterministic given scenario, seed and arrivals."""

    def __init__(self, name: str, scenario: Scenario, clock: Clock, invoice: Invoice) -> None:
        self.name = name
        self.table = scenario.regions[name]
        self.is_alive = True
        self.served = 0
        self.faults: tuple[FaultTable, ...] = self.table.faults
        self._scenario = scenario
        self._clock = clock
        self._invoice = invoice
        self._started = clock.monotonic()
        self.places = {
            place: Place(
                place,
                table,
                scenario.models[table.model],
                self.table.flavour,
                Draws(scenario.seed, name, place),
            )
            for place, table in self.table.deployments.items()
        }

    def receive(self, inbound: Inbound) -> Exchange:
        """Answer a request. Never raises; a refusal is an exchange as well."""
        self.served += 1
        draws = Draws(self._scenario.seed, self.name, self.served)
        request_id = f"req_{draws.token('request')}"
        try:
            fault, where = self._fault(inbound, draws)
            if fault is not None and faults.MENU[fault].is_early:
                return self._early(fault, where, request_id)
            exchange = self._answer(inbound, draws, request_id)
        except RefusedError as refused:
            return self._refusal(refused, request_id)
        if fault is not None:
            exchange.spoil(fault, where)
        return exchange

    def scheduled(self, name: str) -> bool:
        """Whether a fault without request conditions (a dead port) is on at this moment."""
        return any(
            table.name == name
            and not table.requests
            and table.probability >= 1
            and self._is_on(table)
            for table in self.faults
        )

    def state(self) -> dict[str, object]:
        """What a person wants to see of the region now."""
        now, at = self._clock.monotonic(), self._clock.now()
        places = {
            name: {
                "model": place.table.model,
                "in_flight": place.in_flight,
                "is_retired": place.is_retired,
                "is_at_capacity": place.is_at_capacity,
                "limits": dict(place.limits(now, at)),
            }
            for name, place in self.places.items()
        }
        return {
            "flavour": self.table.flavour,
            "is_alive": self.is_alive,
            "served": self.served,
            "faults": [msgspec.to_builtins(table) for table in self.faults],
            "deployments": places,
        }

    # --- steps of an answer ---------------------------------------------------------------------

    def _answer(self, inbound: Inbound, draws: Draws, request_id: str) -> Exchange:
        target = find(self.table.flavour, inbound.method, inbound.path, inbound.query)
        self._authenticate(inbound)
        if target.name == "models":
            return self._plain(
                models_body(self.table.flavour, self.places, inbound.path), request_id
            )
        parse = COUNTERS[self.table.flavour] if target.name == "count" else FACES[target.name].parse
        ask = _completed(parse(inbound.body), target, inbound)
        if target.name == "count":
            self._place(ask.model)
            return self._plain(count_body(self.table.flavour, prompt_tokens(ask)), request_id)
        place, spilled = self._admitted(ask, inbound)
        return self._speak(ask, target, place, spilled, draws, request_id, inbound)

    def _speak(
        self,
        ask: Ask,
        target: Target,
        place: _Admitted,
        spilled: headers.Headers,
        draws: Draws,
        request_id: str,
        inbound: Inbound,
    ) -> Exchange:
        at, now = self._clock.now(), self._clock.monotonic()
        where, model = place.place, place.place.model
        spoken = (
            ()
            if model.kind == "embed" or place.screening.prompt
            else compose(
                ask,
                most=model.max_output_tokens,
                is_reasoning=model.is_reasoning,
                draws=draws,
                screening=place.screening,
            )
        )
        cached = where.cache.visit(ask, now)
        thoughts = sum(len(one.thoughts) for one in spoken)
        prompt = prompt_tokens(ask)
        usage = usage_of(prompt, cached, sum(map(output_tokens, spoken)), thoughts)
        reply = Reply(
            id=draws.token("answer"),
            model=where.table.model,
            created=int(at),
            ask=ask,
            spoken=spoken,
            usage=usage,
            screening=place.screening
            if self.table.flavour == "azure" and model.kind == "chat"
            else None,
            blocked=place.screening.prompt,
            dimensions=ask.dimensions or model.dimensions,
            events_of=self.table.tokens_per_event,
        )
        script = self._script(reply, target, draws, usage)
        limits = (*where.limits(now, at), *spilled)
        script = script.replace(headers=(*self._identity(request_id), *script.headers, *limits))
        bill = Bill(
            request_id=request_id,
            region=self.name,
            at=at,
            usage=usage,
            cached=cached,
            estimate=place.estimate,
            tier=ask.tier,
            call_id=inbound.headers.get("x-client-request-id"),
        )
        return Exchange(script, clock=self._clock, invoice=self._invoice, place=where, bill=bill)

    def _script(self, reply: Reply, target: Target, draws: Draws, usage: Usage) -> Script:
        latency = self.table.latency
        first = draws.lognormal(
            "latency", p50=latency.first_token_p50_s, p99=latency.first_token_p99_s
        )
        face = FACES[target.name]
        if reply.ask.stream:
            steps = tuple(
                Step(
                    data=frame.data,
                    wait_s=frame.tokens * latency.per_token_s,
                    tokens=frame.tokens,
                    is_content=frame.is_content,
                )
                for frame in face.stream(reply)
            )
            kind = "text/event-stream; charset=utf-8"
            return Script(
                status=200,
                headers=(("content-type", kind),),
                steps=steps,
                is_stream=True,
                head_wait_s=first,
            )
        whole = Step(data=face.whole(reply), tokens=usage.output_tokens, is_content=True)
        wait = first + usage.output_tokens * latency.per_token_s
        kind = "application/json"
        return Script(
            status=200, headers=(("content-type", kind),), steps=(whole,), head_wait_s=wait
        )

    def _admitted(self, ask: Ask, inbound: Inbound) -> tuple[_Admitted, headers.Headers]:
        """A deployment that takes the call: the one asked for, or the one it spills over to."""
        place = self._place(ask.model)
        try:
            return self._admit(ask, place), self._named(place)
        except RefusedError as refused:
            target = inbound.headers.get("x-ms-spillover-deployment") or place.table.spillover
            if place.provisioned is None or target is None:
                refused.headers += self._limits(place)
                raise
            spilled: headers.Headers = (
                ("x-ms-spillover-from-deployment", place.name),
                ("x-ms-spillover-error", str(refused.status)),
                ("x-ms-is-spilled-over", "true"),
            )
        other = self._place(target)
        spilled = (*self._named(other), *spilled)
        if other.table.model != place.table.model:
            raise RefusedError(
                400,
                "InvalidSpilloverDeployment",
                "Spill-over needs the same model.",
                headers=spilled,
            )
        try:
            return self._admit(ask, other), spilled
        except RefusedError as refused:
            refused.headers += (*self._limits(other), *spilled)
            raise

    def _admit(self, ask: Ask, place: Place) -> _Admitted:
        now = self._clock.monotonic()
        model = place.model
        if place.is_retired:
            raise words.retired(self.table.flavour, place.table.model)
        if not place.table.is_allocated:
            raise words.unallocated(self.table.flavour, place.name)
        tokens = prompt_tokens(ask)
        wanted = tokens + (ask.max_tokens or 0)
        if wanted > model.context_tokens:
            raise words.too_long(model.context_tokens, wanted)
        screening = filters.screen(ask) if model.kind == "chat" else Screening()
        estimate = place.admit(ask, tokens, now)
        if (
            screening.prompt is not None
            and not screening.is_outage
            and self.table.flavour != "google"
        ):
            place.settle(now, estimate, 0, place.cache.visit(ask, now, keep=False), 0)
            raise words.blocked(self.table.flavour, screening)
        return _Admitted(place=place, estimate=estimate, screening=screening)

    # --- refusals -------------------------------------------------------------------------------

    def _place(self, model: str) -> Place:
        place = self.places.get(model)
        if place is not None:
            return place
        raise words.unknown_model(self.table.flavour, model)

    def _authenticate(self, inbound: Inbound) -> None:
        if self.table.flavour == "anthropic" and not inbound.headers.get("anthropic-version"):
            raise RefusedError(400, "invalid", "anthropic-version: header is required")
        if self.table.key is None:
            return
        found = (
            inbound.headers.get("authorization", "").removeprefix("Bearer ")
            or inbound.headers.get("api-key")
            or inbound.headers.get("x-api-key")
            or inbound.headers.get("x-goog-api-key")
            or inbound.query.get("key")
        )
        if found != self.table.key:
            code = "401" if self.table.flavour == "azure" else "invalid_api_key"
            raise RefusedError(401, code, "Incorrect API key provided.")

    def _refusal(self, refused: RefusedError, request_id: str) -> Exchange:
        body = error_body(self.table.flavour, refused, request_id)
        fixed = (
            *self._identity(request_id),
            ("content-type", "application/json"),
            *refused.headers,
        )
        script = Script(status=refused.status, headers=fixed, steps=(Step(data=body),))
        return Exchange(script, clock=self._clock, invoice=self._invoice)

    def _plain(self, body: bytes, request_id: str) -> Exchange:
        fixed = (*self._identity(request_id), ("content-type", "application/json"))
        script = Script(status=200, headers=fixed, steps=(Step(data=body),))
        return Exchange(script, clock=self._clock, invoice=self._invoice)

    # --- faults ---------------------------------------------------------------------------------

    def _fault(self, inbound: Inbound, draws: Draws) -> tuple[str | None, Where]:
        asked = inbound.headers.get("x-sim-fault")
        if asked and self._scenario.is_header_fault_allowed:
            name, _, where = asked.partition("@")
            found = [w for w in _WHERES if w == (where or "middle")]
            if name not in faults.MENU or not found:
                raise RefusedError(
                    400, "unknown_fault", "x-sim-fault names no fault; see `farthing sim faults`."
                )
            return name, found[0]
        for index, table in enumerate(self.faults):
            if table.requests and self.served not in table.requests:
                continue
            if self._is_on(table) and draws.uniform(f"fault{index}") < table.probability:
                return table.name, table.at
        return None, "middle"

    def _is_on(self, table: FaultTable) -> bool:
        elapsed = self._clock.monotonic() - self._started
        return table.from_s <= elapsed and (table.until_s is None or elapsed < table.until_s)

    def _early(self, name: str, where: Where, request_id: str) -> Exchange:
        fixed: headers.Headers = self._identity(request_id)
        if name == "status_429":
            fixed += headers.retry(self.table.flavour, 1.0)
        script = faults.MENU[name].apply(Script(status=200, headers=fixed, steps=()), where)
        return Exchange(script, clock=self._clock, invoice=self._invoice)

    # --- headers --------------------------------------------------------------------------------

    def _identity(self, request_id: str) -> headers.Headers:
        return headers.identity(self.table.flavour, request_id)

    def _limits(self, place: Place) -> headers.Headers:
        return place.limits(self._clock.monotonic(), self._clock.now())

    def _named(self, place: Place) -> headers.Headers:
        return (("x-ms-deployment-name", place.name),) if self.table.flavour == "azure" else ()


class _Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was let in."""

    place: Place
    estimate: float
    screening: Screening


def prompt_tokens(ask: Ask) -> int:
    """Tokens billed for the prompt: text, tools' schemas, images."""
    tools = sum(
        count(tool.name) + count(tool.schema.decode("utf-8", "replace")) for tool in ask.tools
    )
    schema = count(ask.schema.decode("utf-8", "replace")) if ask.schema else 0
    images = sum(turn.images for turn in ask.turns) * IMAGE_TOKENS
    return count(ask.text) + tools + schema + images


def regions(scenario: Scenario, clock: Clock, invoice: Invoice) -> Iterator[Region]:
    """All regions of a scenario."""
    for name in scenario.regions:
        yield Region(name, scenario, clock, invoice)


def _completed(ask: Ask, target: Target, inbound: Inbound) -> Ask:
    """What path and caller add to the body."""
    changes: dict[str, object] = {"include_usage": ask.include_usage or inbound.wants_usage}
    if target.model is not None:
        changes["model"] = target.model
    if target.stream is not None:
        changes["stream"] = target.stream
    return msgspec.structs.replace(ask, **changes)
