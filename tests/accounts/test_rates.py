"""Rates: over any span no more than burst and rate, whoever asks; a refusal costs nothing and says how long."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.accounts import rates
from farthing.accounts.budgets import Budget
from farthing.accounts.rates import Rates
from farthing.base.clock import FakeClock
from farthing.base.config.settings import Rate, Settings
from farthing.base.storage.board import Board
from farthing.core.errors import BudgetExceededError, RateLimitedError
from farthing.core.usage import Usage
from tests.accounts.books import ALICE, Books, books, record_of

BOB = msgspec.structs.replace(ALICE, key_id="key_2", name="bob", team="blue")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Postgres the rates' board is in the project's folder."""
    monkeypatch.chdir(tmp_path)


def ruled(**rate: object) -> Settings:
    return Settings(rates={"r": Rate(**rate)})  # type: ignore[arg-type]


async def end_with(b: Books, call: object, tokens: int) -> None:
    """Settle a call that used so many tokens."""
    record = record_of(call, 0)  # type: ignore[arg-type]
    attempt = msgspec.structs.replace(record.attempts[0], usage=Usage(input_tokens=tokens))
    record = msgspec.structs.replace(record, attempts=(attempt,))
    await b.accounts.settle(call, record)  # type: ignore[arg-type]


async def test_a_refusal_names_the_rate_and_the_exact_wait(url: str) -> None:
    async with books(url, settings=ruled(requests_per_minute=60, burst_s=2)) as b:
        await b.begin(0)
        await b.begin(0)
        with pytest.raises(
            RateLimitedError, match=r"Rate 'r' \(60 requests per minute\)"
        ) as caught:
            await b.begin(0)
        assert caught.value.retry_after_s == pytest.approx(1.0, abs=1e-5)
        assert "[rates.r]" in (caught.value.hint or "")
        await b.clock.advance(caught.value.retry_after_s or 0)
        await b.begin(0)
        with pytest.raises(RateLimitedError):
            await b.begin(0)


async def test_tokens_are_taken_by_estimate_and_corrected_by_usage_both_ways(url: str) -> None:
    async with books(url, settings=ruled(tokens_per_minute=1_000)) as b:
        first = await b.accounts.reserve(b.wish(0, tokens=900))
        with pytest.raises(RateLimitedError):
            await b.accounts.reserve(b.wish(0, tokens=200))
        await end_with(b, first, 100)
        second = await b.accounts.reserve(b.wish(0, tokens=900))
        await end_with(b, second, 1_100)
        with pytest.raises(RateLimitedError) as caught:
            await b.accounts.reserve(b.wish(0, tokens=100))
        assert caught.value.retry_after_s == pytest.approx(18.0, abs=1e-3)  # 300 tokens too many


async def test_a_call_that_was_never_sent_gives_back_all_it_took(url: str) -> None:
    async with books(url, settings=ruled(requests_per_minute=1, tokens_per_minute=10)) as b:
        call = await b.accounts.reserve(b.wish(0, tokens=10))
        await b.accounts.release(call)
        await b.accounts.reserve(b.wish(0, tokens=10))


async def test_a_refused_call_takes_and_holds_nothing(url: str) -> None:
    limits = ruled(requests_per_minute=2, tokens_per_minute=100)
    async with books(url, settings=limits) as b:
        await b.accounts.set_budget(Budget(name="b", nanodollars=10, window="total"))
        for _ in range(3):
            with pytest.raises(RateLimitedError):
                await b.accounts.reserve(b.wish(1, tokens=101))
            with pytest.raises(BudgetExceededError):
                await b.accounts.reserve(b.wish(11, tokens=100))
        await b.accounts.reserve(b.wish(10, tokens=100))
        assert await b.left("b") == (0, 10, 0)


async def test_a_call_that_could_never_pass_is_told_so_and_not_to_wait(url: str) -> None:
    async with books(url, settings=ruled(tokens_per_minute=600, burst_s=6)) as b:
        with pytest.raises(RateLimitedError, match="at most 60 tokens pass at once") as caught:
            await b.accounts.reserve(b.wish(0, tokens=61))
        assert caught.value.retry_after_s is None
        assert not caught.value.retryable
        assert "max_tokens" in (caught.value.hint or "")


async def test_a_rate_counts_only_the_calls_that_it_is_for(url: str) -> None:
    async with books(url, settings=ruled(requests_per_minute=1, team="red")) as b:
        await b.begin(0, caller=ALICE)
        for _ in range(5):
            await b.begin(0, caller=BOB)
        with pytest.raises(RateLimitedError):
            await b.begin(0, caller=ALICE)


