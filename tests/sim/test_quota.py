"""Standard quotas: Azure's windows and OpenAI's buckets, as the vendors judge them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from farthing.sim.quota import BucketQuota, WindowQuota
from tests.sim.worlds import body, header, world

WINDOW = 'quota = { semantics = "window", tokens_per_minute = 1000, requests_per_minute = 600 }'
NARROW = 'quota = { semantics = "window", tokens_per_minute = 1000000, requests_per_minute = 600, slice_s = 1 }'


def test_the_admission_charge_is_characters_plus_max_tokens() -> None:
    here = world("azure", WINDOW)
    before = int(header(here.ask("x" * 345, max_tokens=100), "x-ratelimit-remaining-tokens") or 0)
    assert 1000 - before == math.ceil(len("user: " + "x" * 345) / 3.5) + 100


def test_the_admission_charge_is_not_the_billed_count() -> None:
    here = world("azure", WINDOW)
    exchange = here.ask("word " * 40, max_tokens=100)
    charged = 1000 - int(header(exchange, "x-ratelimit-remaining-tokens") or 0)
    assert charged > body(exchange)["usage"]["total_tokens"]


def test_max_tokens_count_once_for_each_of_n_or_best_of() -> None:
    here = world("azure", WINDOW)
    path = "/openai/v1/completions"
    asked = {"model": "small", "prompt": "hello", "max_tokens": 100, "best_of": 3}
    left = int(header(here.send(path, asked), "x-ratelimit-remaining-tokens") or 0)
    assert 1000 - left == math.ceil(5 / 3.5) + 300


def test_the_charge_is_not_refunded_when_the_answer_is_shorter() -> None:
    here = world("azure", WINDOW)
    here.ask(max_tokens=400).settle()
    here.ask(max_tokens=400).settle()
    assert here.ask(max_tokens=400).script.status == 429


async def test_the_token_counter_resets_each_minute() -> None:
    here = world("azure", WINDOW)
    here.ask(max_tokens=900)
    refused = here.ask(max_tokens=900)
    assert refused.script.status == 429
    await here.clock.advance(int(header(refused, "retry-after-ms") or 0) / 1000)
    assert here.ask(max_tokens=900).script.status == 200


async def test_retry_after_leads_just_behind_the_reset_and_not_before() -> None:
    here = world("azure", WINDOW)
    here.ask(max_tokens=900)
    wait = int(header(here.ask(max_tokens=900), "retry-after-ms") or 0) / 1000
    assert 0 < wait <= 60.02
    await here.clock.advance(wait - 0.05)
    assert here.ask(max_tokens=900).script.status == 429


async def test_requests_are_judged_over_slices_of_one_second() -> None:
    here = world("azure", NARROW)
    statuses = [here.ask(max_tokens=1).script.status for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    await here.clock.advance(1.0)
    assert here.ask(max_tokens=1).script.status == 200


def test_requests_are_judged_over_slices_of_ten_seconds() -> None:
    quota = WindowQuota(10**9, 600, phase_s=0.0, slice_s=10)
    admitted = [quota.admit(0.5, 1).is_admitted for _ in range(101)]
    assert admitted == [True] * 100 + [False]
    assert quota.admit(10.0, 1).is_admitted


def test_requests_per_minute_follow_tokens_in_the_proportion_six_to_a_thousand() -> None:
    quota = 'quota = { semantics = "window", tokens_per_minute = 240000, slice_s = 1 }'
    here = world("azure", quota)
    assert header(here.ask(max_tokens=1), "x-ratelimit-limit-requests") == "24"


def test_a_rejected_call_uses_no_request_of_a_window() -> None:
    quota = WindowQuota(100, 60, phase_s=0.0, slice_s=10)
    assert not quota.admit(0.0, 101).is_admitted
    assert quota.room(0.0).remaining_requests == 10


def test_a_rejected_call_still_uses_one_request_of_a_bucket() -> None:
    quota = BucketQuota(100, 60)
    assert not quota.admit(0.0, 101).is_admitted
    assert quota.room(0.0).remaining_requests == 59


def test_a_bucket_says_when_the_deficit_will_be_refilled() -> None:
    quota = BucketQuota(600, 600)
    assert quota.admit(0.0, 600).is_admitted
    wait = quota.admit(0.0, 50).retry_after_s
    assert math.isclose(wait, 5.0)
    assert quota.admit(wait + 1e-9, 50).is_admitted


def test_a_bucket_never_asks_for_less_than_fifty_milliseconds() -> None:
    quota = BucketQuota(60_000, 6000)
    quota.admit(0.0, 60_000)
    assert quota.admit(0.0, 1).retry_after_s == 0.05


def test_every_answer_states_limit_remaining_and_reset_of_tokens_and_requests() -> None:
    for flavour in ("openai", "azure"):
        exchange = world(flavour).ask()
        for word in ("limit", "remaining", "reset"):
            assert header(exchange, f"x-ratelimit-{word}-tokens")
            assert header(exchange, f"x-ratelimit-{word}-requests")


def test_a_refusal_states_retry_after_in_seconds_and_milliseconds() -> None:
    here = world("azure", WINDOW)
    refused = here.ask(max_tokens=2000)
    assert int(header(refused, "retry-after") or 0) >= 1
    assert int(header(refused, "retry-after-ms") or 0) >= 1
    assert body(refused)["error"]["code"] == "429"


def test_a_temporary_reduction_shows_a_limit_below_the_configured_one() -> None:
    quota = 'quota = { semantics = "window", tokens_per_minute = 1000, reduced_to = 0.3 }'
    here = world("azure", quota)
    assert header(here.ask(max_tokens=1), "x-ratelimit-limit-tokens") == "300"
    assert here.ask(max_tokens=500).script.status == 429


def test_high_demand_refuses_far_below_the_quota() -> None:
    here = world("azure", WINDOW)
    here.region.places["small"].is_at_capacity = True
    refused = here.ask(max_tokens=1)
    assert refused.script.status == 429
    assert "high demand" in body(refused)["error"]["message"]
    assert header(refused, "x-ratelimit-remaining-tokens") == "1000"


def test_quota_that_is_not_allocated_to_the_deployment_refuses() -> None:
    here = world("azure", WINDOW + "\nis_allocated = false")
    refused = here.ask(max_tokens=1)
    assert refused.script.status == 429
    assert "allocate" in body(refused)["error"]["message"].lower()


def test_anthropic_states_its_limits_in_its_own_headers() -> None:
    here = world("anthropic")
    exchange = here.ask(max_tokens=10)
    assert header(exchange, "anthropic-ratelimit-tokens-limit") == "1000000"
    assert (header(exchange, "anthropic-ratelimit-requests-reset") or "").endswith("Z")
    assert header(exchange, "x-ratelimit-limit-tokens") is None


def test_google_states_the_delay_inside_the_error_body() -> None:
    here = world("google", WINDOW)
    asked = {
        "contents": [{"parts": [{"text": "x"}]}],
        "generationConfig": {"maxOutputTokens": 2000},
    }
    refused = here.send("/v1beta/models/small:generateContent", asked)
    error = body(refused)["error"]
    assert error["status"] == "RESOURCE_EXHAUSTED"
    assert error["details"][0]["retryDelay"].endswith("s")


CALLS = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 400)), max_size=60)


@given(CALLS, st.floats(0, 60))
def test_a_window_never_admits_more_than_its_limit_between_two_resets(
    calls: list[tuple[float, int]], phase: float
) -> None:
    quota, now, admitted = WindowQuota(1000, 60_000, phase_s=phase), 0.0, dict[int, int]()
    for pause, charge in calls:
        now += pause
        if quota.admit(now, charge).is_admitted:
            window = math.floor((now + phase) / 60)
            admitted[window] = admitted.get(window, 0) + charge
    assert all(total <= 1000 for total in admitted.values())


@given(CALLS)
def test_a_bucket_never_exceeds_its_rate_over_any_span(calls: list[tuple[float, int]]) -> None:
    quota, now, taken = BucketQuota(1000, 60_000), 0.0, list[tuple[float, int]]()
    for pause, charge in calls:
        now += pause
        if quota.admit(now, charge).is_admitted:
            taken.append((now, charge))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            span = taken[last][0] - taken[first][0]
            total = sum(charge for _, charge in taken[first : last + 1])
            assert total <= 1000 + span * 1000 / 60 + 1e-6
