"""Settings that change while calls run."""

from __future__ import annotations

from pathlib import Path

import pytest

from farthing.base.config.settings import Breaker, Server, Settings
from farthing.core.errors import OverloadedError
from farthing.gateway.client import Gateway
from farthing.providers.catalogue import Catalogue
from farthing.providers.directory import Directory
from tests.gateway.world import HELLO, LOCAL, chat, world


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Directory]:
    """The directories of this test that were closed."""
    found: list[Directory] = []
    close = Directory.aclose

    async def aclose(self: Directory) -> None:
        found.append(self)
        await close(self)

    monkeypatch.setattr(Directory, "aclose", aclose)
    return found


async def reload(gateway: Gateway, settings: Settings) -> None:
    scripted = gateway._snapshot.directory
    scripted.catalogue, scripted.detected = Catalogue.load(), ()
    await gateway.reload(settings)


async def test_a_call_of_earlier_settings_counts_and_its_providers_are_closed(
    tmp_path: Path, closed: list[Directory]
) -> None:
    async with world(tmp_path, {"a": [HELLO]}) as w:
        one = Settings(server=Server(max_concurrent_calls=1), breaker=Breaker(failures=7))
        async with w.gateway.open(chat(stream=True), LOCAL):
            await reload(w.gateway, one)
            assert w.gateway.in_flight == 1
            with pytest.raises(OverloadedError):
                async with w.gateway.open(chat(), LOCAL):
                    pass
            await reload(w.gateway, one)
            await w.gateway.aclose()
        assert len(closed) == 2
        assert w.gateway._snapshot.breaker("a")._settings.failures == 7