async def test_new_settings_bind_at_the_next_call(url: str) -> None:
    async with books(url) as b:
        await b.begin(0)
        await b.accounts.configure(ruled(requests_per_minute=1))
        await b.begin(0)
        with pytest.raises(RateLimitedError):
            await b.begin(0)
        await b.accounts.configure(Settings())
        await b.begin(0)


async def test_a_clock_that_is_set_back_does_not_close_the_door_for_long(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'f.db'}"
    limits = ruled(requests_per_minute=60, burst_s=1)
    async with books(url, FakeClock(start=1_800_086_400.0), limits) as b:
        await b.begin(0)
    async with books(url, FakeClock(start=1_800_000_000.0, seed=1), limits) as b:
        with pytest.raises(RateLimitedError) as caught:
            await b.begin(0)
        assert (caught.value.retry_after_s or 0) <= 1.0
        await b.clock.advance(1.0)
        await b.begin(0)


async def test_two_processes_share_one_rate_exactly(tmp_path: Path) -> None:
    url, limits = f"sqlite:{tmp_path / 'f.db'}", ruled(requests_per_minute=50)
    async with AsyncExitStack() as stack:
        pair = [
            await stack.enter_async_context(books(url, FakeClock(seed=n), limits)) for n in (1, 2)
        ]
        wishes = [pair[n % 2].begin(0) for n in range(120)]
        found = await asyncio.gather(*wishes, return_exceptions=True)
        refused = [each for each in found if isinstance(each, RateLimitedError)]
        assert len(refused) == 70


STEPS = st.lists(
    st.tuples(
        st.integers(0, 20_000),  # milliseconds before it
        st.integers(1, 120),  # tokens by estimate
        st.integers(0, 120),  # tokens used, at most the estimate
        st.integers(0, 12),  # calls later it is settled
        st.integers(0, 1),  # which process
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=80)
@given(STEPS, st.integers(30, 600), st.sampled_from([1.0, 7.5, 60.0]))
def test_over_any_span_no_more_than_burst_and_rate_is_used(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, int, int, int, int]],
    per_minute: int,
    burst_s: float,
) -> None:
    """Two boards on one file, as two processes have; calls end in any order and use less than they took."""
    place = tmp_path_factory.mktemp("law") / "b"
    boards = [Board(place, nonce=n) for n in (1, 2)]
    limits = []
    for board in boards:
        board.open(timeout_s=1.0)
        limits.append(
            Rates({"r": Rate(tokens_per_minute=per_minute, burst_s=burst_s)}).place(board)
        )
    now_ns, open_calls = 1_800_000_000 * 10**9, []
    used: list[tuple[int, int]] = []
    for number, (pause_ms, estimate, use, later, which) in enumerate(steps):
        now_ns += pause_ms * 10**6
        words = boards[which].words
        for _, charges, tokens in [c for c in open_calls if c[0] <= number]:
            rates.correct(words, charges, tokens=tokens, now_ns=now_ns)
        open_calls = [c for c in open_calls if c[0] > number]
        try:
            charges = rates.ask(words, limits[which], tokens=estimate, now_ns=now_ns)
        except RateLimitedError:
            continue
        rates.take(words, charges)
        tokens = min(use, estimate)
        open_calls.append((number + 1 + later, charges, tokens))
        used.append((now_ns, tokens))
    burst = max(burst_s * per_minute / 60, 1)
    for first in range(len(used)):
        total = 0
        for at_ns, tokens in used[first:]:
            total += tokens
            assert total <= burst + per_minute * (at_ns - used[first][0]) / 60e9 + 1e-6
    for board in boards:
        board.close()


async def test_what_has_passed_already_is_not_given_back(tmp_path: Path) -> None:
    """A long call that used nothing would otherwise let two bursts pass at once when it ends."""
    async with books(f"sqlite:{tmp_path / 'f.db'}", settings=ruled(tokens_per_minute=60)) as b:
        long = await b.accounts.reserve(b.wish(0, tokens=60))
        await b.clock.advance(60)
        await b.accounts.reserve(b.wish(0, tokens=60))
        await end_with(b, long, 0)
        with pytest.raises(RateLimitedError):
            await b.accounts.reserve(b.wish(0, tokens=1))


async def test_a_rate_on_postgres_is_common_to_the_processes_of_this_host(
    postgres_url: str,
) -> None:
    limits = ruled(requests_per_minute=10)
    async with (
        books(postgres_url, FakeClock(seed=1), limits) as one,
        books(postgres_url, FakeClock(seed=2), limits) as two,
    ):
        wishes = [(one, two)[n % 2].begin(0) for n in range(30)]
        found = await asyncio.gather(*wishes, return_exceptions=True)
        assert sum(isinstance(each, RateLimitedError) for each in found) == 20
