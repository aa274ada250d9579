"""The door: open a gateway from settings, and send every model call through it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType

import msgspec

from farthing.accounts.accounts import Accounts
from farthing.base.clock import Clock, SystemClock
from farthing.base.config.settings import Settings
from farthing.base.storage import connect
from farthing.base.telemetry.metrics import Metrics
from farthing.core.calls import Caller, CallRecord, Request
from farthing.core.errors import OverloadedError
from farthing.core.protocols import CallSink, Policy
from farthing.gateway import pipeline
from farthing.gateway.breaker import State
from farthing.gateway.cache import AnswerCache
from farthing.gateway.call import Call
from farthing.gateway.idempotency import IdempotencyStore
from farthing.gateway.policy import RankedPolicy
from farthing.gateway.snapshot import Shared, Snapshot
from farthing.providers.catalogue import Catalogue
from farthing.providers.detect import Detected
from farthing.providers.directory import Directory, build_directory

_log = logging.getLogger("farthing.gateway")


class DeploymentHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment is doing. state: `closed` (good), `open`, `half_open`. since_s: unix seconds."""

    deployment: str
    provider: str
    model: str
    region: str | None
    state: State
    in_flight: int
    rests_s: float
    is_simulated: bool
    last_error: str | None = None
    last_error_at_s: float | None = None


class Gateway:
    """Everything that a call passes. Made by `open_gateway`; safe for any number of concurrent calls."""

    def __init__(self, snapshot: Snapshot, metrics: Metrics, environ: Mapping[str, str]) -> None:
        self._snapshot = snapshot
        self._environ = environ
        self._retired: dict[asyncio.Task[None], Snapshot] = {}
        self._is_draining = False
        self.metrics = metrics

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._snapshot.settings

    @property
    def directory(self) -> Directory:
        """What can be called."""
        return self._snapshot.directory

    @property
    def accounts(self) -> Accounts:
        """Keys, budgets, the ledger."""
        return self._snapshot.shared.accounts

    @property
    def clock(self) -> Clock:
        """The gateway's time."""
        return self._snapshot.shared.clock

    @property
    def in_flight(self) -> int:
        """Calls that are running, those that began with earlier settings included."""
        running = self._snapshot.in_flight
        if self._retired:
            running += sum(snapshot.in_flight for snapshot in self._retired.values())
        return running

    async def identify(self, secret: str | None, *, face: str) -> Caller:
        """Who holds this key. Raises AuthenticationError, PermissionDeniedError."""
        return await self.accounts.identify(secret, face=face)

    def open(self, request: Request, caller: Caller) -> OpenCall:
        """Run a call through the pipeline: `async with gateway.open(request, caller) as call`.

        Entering raises any failure before the first content, with nothing sent. Iterate the call for its
        events; leaving the block early cancels the provider's work and settles what was used.
        """
        return OpenCall(self, request, caller)

    def admit(self) -> Snapshot:
        """The generation of settings that a new call works with. Raises OverloadedError."""
        snapshot = self._snapshot
        if self._is_draining:
            raise OverloadedError(
                "This gateway is shutting down.", hint="Send the call again.", retry_after_s=1.0
            )
        running = self.in_flight if self._retired else snapshot.in_flight
        if running >= snapshot.settings.server.max_concurrent_calls:
            raise OverloadedError(
                f"{running} calls are running, which is this gateway's limit.",
                hint="Send the call again shortly, or raise server.max_concurrent_calls.",
                retry_after_s=1.0,
            )
        return snapshot

    def health(self) -> list[DeploymentHealth]:
        """Every deployment's state, by name."""
        snapshot = self._snapshot
        rows = []
        for name, deployment in sorted(snapshot.directory.deployments.items()):
            breaker = snapshot.breaker(name)
            rows.append(
                DeploymentHealth(
                    deployment=name,
                    provider=deployment.provider,
                    model=deployment.model,
                    region=deployment.region,
                    state=breaker.state,
                    in_flight=breaker.in_flight,
                    rests_s=round(breaker.rest_s, 3),
                    is_simulated=deployment.is_simulated,
                    last_error=breaker.last_error,
                    last_error_at_s=breaker.last_error_at_s,
                )
            )
        return rows

    async def reload(self, settings: Settings) -> None:
        """Put new settings in force. Calls under way end with the old ones. Raises ConfigError."""
        old = self._snapshot
        directory = build_directory(
            settings,
            catalogue=old.directory.catalogue,
            clock=self.clock,
            environ=self._environ,
            detected=old.directory.detected,
        )
        directory.providers.make(settings.providers)
        await self.accounts.configure(settings)
        self.accounts.charge_provisioned(directory.deployments.values())
        old.shared.cache.configure(settings.cache)
        for breaker in old.shared.breakers.values():
            breaker.configure(settings.breaker)
        self._snapshot = Snapshot(settings, directory, old.policy, old.shared)
        task = asyncio.create_task(_retire(old))
        self._retired[task] = old
        task.add_done_callback(self._retired.pop)

    def drain(self) -> None:
        """Refuse new calls from now on; those under way go on."""
        self._is_draining = True

    async def aclose(self, grace_s: float = 0.0) -> None:
        """Refuse new calls, wait up to `grace_s` for those under way, close the providers."""
        self.drain()
        deadline = self.clock.monotonic() + grace_s
        while self.in_flight and self.clock.monotonic() < deadline:
            await self.clock.sleep(0.02)
        retired = dict(self._retired)
        for task in retired:
            task.cancel()
        for snapshot in (*retired.values(), self._snapshot):
            await snapshot.directory.aclose()


