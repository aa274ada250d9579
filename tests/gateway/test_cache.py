"""The answer cache: exact, bounded, and blind to other tenants. Idempotency keys use the same entries."""

import pytest

from farthing.base.clock import FakeClock
from farthing.base.config.settings import Cache
from farthing.core.calls import Caller, Event, EventKind, Head, Request
from farthing.core.errors import ConflictError
from farthing.gateway.cache import AnswerCache, Cached, cache_key
from farthing.gateway.idempotency import KEPT_S, IdempotencyStore

ANN, BOB = Caller(key_id="ann"), Caller(key_id="bob")


def request(body: bytes = b"{}", model: str = "m", *, stream: bool = False) -> Request:
    return Request(dialect="openai-chat", body=body, head=Head(model=model, stream=stream))


def answer(size: int = 100, *, at: float = 0.0) -> Cached:
    return Cached(
        events=(Event(wire=b"x" * size, kind=EventKind.WHOLE),),
        model="m",
        deployment="d",
        provider="p",
        is_simulated=False,
        stored_at_s=at,
    )


def test_the_key_changes_with_tenant_body_model_stream_and_headers() -> None:
    base = cache_key(request(), ANN)
    assert cache_key(request(), ANN) == base
    with_header = Request(
        dialect="openai-chat", body=b"{}", head=Head(model="m"), headers=(("anthropic-beta", "x"),)
    )
    others = [
        cache_key(request(), BOB),
        cache_key(request(b"{ }"), ANN),
        cache_key(request(model="n"), ANN),
        cache_key(request(stream=True), ANN),
        cache_key(with_header, ANN),
    ]
    assert len({base, *others}) == 6


def test_members_of_a_team_share_and_a_key_named_like_a_team_does_not() -> None:
    team = Caller(key_id="ann", team="sales")
    assert cache_key(request(), team) == cache_key(request(), Caller(key_id="x", team="sales"))
    assert cache_key(request(), team) != cache_key(request(), Caller(key_id="sales"))


async def test_entries_expire() -> None:
    clock = FakeClock()
    cache = AnswerCache(Cache(ttl_s=60.0), clock)
    cache.put(b"k", answer(at=clock.now()))
    assert cache.get(b"k") is not None
    await clock.advance(61.0)
    assert cache.get(b"k") is None
    assert cache.size_bytes == 0


def test_the_least_recently_used_goes_when_memory_is_full() -> None:
    clock = FakeClock()
    cache = AnswerCache(Cache(max_mb=1, max_entry_kb=512), clock)
    big = 300 * 1024
    for key in (b"a", b"b", b"c"):
        cache.put(key, answer(big, at=clock.now()))
    assert cache.get(b"a") is not None
    cache.put(b"d", answer(big, at=clock.now()))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    assert cache.size_bytes <= 1024 * 1024


def test_an_answer_over_the_entry_bound_is_not_kept() -> None:
    cache = AnswerCache(Cache(max_entry_kb=1), FakeClock())
    cache.put(b"k", answer(2000))
    assert len(cache) == 0


def test_the_same_idempotency_key_replays_the_first_answer() -> None:
    store = IdempotencyStore(FakeClock(start=0.0))
    assert store.begin("ann", "k", b"f") is None
    store.finish("ann", "k", answer())
    assert store.begin("ann", "k", b"f") == answer()
    assert store.begin("bob", "k", b"f") is None


def test_a_running_first_request_and_another_request_conflict() -> None:
    store = IdempotencyStore(FakeClock(start=0.0))
    store.begin("ann", "k", b"f")
    with pytest.raises(ConflictError, match="still running"):
        store.begin("ann", "k", b"f")
    with pytest.raises(ConflictError, match="different request"):
        store.begin("ann", "k", b"g")
    store.finish("ann", "k", answer())
    with pytest.raises(ConflictError, match="different request"):
        store.begin("ann", "k", b"g")


def test_a_failed_first_request_frees_the_key() -> None:
    store = IdempotencyStore(FakeClock())
    store.begin("ann", "k", b"f")
    store.finish("ann", "k", None)
    assert store.begin("ann", "k", b"f") is None


async def test_idempotent_answers_are_forgotten_after_their_time() -> None:
    clock = FakeClock(start=0.0)
    store = IdempotencyStore(clock)
    store.begin("ann", "k", b"f")
    store.finish("ann", "k", answer())
    await clock.advance(KEPT_S + 1)
    assert store.begin("ann", "k", b"f") is None
