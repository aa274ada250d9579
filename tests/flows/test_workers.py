"""The threads of flows: what a call is worth when its caller leaves, its loop ends or the threads are closed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from farthing.flows.engine.workers import Workers


@pytest.fixture
def freed() -> Iterator[threading.Event]:
    """What functions here wait for; set at the end in any case."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def one() -> Iterator[Workers]:
    """A single thread."""
    workers = Workers(1, name="one")
    yield workers
    workers.close()


async def test_a_call_gives_what_the_function_returns_and_raises_what_it_raises(
    one: Workers,
) -> None:
    assert await one.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await one.call(divmod, 7, 0)
    with pytest.raises(SystemExit):
        await one.call(sys.exit, 3)


async def test_a_call_that_was_given_up_before_its_turn_is_never_begun(
    one: Workers, freed: threading.Event
) -> None:
    begun: list[str] = []
    first = asyncio.create_task(one.call(freed.wait))
    second = asyncio.create_task(one.call(begun.append, "second"))
    await asyncio.sleep(0)
    second.cancel()
    freed.set()
    await first
    await one.call(begun.append, "third")
    assert begun == ["third"]


async def test_another_thread_has_the_place_of_one_that_hangs_until_it_returns(
    one: Workers, freed: threading.Event
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await one.call(freed.wait)
    async with asyncio.timeout(30):
        hanging = threading.active_count()
        assert await one.call(threading.active_count) == hanging + 1
        freed.set()
        while threading.active_count() > hanging:  # one of the two has gone
            await one.call(int)


async def test_closed_threads_cancel_what_waits_and_refuse_what_comes(
    one: Workers, freed: threading.Event
) -> None:
    first = asyncio.create_task(one.call(freed.wait))
    second = asyncio.create_task(one.call(int))
    await asyncio.sleep(0)
    one.close()
    with pytest.raises(asyncio.CancelledError):
        await second
    with pytest.raises(RuntimeError, match="closed"):
        await one.call(int)
    freed.set()
    assert await first is True


def test_each_loop_hears_of_its_own_calls(one: Workers) -> None:
    async def heard() -> int:
        loop, own = asyncio.get_running_loop(), threading.get_ident()

        def elsewhere() -> bool:
            return threading.get_ident() != own

        for _ in range(200):
            assert await one.call(elsewhere)
            assert asyncio.get_running_loop() is loop
        return 200

    def run() -> None:
        counts.append(asyncio.run(heard()))

    counts: list[int] = []
    loops = [threading.Thread(target=run) for _ in range(4)]
    for thread in loops:
        thread.start()
    for thread in loops:
        thread.join(60)
    assert counts == [200] * 4
    assert asyncio.run(heard()) == 200  # and those that have ended keep nobody waiting


def test_a_function_that_hangs_does_not_keep_the_program_from_its_end() -> None:
    program = """
import asyncio, time
from farthing.flows.engine.workers import Workers
async def main():
    workers = Workers(2, name="w")
    try:
        await asyncio.wait_for(workers.call(time.sleep, 600), 0.05)
    except TimeoutError:
        workers.close()
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=60, check=False)
    assert done.returncode == 0
