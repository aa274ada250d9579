"""What a call works with: the settings of its moment, and the state that outlives them."""

from __future__ import annotations

import logging

import msgspec

from farthing.accounts.accounts import Accounts
from farthing.base.clock import Clock
from farthing.base.config.settings import Settings
from farthing.core.calls import CallRecord
from farthing.core.models import Deployment, Timeouts
from farthing.core.protocols import CallSink, Policy
from farthing.gateway.billing import Terms
from farthing.gateway.breaker import Breaker
from farthing.gateway.cache import AnswerCache
from farthing.gateway.idempotency import IdempotencyStore
from farthing.gateway.retry import RetryBudget
from farthing.providers.directory import Directory

#: Beyond this many, breakers of deployments that no setting names are dropped.
MAX_BREAKERS = 5000

_log = logging.getLogger("farthing.gateway")


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """State that a reload keeps: money, cache, breakers."""

    accounts: Accounts
    clock: Clock
    cache: AnswerCache
    idempotency: IdempotencyStore
    sinks: tuple[CallSink, ...]
    breakers: dict[str, Breaker]


class Snapshot:
    """One generation of settings with the directory built from it. A call keeps the one it began with."""

    def __init__(
        self, settings: Settings, directory: Directory, policy: Policy, shared: Shared
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.policy = policy
        self.shared = shared
        self.retry_budget = RetryBudget(settings.retry, shared.clock)
        self.timeouts = Timeouts(
            connect_s=settings.timeouts.connect_s,
            first_byte_s=settings.timeouts.first_byte_s,
            between_bytes_s=settings.timeouts.between_bytes_s,
            total_s=settings.timeouts.total_s,
        )
        self.in_flight = 0
        self._terms: dict[str, Terms] = {}

    def breaker(self, deployment: str) -> Breaker:
        """The deployment's breaker; it lives on through reloads."""
        breakers = self.shared.breakers
        found = breakers.get(deployment)
        if found is None:
            if len(breakers) >= MAX_BREAKERS:
                self._forget_quiet_breakers()
            found = breakers[deployment] = Breaker(self.settings.breaker, self.shared.clock)
        return found

    def terms(self, deployment: Deployment) -> Terms:
        """What the deployment can charge at most."""
        found = self._terms.get(deployment.name)
        if found is None or found.deployment is not deployment:
            if len(self._terms) >= MAX_BREAKERS:
                self._terms.clear()  # callers may name any model of a provider
            found = self._terms[deployment.name] = Terms(deployment)
        return found

    def _forget_quiet_breakers(self) -> None:
        # Callers may name any model of a provider; what such names leave behind must not grow for ever.
        for name, breaker in list(self.shared.breakers.items()):
            if name not in self.directory.deployments and not breaker.in_flight:
                del self.shared.breakers[name]

    def report(self, record: CallRecord) -> None:
        """Hand the record to every sink. A sink that fails loses its line, the call is not harmed."""
        for sink in self.shared.sinks:
            _give(sink, record)


def _give(sink: CallSink, record: CallRecord) -> None:
    try:
        sink.record(record)
    except Exception:  # border: a plug-in sink must not break a call that is already settled
        _log.exception(
            "A sink of call records failed; call %s is settled all the same.", record.call_id
        )
