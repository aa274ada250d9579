"""Settings change while running; wrong ones change nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farthing.base.clock import FakeClock
from farthing.base.config import load
from farthing.base.config.settings import Settings
from farthing.base.config.watch import ConfigWatcher, Reload, changes
from farthing.core.errors import ConfigError


class World:
    """A settings file, a running watcher, and what it reported."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.write_text("[cache]\nttl_s = 10\n", encoding="utf-8")
        self.clock = FakeClock()
        self.applied: list[Settings] = []
        self.reloads: list[Reload] = []
        self.refusal: ConfigError | None = None
        self.watcher = ConfigWatcher(
            load(path, {}), {}, self.apply, self.clock, on_reload=self.reloads.append
        )

    async def apply(self, settings: Settings) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.applied.append(settings)

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "farthing.toml")
    task = asyncio.create_task(world.watcher.run())
    yield world
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_changed_file_is_applied_within_a_second(world: World) -> None:
    world.write("[cache]\nttl_s = 20.5\n")
    await world.clock.advance(1.0)
    assert [settings.cache.ttl_s for settings in world.applied] == [20.5]
    assert world.reloads[-1].changed == ("cache.ttl_s",)


async def test_the_same_text_saved_again_is_no_change(world: World) -> None:
    world.write("[cache]\nttl_s = 10\n")
    await world.clock.advance(3.0)
    assert world.reloads == []


async def test_an_invalid_file_keeps_the_old_settings_and_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write("[cache]\nttl = 20\n")
    with caplog.at_level(logging.ERROR):
        await world.clock.advance(1.0)
    assert world.applied == []
    assert world.watcher.settings.cache.ttl_s == 10
    assert "farthing.toml:2:1: There is no setting 'cache.ttl'" in caplog.text
    await world.clock.advance(5.0)
    assert len(world.reloads) == 1
    world.write("[cache]\nttl_s = 30\n")
    await world.clock.advance(1.0)
    assert world.watcher.settings.cache.ttl_s == 30


async def test_settings_that_need_a_restart_are_named_and_not_applied(world: World) -> None:
    world.write('[cache]\nttl_s = 20\n[server]\nport = 5000\n[storage]\nurl = "sqlite:new.db"\n')
    outcome = await world.watcher.reload()
    assert outcome.not_applied == ("server.port", "storage")
    assert outcome.changed == ("cache.ttl_s",)
    assert world.applied[-1].server.port == 4000
    assert world.applied[-1].storage.url == "sqlite:.farthing/farthing.db"


async def test_settings_that_the_gateway_refuses_are_not_kept(world: World) -> None:
    world.refusal = ConfigError("no such vendor")
    world.write("[cache]\nttl_s = 20\n")
    outcome = await world.watcher.reload()
    assert outcome.error is world.refusal
    assert world.watcher.settings.cache.ttl_s == 10


async def test_a_file_that_vanishes_keeps_the_settings(world: World) -> None:
    world.path.unlink()
    await world.clock.advance(3.0)
    assert world.reloads == []
    assert "does not exist" in str((await world.watcher.reload()).error)


def test_changes_name_what_differs_in_named_tables(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    path.write_text('[budgets.a]\ndollars = 1\n[providers.p]\ntype="openai"\n', encoding="utf-8")
    old = load(path, {}).settings
    path.write_text(
        '[budgets.a]\ndollars = 2\n[budgets.b]\ndollars=3\nteam="x"\n', encoding="utf-8"
    )
    new = load(path, {}).settings
    assert changes(old, new) == ("providers.p", "budgets.a.dollars", "budgets.b")
