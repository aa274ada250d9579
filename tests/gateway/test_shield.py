"""Work that must be finished is finished under cancellation, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from farthing.gateway.shield import shielded


class Marker:
    """Something that a waiting frame holds."""


@pytest.fixture
def _without_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_the_work_is_finished_before_the_cancellation_goes_on() -> None:
    gate, done = asyncio.Event(), []

    async def work() -> None:
        await gate.wait()
        done.append(True)

    task = asyncio.create_task(shielded(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


@pytest.mark.usefixtures("_without_collector")
async def test_a_cancelled_wait_is_freed_without_the_collector() -> None:
    gate, kept = asyncio.Event(), []

    async def work() -> None:
        await gate.wait()

    async def caller() -> None:
        marker = Marker()
        kept.append(weakref.ref(marker))
        await shielded(work())

    task = asyncio.create_task(caller())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    gate.set()
    await asyncio.wait({task})
    assert task.cancelled()
    del task
    await asyncio.sleep(0)
    assert kept[0]() is None
