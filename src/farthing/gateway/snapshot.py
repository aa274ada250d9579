"""What a call works with: the settings of its moment, and the state that outlives them."""

from __future__ import annotations

import logging

import msgspec

from farthing.accounts.accounts import Accounts
from farthing.base.clock import Clock
from farthing.base.config.settings import Settings
from farthing.core.calls import CallRecord
from farthing.core.models import Deployment, Route, Timeouts
from farthing.core.protocols import CallSink, Policy
from farthing.gateway.billing import Terms
from farthing.gateway.breaker import Breaker
from farthing.gateway.cache import AnswerCache
from farthing.gateway.idempotency import IdempotencyStore
from farthing.gateway.retry import RetryBudget
from farthing.providers.directory import Directory

#: Beyond this many, what was worked out for names that no setting has is dropped: callers may name any
#: model of a provider.
MAX_NAMES = 5000

_log = logging.getLogger("farthing.gateway")


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """State that a reload keeps: money, cache, breakers."""

    accounts: Accounts
    clock: Clock
    cache: AnswerCache
    idempotency: IdempotencyStore
    sinks: tuple[CallSink, ...]
    breakers: dict[str, Breaker]


class Place(msgspec.Struct, frozen=True, eq=False):
    """A deployment as calls meet it. terms: one object for all deployments of the same price and limits."""

    deployment: Deployment
    breaker: Breaker
    terms: Terms
    timeouts: Timeouts


class Lineup(msgspec.Struct, frozen=True, kw_only=True):
    """What serves a route: its own places, then those of its fallbacks, breadth first, each route once.

    least_context_tokens: the smallest context among them, None when none is known. is_priced: each call
    of any of them can be counted.
    """

    route: Route
    ranks: tuple[tuple[Route, tuple[Place, ...]], ...]
    least_context_tokens: int | None
    is_priced: bool


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
        self._lineups: dict[str, Lineup] = {}
        self._places: dict[str, Place] = {}
        self._terms: list[Terms] = []

    def lineup(self, route: Route) -> Lineup:
        """What serves the route. Raises UnknownModelError for a fallback that there is not."""
        found = self._lineups.get(route.name)
        if found is None or found.route is not route:
            if len(self._lineups) >= MAX_NAMES:
                self._lineups.clear()
            found = self._lineups[route.name] = self._line_up(route)
        return found

    def place(self, deployment: Deployment) -> Place:
        """The deployment with its breaker, which lives on through reloads, and its terms."""
        found = self._places.get(deployment.name)
        if found is None or found.deployment is not deployment:
            if len(self._places) >= MAX_NAMES:
                self._forget_names()
            found = self._places[deployment.name] = Place(
                deployment,
                self.breaker(deployment.name),
                self._terms_of(deployment),
                deployment.timeouts or self.timeouts,
            )
        return found

    def breaker(self, deployment: str) -> Breaker:
        """The deployment's breaker; it lives on through reloads."""
        breakers = self.shared.breakers
        found = breakers.get(deployment)
        if found is None:
            if len(breakers) >= MAX_NAMES:
                self._forget_names()
            found = breakers[deployment] = Breaker(self.settings.breaker, self.shared.clock)
        return found

    def report(self, record: CallRecord) -> None:
        """Hand the record to every sink. A sink that fails loses its line, the call is not harmed."""
        for sink in self.shared.sinks:
            try:
                sink.record(record)
            except Exception:  # border: a plug-in sink must not break a settled call
                _log.exception(
                    "A sink of call records failed; call %s is settled all the same.",
                    record.call_id,
                )

    # --- private ---

    def _line_up(self, first: Route) -> Lineup:
        routes, names = [first], {first.name}
        for route in routes:
            for name in route.fallbacks:
                fallback = self.directory.route(name)
                if fallback.name not in names:
                    names.add(fallback.name)
                    routes.append(fallback)
        ranks = tuple(
            (route, tuple(self.place(d) for group in route.groups for d in group))
            for route in routes
        )
        deployments = [place.deployment for _, places in ranks for place in places]
        contexts = [d.context_tokens for d in deployments if d.context_tokens is not None]
        counts_unknown = self.settings.ledger.unknown_price == "zero_and_warn"
        return Lineup(
            route=first,
            ranks=ranks,
            least_context_tokens=min(contexts, default=None),
            is_priced=counts_unknown or all(map(can_be_priced, deployments)),
        )

    def _terms_of(self, deployment: Deployment) -> Terms:
        made = Terms(deployment)
        for known in self._terms:
            if known.are(made):
                return known
        self._terms.append(made)
        return made

    def _forget_names(self) -> None:
        """Let go of what no setting names and no call uses; a place keeps its breaker, so both go."""
        kept = self.directory.deployments
        for name, breaker in list(self.shared.breakers.items()):
            if name not in kept and not breaker.in_flight:
                del self.shared.breakers[name]
        self._places.clear()
        self._lineups.clear()
        self._terms.clear()


def can_be_priced(deployment: Deployment) -> bool:
    """Whether it is known what its calls cost."""
    return deployment.price is not None or deployment.is_provisioned
