"""Words that callers make up do not reach what is kept for ever."""

from __future__ import annotations

from pathlib import Path

from tests.gateway.world import World, chat, whole, world

INVENTED = "turbo-for-my-secret-merger"


async def kept(w: World) -> str:
    return repr([row async for row in w.gateway.accounts.export()]) + repr(w.records)


async def test_a_service_tier_that_a_caller_makes_up_is_not_recorded(tmp_path: Path) -> None:
    async with world(tmp_path, {"a": [[whole()]]}) as w:
        await w.ask(chat(service_tier=INVENTED))
        assert INVENTED not in await kept(w)
    assert [attempt.tier for attempt in w.records[0].attempts] == ["standard"]