class OpenCall:
    """One call through the pipeline, as a context that is left exactly once. See `Gateway.open`.

    Written out rather than as a generator: a generator's two context managers cost a call several
    microseconds.
    """

    __slots__ = ("_call", "_caller", "_gateway", "_request")

    def __init__(self, gateway: Gateway, request: Request, caller: Caller) -> None:
        self._gateway = gateway
        self._request = request
        self._caller = caller
        self._call: Call | None = None

    @property
    def record(self) -> CallRecord | None:
        """What is kept of the call, also when entering raised; None: it was not admitted."""
        return None if self._call is None else self._call.record

    async def __aenter__(self) -> Call:
        snapshot = self._gateway.admit()
        self._call = call = Call(snapshot, self._request, self._caller)
        snapshot.in_flight += 1
        try:
            await pipeline.begin(call)
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return call

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        call = self._call
        assert call is not None, "it was entered"
        try:
            await pipeline.end(call, error)
        finally:
            call.snapshot.in_flight -= 1


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    *,
    environ: Mapping[str, str],
    clock: Clock | None = None,
    detected: Sequence[Detected] = (),
    sinks: Sequence[CallSink] = (),
    policy: Policy | None = None,
    catalogue: Catalogue | None = None,
    exclusive: bool = True,
) -> AsyncIterator[Gateway]:
    """Put a gateway together: database, accounts, catalogue, providers, pipeline; and take it apart.

    exclusive: own the SQLite database, as a serving process must. Raises ConfigError, StorageError.
    """
    clock = clock or SystemClock()
    metrics = Metrics(settings.telemetry)
    database = connect(settings.storage, durability=settings.ledger.durability, exclusive=exclusive)
    await database.open()
    try:
        accounts = Accounts(database, settings, clock=clock, environ=environ, metrics=metrics)
        await accounts.open()
        directory = build_directory(
            settings,
            catalogue=catalogue or Catalogue.load(),
            clock=clock,
            environ=environ,
            detected=detected,
        )
        accounts.charge_provisioned(directory.deployments.values())
        shared = Shared(
            accounts=accounts,
            clock=clock,
            cache=AnswerCache(settings.cache, clock),
            idempotency=IdempotencyStore(clock),
            sinks=(metrics, *sinks),
            breakers={},
        )
        gateway = Gateway(
            Snapshot(settings, directory, policy or RankedPolicy(), shared), metrics, environ
        )
        try:
            yield gateway
        finally:
            await gateway.aclose()
            await accounts.aclose()
    finally:
        await database.close()


async def _retire(snapshot: Snapshot) -> None:
    """Close an old generation's providers once its last call is over."""
    while snapshot.in_flight:
        await snapshot.shared.clock.sleep(0.1)
    await snapshot.directory.aclose()
