"""The built-in policy: ranks by priority, balance by weight, closed breakers first."""

from __future__ import annotations

from collections.abc import Sequence

from farthing.core.calls import Head
from farthing.core.models import Deployment, Offer, Plan, Route


class RankedPolicy:
    """Order the deployments of a route.

    Rank first (`priority`), within a rank the route's strategy. Deployments that rest after a 429 or whose
    breaker is open go to the end, soonest first: when nothing else is left, asking them beats refusing.
    Deployments known to lack something that the request needs are left out.
    """

    def plan(self, head: Head, route: Route, offers: Sequence[Offer], *, draw: float) -> Plan:
        """See `core.protocols.Policy`. Pure."""
        by_name: dict[str, Offer] = {}
        for offer in offers:
            by_name[offer.deployment.name] = offer
        ready: list[Deployment] = []
        later: list[Offer] = []
        for group in route.groups:
            fit: list[Offer] = []
            for deployment in group:
                found = by_name.get(deployment.name)
                if found is None or not can_serve(deployment, head):
                    continue
                (fit if found.is_open and not found.retry_after_s else later).append(found)
            if len(fit) > 1:
                fit = _balanced(route, fit, draw)
            ready += [offer.deployment for offer in fit]
        reason: str = route.strategy
        if later:
            later.sort(key=lambda offer: (not offer.is_open, offer.retry_after_s))
            ready += [offer.deployment for offer in later]
            reason = f"{route.strategy}, {len(later)} resting"
        return Plan(steps=tuple(ready), reason=reason)


def can_serve(deployment: Deployment, head: Head) -> bool:
    """Whether the deployment may serve the request, as far as is known. Unknown counts as yes."""
    if deployment.kind != head.kind:
        return False
    known = deployment.capabilities
    return not known or head.features <= known


def _balanced(route: Route, offers: list[Offer], draw: float) -> list[Offer]:
    if route.strategy == "ordered":
        return offers
    if route.strategy == "least_busy":
        return sorted(offers, key=lambda o: o.in_flight / max(1, o.deployment.weight))
    return _weighted(offers, draw)


def _weighted(offers: list[Offer], draw: float) -> list[Offer]:
    """First by weight, the rest by weight as well: one uniform draw is stretched over all choices."""
    left: list[Offer] = []
    never: list[Offer] = []
    total = 0
    for offer in offers:
        weight = offer.deployment.weight
        total += weight
        (left if weight else never).append(offer)
    ordered: list[Offer] = []
    while len(left) > 1:
        mark = draw * total
        for offer in left:
            weight = offer.deployment.weight
            if mark < weight:
                break
            mark -= weight
        draw = min(mark / weight, 0.999999999)
        total -= weight
        ordered.append(offer)
        left.remove(offer)
    return ordered + left + never
