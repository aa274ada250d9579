"""The engine in process, behind the Provider socket: no port, the same answers, quotas and faults."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

from farthing.base.clock import Clock
from farthing.base.config.settings import Provider as ProviderSettings
from farthing.core.calls import Event, EventKind, Tally
from farthing.core.errors import (
    FarthingError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeoutError,
    UpstreamTruncatedError,
    UpstreamUnreachableError,
)
from farthing.core.models import Deployment, Kind, Timeouts
from farthing.core.protocols import Answer, AnswerHead, Attempt, Provider
from farthing.sim.engine import Inbound, Region
from farthing.sim.exchange import Exchange
from farthing.sim.invoice import Invoice
from farthing.sim.scenario import (
    DeploymentTable,
    Flavour,
    ModelTable,
    PriceTable,
    RegionTable,
    load,
    nanodollars,
    price_of,
)
from farthing.sim.script import Script, Step
from farthing.wire.codec import Codec
from farthing.wire.dialects import codec

_CHAT: dict[Flavour, tuple[str, ...]] = {
    "openai": ("openai-chat", "openai-responses", "openai-completions"),
    "azure": ("openai-chat", "openai-responses", "openai-completions"),
    "anthropic": ("anthropic-messages",),
    "google": ("google-generate",),
}
_PATHS = {
    "openai-chat": "/chat/completions",
    "openai-completions": "/completions",
    "openai-responses": "/responses",
    "openai-embeddings": "/embeddings",
}
_NOT_PASSED_ON = frozenset({"content-type", "x-farthing-simulated"})
#: The tokens of provisioned units are free.
_FREE = PriceTable(input=0)


def build(
    name: str, settings: ProviderSettings, environ: Mapping[str, str], clock: Clock
) -> Provider:
    """The simulated provider of a settings table; `scenario` names a file or a built-in scenario.

    Raises ConfigError when the scenario is wrong.
    """
    return SimProvider(name, settings, clock)


class SimProvider:
    """All regions of one scenario. Its deployments describe themselves."""

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._scenario = load(settings.scenario or None)
        self.invoice = Invoice()
        self.regions = {
            region: Region(region, self._scenario, clock, self.invoice)
            for region in self._scenario.regions
        }

    def deployments(self) -> tuple[Deployment, ...]:
        """One for each deployment of each region: `sim/small@eastus`, model `sim/small`.

        Provisioned ones rank first; their tokens are free and their hours are paid.
        """
        return tuple(
            self._describe(region_name, region, name, table)
            for region_name, region in self._scenario.regions.items()
            for name, table in region.deployments.items()
        )

    def dialects(self, deployment: Deployment, kind: Kind) -> tuple[str, ...]:
        """The region's own; embeddings in OpenAI's."""
        region = self._scenario.regions.get(deployment.region or "")
        if region is None or deployment.kind != kind:
            return ()
        if kind == "embed":
            return ("openai-embeddings",) if region.flavour in ("openai", "azure") else ()
        return _CHAT[region.flavour]

    @asynccontextmanager
    async def open(self, attempt: Attempt) -> AsyncIterator[Answer]:
        """Ask the region; see `core.protocols.Provider.open`."""
        region = self.regions[attempt.deployment.region or ""]
        if not region.is_alive or region.scheduled("refused"):
            raise self._placed(_unreachable(was_sent=False), attempt)
        exchange = region.receive(_inbound(attempt, region.table.flavour))
        answer = _Answer(exchange, codec(attempt.dialect), attempt, self._clock)
        try:
            await answer.begin()
            async with aclosing(answer.events):
                yield answer
        except FarthingError as error:
            raise self._placed(error, attempt) from None
        finally:
            exchange.settle(tokens=answer.tokens, is_aborted=True)

    async def models(self) -> tuple[str, ...]:
        """The names of the deployments."""
        return tuple(sorted({d.remote_name for d in self.deployments()}))

    async def aclose(self) -> None:
        """Nothing is open."""

    def _describe(
        self, region_name: str, region: RegionTable, name: str, table: DeploymentTable
    ) -> Deployment:
        model = self._scenario.models[table.model]
        units = table.provisioned
        quota = table.quota
        price = price_of(model)
        if units is not None and table.spillover is None:  # what spills over is paid by token
            free = ModelTable(price=_FREE, source=model.source, date=model.date)
            price = price_of(free)
        return Deployment(
            name=f"{self._name}/{name}@{region_name}",
            provider=self._name,
            model=f"{self._name}/{table.model}",
            remote_name=name,
            kind=model.kind,
            region=region_name,
            price=price,
            context_tokens=model.context_tokens,
            max_output_tokens=model.max_output_tokens,
            capabilities=_capabilities(model),
            is_provisioned=units is not None,
            provisioned_hourly_nanodollars=nanodollars(units.hourly_dollars) if units else 0,
            is_simulated=True,
            tokens_per_minute=quota.tokens_per_minute if quota else None,
            requests_per_minute=(quota.requests_per_minute or None) if quota else None,
            priority=0 if units is not None else 1,
        )

    def _placed(self, error: FarthingError, attempt: Attempt) -> FarthingError:
        error.provider = error.provider or self._name
        error.deployment = error.deployment or attempt.deployment.name
        return error


class _Answer:
    """Plays a script to the gateway, within the attempt's timeouts."""

    def __init__(self, exchange: Exchange, dialect: Codec, attempt: Attempt, clock: Clock) -> None:
        self.head = AnswerHead()
        self.tokens = 0
        self._exchange = exchange
        self._script = exchange.script
        self._dialect = dialect
        self._clock = clock
        self._timeouts: Timeouts = attempt.timeouts
        self._deadline = clock.monotonic() + attempt.timeouts.total_s
        self._tally = Tally()
        self._is_stream = attempt.stream
        self._reader = dialect.reader(want_deltas=attempt.want_deltas) if attempt.stream else None
        self.events: AsyncGenerator[Event] = self._stream() if attempt.stream else self._whole()

    @property
    def tally(self) -> Tally:
        """Right for what was read."""
        return self._tally if self._reader is None else self._reader.tally

    async def begin(self) -> None:
        """Wait for the head. Raises the UpstreamError tree for faults, refusals and silence."""
        script = self._script
        try:
            await self._sleep(script.head_wait_s, self._timeouts.first_byte_s)
        finally:
            # Whoever leaves now leaves a half-generated answer.
            self.tokens = 0 if script.is_stream else self._exchange.generated()
        if script.before == "hold":
            await self._sleep(float("inf"), self._timeouts.first_byte_s)
        if script.before != "send":
            raise _unreachable(was_sent=True)
        headers = dict(script.headers)
        if script.status >= 400:
            raise self._dialect.decode_error(script.status, headers, script.body)
        kind = headers.get("content-type", "").partition(";")[0]
        expected = "text/event-stream" if self._is_stream else "application/json"
        if kind != expected or "content-encoding" in headers:
            self._settle()
            raise UpstreamProtocolError(
                f"The simulated region answered with '{kind}', not {expected}."
            )
        request_id = next((v for k, v in script.headers if k.endswith("request-id")), None)
        # The type of the body and the mark of simulation are the face's to state, not the provider's.
        kept = tuple(h for h in script.headers if h[0] not in _NOT_PASSED_ON)
        self.head = AnswerHead(status=script.status, request_id=request_id, headers=kept)

    async def _whole(self) -> AsyncGenerator[Event]:
        body = b""
        for step in self._script.steps:
            body += await self._take(step)
        self._settle()
        length = self._script.length
        if length is not None and length > len(body):
            raise UpstreamTruncatedError("The simulated answer is shorter than its content-length.")
        body = body if length is None else body[:length]
        if body.startswith(b'{"error":'):
            raise self._dialect.decode_error(500, {}, body)
        self._tally = self._dialect.tally(body)
        yield Event(wire=body, kind=EventKind.WHOLE)

    async def _stream(self) -> AsyncGenerator[Event]:
        assert self._reader is not None
        steps = self._script.steps
        last = max((i for i, step in enumerate(steps) if step.data), default=-1)
        for index, step in enumerate(steps):
            data = await self._take(step)
            if index == last:
                self._settle()
            for event in self._reader.feed(data):
                yield event
        self._settle()
        for event in self._reader.eof():
            yield event

    async def _take(self, step: Step) -> bytes:
        await self._sleep(step.wait_s, self._timeouts.between_bytes_s)
        self.tokens += step.tokens if self._script.is_stream else 0
        if step.act == "send":
            drip = step.pause_s * len(step.data)
            await self._sleep(drip, float("inf"))
            return step.data
        self._settle()
        if step.act == "hold":
            await self._sleep(float("inf"), self._timeouts.between_bytes_s)
        raise UpstreamTruncatedError(
            "The simulated region closed the connection inside the answer."
        )

    def _settle(self) -> None:
        script: Script = self._script
        is_partial = script.is_stream and not self._exchange.bills_all
        self._exchange.settle(tokens=self.tokens if is_partial else None)

    async def _sleep(self, seconds: float, limit_s: float) -> None:
        """Wait, but no longer than the limit and the attempt's total. Raises UpstreamTimeoutError."""
        left = self._deadline - self._clock.monotonic()
        if seconds <= min(limit_s, left):
            if seconds > 0:
                await self._clock.sleep(seconds)
            return
        await self._clock.sleep(min(limit_s, left))
        raise UpstreamTimeoutError(
            f"The simulated region was silent for {min(limit_s, left):g} s.",
            hint="Raise the timeout if the model is known to think that long.",
        )


