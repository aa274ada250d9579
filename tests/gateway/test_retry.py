"""What may be tried again, where, and how often."""

import pytest

from farthing.base.clock import FakeClock
from farthing.base.config.settings import Retry
from farthing.core.errors import (
    BadRequestError,
    ContentFilteredError,
    FarthingError,
    UntranslatableError,
    UpstreamAuthError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamServerError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from farthing.gateway.retry import (
    FREE_RETRIES_PER_MINUTE,
    RetryBudget,
    is_fault_of_place,
    may_go_elsewhere,
    may_repeat_here,
)


@pytest.mark.parametrize(
    ("error", "elsewhere", "here", "breaks"),
    [
        (UpstreamUnreachableError("x"), True, True, True),
        (UpstreamTimeoutError("x"), True, True, True),
        (UpstreamServerError("x"), True, True, True),
        (UpstreamRateLimitedError("x"), True, True, False),
        (UpstreamAuthError("x"), True, False, True),
        (UpstreamRejectedError("x", upstream_status=404), True, False, False),
        (
            UpstreamRejectedError("x", upstream_status=404, upstream_code="model_not_found"),
            True,
            False,
            True,
        ),
        (UpstreamRejectedError("x", upstream_status=409), True, False, False),
        (UpstreamRejectedError("x", upstream_status=400), False, False, False),
        (UntranslatableError("x"), True, False, False),
        (ContentFilteredError("x"), False, False, False),
        (BadRequestError("x"), False, False, False),
    ],
)
def test_each_error_says_where_the_call_may_go_on(
    error: FarthingError, elsewhere: bool, here: bool, breaks: bool
) -> None:
    assert may_go_elsewhere(error) is elsewhere
    assert may_repeat_here(error) is here
    assert is_fault_of_place(error) is breaks


async def test_repeats_are_bounded_by_a_share_of_the_first_tries_of_the_last_minute() -> None:
    clock = FakeClock()
    budget = RetryBudget(Retry(budget_ratio=0.5), clock)
    for _ in range(4):
        budget.note_first()
    assert sum(budget.take() for _ in range(100)) == FREE_RETRIES_PER_MINUTE + 2
    await clock.advance(61.0)
    assert budget.take()


def test_a_pause_follows_retry_after_and_gives_up_when_it_is_too_long() -> None:
    budget = RetryBudget(Retry(max_backoff_s=10.0), FakeClock())
    assert budget.pause_s(1, UpstreamRateLimitedError("x", retry_after_s=7.0)) == 7.0
    assert budget.pause_s(1, UpstreamRateLimitedError("x", retry_after_s=11.0)) is None


def test_a_pause_without_retry_after_grows_and_is_jittered_within_its_bound() -> None:
    budget = RetryBudget(Retry(backoff_s=1.0, max_backoff_s=3.0), FakeClock())
    for repeat, full in ((1, 1.0), (2, 2.0), (3, 3.0), (9, 3.0)):
        pause = budget.pause_s(repeat, UpstreamServerError("x"))
        assert pause is not None
        assert full / 2 <= pause <= full


async def test_only_the_last_minute_counts_and_it_takes_no_more_room() -> None:
    clock = FakeClock()
    budget = RetryBudget(Retry(budget_ratio=1.0), clock)
    for _ in range(3_600):
        budget.note_first()
        await clock.advance(1.0)
    allowed = sum(budget.take() for _ in range(1_000))
    assert FREE_RETRIES_PER_MINUTE + 59 <= allowed <= FREE_RETRIES_PER_MINUTE + 60
