"""A failing deployment leaves rotation at once and comes back by one probe."""

from farthing.base.clock import FakeClock
from farthing.base.config.settings import Breaker as BreakerSettings
from farthing.gateway.breaker import Breaker


def breaker(clock: FakeClock, **settings: float) -> Breaker:
    return Breaker(BreakerSettings(**{"failures": 1, "open_s": 5.0, **settings}), clock)


async def test_the_first_failure_opens_it() -> None:
    b = breaker(FakeClock())
    b.fail("upstream_unreachable")
    assert b.state == "open"
    assert not b.admits


async def test_after_its_time_one_probe_is_let_through_and_no_second() -> None:
    clock = FakeClock()
    b = breaker(clock)
    b.fail("upstream_unreachable")
    await clock.advance(5.0)
    assert b.state == "half_open"
    assert b.admits
    b.start()
    assert not b.admits
    b.leave(was_probe=True)
    assert b.admits


async def test_a_good_probe_closes_it() -> None:
    clock = FakeClock()
    b = breaker(clock)
    b.fail("upstream_timeout")
    await clock.advance(5.0)
    b.start()
    b.succeed()
    b.leave(was_probe=True)
    assert b.state == "closed"


async def test_each_failed_probe_doubles_the_time_up_to_the_longest() -> None:
    clock = FakeClock()
    b = breaker(clock, max_open_s=12.0)
    b.fail("x")
    for expected in (10.0, 12.0, 12.0):
        await clock.advance(100.0)
        assert b.state == "half_open"
        b.fail("x")
        await clock.advance(expected - 0.01)
        assert b.state == "open"


async def test_failures_must_be_in_a_row() -> None:
    b = breaker(FakeClock(), failures=2)
    b.fail("x")
    b.succeed()
    b.fail("x")
    assert b.state == "closed"
    b.fail("x")
    assert b.state == "open"


async def test_a_429_rests_the_deployment_and_is_no_failure() -> None:
    clock = FakeClock()
    b = breaker(clock)
    b.rest(3.0, "upstream_rate_limited")
    assert b.state == "closed"
    assert b.rest_s == 3.0
    await clock.advance(3.0)
    assert b.rest_s == 0.0
    assert b.last_error == "upstream_rate_limited"


async def test_calls_that_fail_together_open_it_once() -> None:
    clock = FakeClock()
    b = breaker(clock)
    for _ in range(50):
        b.start()
    for _ in range(50):
        b.fail("upstream_unreachable")
        b.leave(was_probe=True)
    await clock.advance(5.0)
    assert b.state == "half_open"


async def test_new_settings_hold_from_the_next_failure_on() -> None:
    clock = FakeClock()
    b = breaker(clock)
    b.configure(BreakerSettings(failures=2))
    b.fail("x")
    assert b.state == "closed"