def _inbound(attempt: Attempt, flavour: Flavour) -> Inbound:
    """The request as it would stand on the wire."""
    headers = {name.lower(): value for name, value in attempt.headers}
    headers.setdefault("x-client-request-id", attempt.call_id)
    query: dict[str, str] = {}
    if flavour == "anthropic":
        path = "/v1/messages"
        headers.setdefault("anthropic-version", "2023-06-01")
    elif flavour == "google":
        method = "streamGenerateContent" if attempt.stream else "generateContent"
        path = f"/v1beta/models/{attempt.deployment.remote_name}:{method}"
        query = {"alt": "sse"} if attempt.stream else {}
    else:
        prefix = "/openai/v1" if flavour == "azure" else "/v1"
        path = prefix + _PATHS[attempt.dialect]
    return Inbound(
        method="POST", path=path, query=query, headers=headers, body=attempt.body, wants_usage=True
    )


def _capabilities(model: ModelTable) -> frozenset[str]:
    if model.kind == "embed":
        return frozenset({"embeddings"})
    found = {"tools", "images", "json_schema", "stream"}
    return frozenset(found | {"reasoning"} if model.is_reasoning else found)


def _unreachable(*, was_sent: bool) -> UpstreamError:
    what = "reset the connection before it answered" if was_sent else "refuses connections"
    error = UpstreamUnreachableError(f"The simulated region {what}.")
    error.was_sent = was_sent
    return error
