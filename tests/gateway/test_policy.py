"""The plan: rank, then weight; what rests or is broken comes last; what cannot serve is left out."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from farthing.core.calls import Head
from farthing.core.models import Deployment, Offer, Route
from farthing.gateway.policy import RankedPolicy

HEAD = Head(model="m")


def deployment(name: str, *, weight: int = 1, features: frozenset[str] = frozenset()) -> Deployment:
    return Deployment(
        name=name,
        provider="p",
        model="m",
        remote_name=name,
        weight=weight,
        capabilities=features,
    )


def plan(route: Route, offers: list[Offer], head: Head = HEAD, draw: float = 0.0) -> list[str]:
    return [d.name for d in RankedPolicy().plan(head, route, offers, draw=draw).steps]


def test_ranks_are_kept_whatever_the_draw() -> None:
    a, b = deployment("a"), deployment("b")
    route = Route(name="m", groups=((a,), (b,)))
    for draw in (0.0, 0.5, 0.99):
        assert plan(route, [Offer(deployment=b), Offer(deployment=a)], draw=draw) == ["a", "b"]


def test_weights_share_the_first_place_in_proportion() -> None:
    a, b = deployment("a", weight=3), deployment("b", weight=1)
    route = Route(name="m", groups=((a, b),))
    offers = [Offer(deployment=a), Offer(deployment=b)]
    firsts = Counter(plan(route, offers, draw=i / 1000)[0] for i in range(1000))
    assert firsts == {"a": 750, "b": 250}


def test_weight_zero_serves_only_when_nothing_else_is_left() -> None:
    a, b = deployment("a", weight=0), deployment("b")
    route = Route(name="m", groups=((a, b),))
    assert plan(route, [Offer(deployment=a), Offer(deployment=b)], draw=0.0) == ["b", "a"]


def test_open_breakers_and_rests_come_last_soonest_first() -> None:
    a, b, c = deployment("a"), deployment("b"), deployment("c")
    route = Route(name="m", groups=((a, b, c),), strategy="ordered")
    offers = [
        Offer(deployment=a, is_open=False),
        Offer(deployment=b, retry_after_s=2.0),
        Offer(deployment=c),
    ]
    assert plan(route, offers) == ["c", "b", "a"]


def test_least_busy_counts_calls_per_weight() -> None:
    a, b = deployment("a", weight=4), deployment("b")
    route = Route(name="m", groups=((a, b),), strategy="least_busy")
    offers = [Offer(deployment=a, in_flight=3), Offer(deployment=b, in_flight=1)]
    assert plan(route, offers) == ["a", "b"]


def test_a_deployment_that_lacks_a_needed_feature_is_left_out_and_unknown_is_trusted() -> None:
    blind = deployment("blind", features=frozenset({"tools"}))
    unknown = deployment("unknown")
    route = Route(name="m", groups=((blind, unknown),))
    head = Head(model="m", features=frozenset({"images"}))
    assert plan(route, [Offer(deployment=blind), Offer(deployment=unknown)], head) == ["unknown"]


@given(
    st.lists(st.integers(min_value=0, max_value=9), min_size=1, max_size=6),
    st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_every_deployment_stands_in_the_plan_once(weights: list[int], draw: float) -> None:
    deployments = [deployment(f"d{i}", weight=w) for i, w in enumerate(weights)]
    route = Route(name="m", groups=(tuple(deployments),))
    steps = plan(route, [Offer(deployment=d) for d in deployments], draw=draw)
    assert sorted(steps) == sorted(d.name for d in deployments)
