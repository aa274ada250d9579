"""Time stands still until it is moved; ids sort by time."""

import asyncio
import os

import pytest

from farthing.base.clock import FakeClock, SystemClock, ulid


async def test_sleepers_wake_in_order_of_their_time_and_see_it() -> None:
    clock = FakeClock()
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        seen.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper("late", 2.0)), asyncio.create_task(sleeper("early", 1.0))]
    await clock.advance(0.5)
    assert seen == []
    await clock.advance(10.0)
    assert seen == [("early", 1.0), ("late", 2.0)]
    assert clock.monotonic() == 10.5
    await asyncio.gather(*tasks)


async def test_a_sleeper_that_sleeps_again_within_the_span_wakes_again() -> None:
    clock = FakeClock()
    ticks: list[float] = []

    async def ticker() -> None:
        for _ in range(3):
            await clock.sleep(1.0)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(ticker())
    await clock.advance(3.0)
    assert ticks == [1.0, 2.0, 3.0]
    await task


def test_the_same_seed_gives_the_same_randomness_and_ids() -> None:
    a, b = FakeClock(seed=7), FakeClock(seed=7)
    assert [a.random() for _ in range(3)] == [b.random() for _ in range(3)]
    assert a.new_id("call") == b.new_id("call")


def test_ids_sort_by_time_and_have_their_prefix() -> None:
    early, late = ulid(1.0, b"\xff" * 10), ulid(1.01, b"\x00" * 10)
    assert early < late
    assert len(early) == 26
    assert SystemClock().new_id("call").startswith("call_")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_does_not_repeat_its_parents_ids() -> None:
    clock = SystemClock()
    clock.new_id("call")  # more than one are drawn at once
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, clock.new_id("call").encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)
    assert clock.new_id("call")[-16:] != theirs[-16:]
