"""Calls that end in odd places: money, memory and idempotency keys are right all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from farthing.base.config.settings import Settings, Timeouts
from farthing.core.calls import EventKind
from farthing.core.errors import FarthingError, UntranslatableError, UpstreamTimeoutError
from farthing.gateway.translate import AnswerTranslator
from tests.gateway.test_pipeline import held, spent
from tests.gateway.world import DONE, HELLO, HELLO_NANODOLLARS, LOCAL, ROLE, chat, whole, world


async def test_a_reader_who_leaves_at_the_finish_leaves_no_half_answer_behind(
    tmp_path: Path,
) -> None:
    request = msgspec.structs.replace(chat(stream=True), use_cache=True, idempotency_key="k")
    async with world(tmp_path, {"a": [HELLO, HELLO]}) as w:
        async with w.gateway.open(request, LOCAL) as call:
            async for event in call:
                if event.kind is EventKind.FINISH:
                    break
        again = await w.ask(request)
        assert again.endswith(DONE)
        assert len(w.provider.attempts) == 1


async def test_a_try_that_is_never_made_for_want_of_time_costs_and_holds_nothing(
    tmp_path: Path,
) -> None:
    settings = Settings(timeouts=Timeouts(call_s=1e-9))
    async with world(tmp_path, {"a": [[whole()]], "b": [[whole()]]}, settings=settings) as w:
        with pytest.raises(UpstreamTimeoutError):
            await w.ask(chat())
        assert await held(w) == 0
        assert w.provider.attempts == []
        assert w.gateway._snapshot.breaker("a").last_error is None


async def test_an_answer_that_the_clients_dialect_cannot_say_is_still_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise UntranslatableError("Cannot be said.")

    monkeypatch.setattr(AnswerTranslator, "translate", refuse)
    async with world(tmp_path, {"a": [[whole()]]}) as w:
        with pytest.raises(UntranslatableError):
            await w.ask(chat())
        assert await spent(w) == HELLO_NANODOLLARS


async def test_a_fault_in_the_middle_of_a_stream_is_no_hang_up(tmp_path: Path) -> None:
    script = [ROLE, HELLO[1], ZeroDivisionError()]
    async with world(tmp_path, {"a": [script]}) as w:
        with pytest.raises(ZeroDivisionError):
            await w.ask(chat(stream=True))
        assert w.records[0].outcome == "internal_error"
        assert await spent(w) + await held(w) > 0


async def test_a_provider_that_fails_when_it_is_closed_frees_the_idempotency_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise FarthingError("no settlement")

    request = msgspec.structs.replace(chat(), idempotency_key="k")
    async with world(tmp_path, {"a": [[whole()], [whole()]]}) as w:
        with monkeypatch.context() as patched:
            patched.setattr(w.gateway.accounts, "settle_now", lambda *_, **__: False)
            patched.setattr(w.gateway.accounts, "settle", refuse)
            with pytest.raises(FarthingError):
                await w.ask(request)
        assert await w.ask(request) == whole()
