"""A call from its first step to its settlement: what the client sees and what is charged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from farthing.accounts.accounts import SpendQuery
from farthing.base.config.settings import Budget, Ledger, Retry, Settings
from farthing.core.calls import EventKind, Request
from farthing.core.errors import (
    BadRequestError,
    BudgetExceededError,
    ContextTooLongError,
    RateLimitedError,
    UnknownModelError,
    UnknownPriceError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamServerError,
    UpstreamTruncatedError,
    UpstreamUnreachableError,
)
from tests.gateway.world import (
    DONE,
    HANG,
    HELLO,
    HELLO_NANODOLLARS,
    LOCAL,
    ROLE,
    World,
    chat,
    chunk,
    usage_chunk,
    whole,
    world,
)

DOWN = UpstreamServerError("down", upstream_status=503)


async def spent(w: World) -> int:
    """Nanodollars in the ledger."""
    rows = await w.gateway.accounts.spend(SpendQuery(by="key"))
    return sum(row.nanodollars for row in rows)


async def held(w: World) -> int:
    """Nanodollars that are still reserved."""
    return sum(row.nanodollars for row in await w.gateway.accounts.unsettled())


# --- good answers ---


async def test_a_whole_answer_passes_with_its_bytes_unchanged_and_is_charged(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, {"a": [[whole()]]}) as w:
        assert await w.ask(chat()) == whole()
        assert await spent(w) == HELLO_NANODOLLARS
        assert await held(w) == 0
    assert [a.outcome for a in w.records[0].attempts] == ["ok"]


async def test_only_the_model_is_rewritten_in_the_same_dialect(tmp_path: Path) -> None:
    request = chat(
        new_vendor_field={"x": [1, 2]}, messages=[{"role": "user", "content": '"model"'}]
    )
    async with world(tmp_path, {"a": [[whole()]]}) as w:
        await w.ask(request)
    assert w.provider.attempts[0].body == request.body.replace(
        b'"model":"m"', b'"model":"remote-x"'
    )


async def test_the_cost_of_a_whole_answer_is_known_before_its_first_byte(tmp_path: Path) -> None:
    async with world(tmp_path, {"a": [[whole()]]}) as w, w.gateway.open(chat(), LOCAL) as call:
        assert call.head.nanodollars == HELLO_NANODOLLARS
        assert call.head.deployment == "a"
        assert await spent(w) == HELLO_NANODOLLARS


async def test_a_stream_passes_unchanged_without_the_usage_that_nobody_asked_for(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, {"a": [HELLO]}) as w:
        answer = await w.ask(chat(stream=True))
        assert answer == b"".join(step for step in HELLO if step != usage_chunk())
        assert await spent(w) == HELLO_NANODOLLARS


async def test_a_client_that_asked_for_usage_gets_it(tmp_path: Path) -> None:
    async with world(tmp_path, {"a": [HELLO]}) as w:
        request = chat(stream=True, stream_options={"include_usage": True})
        assert await w.ask(request) == b"".join(HELLO)


async def test_the_finish_is_not_sent_before_the_charge_is_durable(tmp_path: Path) -> None:
    async with (
        world(tmp_path, {"a": [HELLO]}) as w,
        w.gateway.open(chat(stream=True), LOCAL) as call,
    ):
        async for event in call:
            if event.kind in (EventKind.FINISH, EventKind.END):
                assert await spent(w) == HELLO_NANODOLLARS


async def test_an_answer_in_another_dialect_is_translated(tmp_path: Path) -> None:
    anthropic = msgspec.json.encode(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "remote-x",
            "content": [{"type": "text", "text": "Hello"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 5},
        }
    )
    async with world(tmp_path, {"a": [[anthropic]]}, dialect="anthropic-messages") as w:
        answer = msgspec.json.decode(await w.ask(chat()))
        assert answer["choices"][0]["message"]["content"] == "Hello"
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert await spent(w) == HELLO_NANODOLLARS
    sent = msgspec.json.decode(w.provider.attempts[0].body)
    assert sent["model"] == "remote-x"
    assert sent["max_tokens"] == 100


# --- failures before the first content ---


@pytest.mark.parametrize(
    "failure",
    [
        DOWN,
        UpstreamUnreachableError("x"),
        [ROLE, UpstreamTruncatedError("x")],
        [ROLE],
        [b'data: {"error":{"message":"boom"}}\n\n'],
    ],
)
async def test_a_failure_before_content_is_replayed_elsewhere_invisibly(
    tmp_path: Path, failure: Exception | list[bytes]
) -> None:
    async with world(tmp_path, {"a": [failure], "b": [HELLO]}) as w:
        answer = await w.ask(chat(stream=True))
        assert answer.endswith(DONE)
        assert b"error" not in answer
        assert w.provider.open_now == 0
    assert w.records[0].outcome == "ok"
    assert [a.deployment for a in w.records[0].attempts] == ["a", "b"]


async def test_a_broken_whole_answer_is_replayed_elsewhere(tmp_path: Path) -> None:
    async with world(tmp_path, {"a": [[UpstreamTruncatedError("cut")]], "b": [[whole()]]}) as w:
        assert await w.ask(chat()) == whole()


async def test_a_verdict_on_the_request_is_passed_on_at_once_and_costs_nothing(
    tmp_path: Path,
) -> None:
    verdict = UpstreamRejectedError("bad field", upstream_status=400)
    async with world(tmp_path, {"a": [verdict], "b": [[whole()]]}) as w:
        with pytest.raises(UpstreamRejectedError) as caught:
            await w.ask(chat())
        assert caught.value.call_id == w.records[0].call_id
        assert len(w.provider.attempts) == 1
        assert (await spent(w), await held(w)) == (0, 0)


async def test_when_all_are_out_of_quota_the_caller_learns_the_shortest_wait(
    tmp_path: Path,
) -> None:
    def full(wait: float) -> UpstreamRateLimitedError:
        return UpstreamRateLimitedError("429", upstream_status=429, retry_after_s=wait)

    async with world(tmp_path, {"a": [full(30.0)], "b": [full(20.0)]}) as w:
        with pytest.raises(RateLimitedError) as caught:
            await w.ask(chat())
    assert caught.value.retry_after_s == 20.0
    assert caught.value.status == 429


async def test_a_single_deployment_is_asked_again_after_a_pause(tmp_path: Path) -> None:
    settings = Settings(retry=Retry(same_deployment=2, backoff_s=0.0))
    async with world(tmp_path, {"a": [DOWN, [whole()]]}, settings=settings) as w:
        assert await w.ask(chat()) == whole()


async def test_fallback_routes_are_tried_when_the_own_deployments_failed(tmp_path: Path) -> None:
    scripts = {"a": [DOWN], "cheap:b": [[whole()]]}
    async with world(tmp_path, scripts, fallbacks=("cheap",)) as w:
        assert await w.ask(chat()) == whole()


async def test_tries_are_bounded(tmp_path: Path) -> None:
    settings = Settings(retry=Retry(max_tries=3, same_deployment=9, backoff_s=0.0))
    async with world(tmp_path, {"a": [DOWN] * 9, "b": [DOWN] * 9}, settings=settings) as w:
        with pytest.raises(UpstreamServerError):
            await w.ask(chat())
    assert len(w.provider.attempts) == 3


async def test_an_open_breaker_keeps_the_next_call_away(tmp_path: Path) -> None:
    async with world(tmp_path, {"a": [DOWN], "b": [[whole()], [whole()]]}) as w:
        await w.ask(chat())
        await w.ask(chat())
    assert [a.deployment.name for a in w.provider.attempts] == ["a", "b", "b"]


# --- failures after it ---


async def test_a_stream_that_breaks_after_content_ends_in_an_error_and_never_in_a_stop(
    tmp_path: Path,
) -> None:
    broken = [ROLE, chunk({"content": "Hel"}), UpstreamTruncatedError("cut")]
    async with world(tmp_path, {"a": [broken], "b": [HELLO]}) as w:
        answer = await w.ask(chat(stream=True))
        assert b'"error"' in answer
        assert b"[DONE]" not in answer
        assert b'"stop"' not in answer
        assert len(w.provider.attempts) == 1
        assert w.provider.open_now == 0
    assert w.records[0].outcome == "upstream_truncated"


async def test_what_was_seen_of_a_broken_stream_is_charged_and_the_rest_stays_held(
    tmp_path: Path,
) -> None:
    broken = [ROLE, chunk({"content": "Hello there"}), UpstreamTruncatedError("cut")]
    async with world(tmp_path, {"a": [broken]}) as w:
        await w.ask(chat(stream=True))
        charge, rest = await spent(w), await held(w)
        assert charge > 0
        assert rest > 0
        assert w.records[0].attempts[0].usage.is_estimated


async def test_a_request_whose_fate_is_unknown_keeps_its_reservation(tmp_path: Path) -> None:
    reset = UpstreamUnreachableError("reset before the head")
    settings = Settings(retry=Retry(max_tries=1))
    async with world(tmp_path, {"a": [reset]}, settings=settings) as w:
        with pytest.raises(UpstreamUnreachableError):
            await w.ask(chat())
        assert await spent(w) == 0
        assert await held(w) > 0


async def test_a_request_that_was_never_sent_costs_and_holds_nothing(tmp_path: Path) -> None:
    refused = UpstreamUnreachableError("refused")
    refused.was_sent = False
    async with world(tmp_path, {"a": [refused]}, settings=Settings(retry=Retry(max_tries=1))) as w:
        with pytest.raises(UpstreamUnreachableError):
            await w.ask(chat())
        assert (await spent(w), await held(w)) == (0, 0)


async def test_an_answer_without_usage_is_charged_by_estimate(tmp_path: Path) -> None:
    silent = [step for step in HELLO if step != usage_chunk()]
    async with world(tmp_path, {"a": [silent]}) as w:
        assert (await w.ask(chat(stream=True))).endswith(DONE)
        assert await spent(w) > 0
        assert w.records[0].outcome == "ok"
        assert w.records[0].attempts[0].usage.is_estimated


# --- clients that leave ---


@pytest.mark.parametrize("after", range(6))
async def test_a_client_that_hangs_up_after_any_event_is_settled_once(
    tmp_path: Path, after: int
) -> None:
    request = chat(stream=True, stream_options={"include_usage": True})
    async with world(tmp_path, {"a": [HELLO]}) as w:
        async with w.gateway.open(request, LOCAL) as call:
            seen = 0
            async for _ in call:
                if seen == after:
                    break
                seen += 1
        assert w.provider.open_now == 0
        record = w.records[0]
        assert len(record.attempts) == 1
        assert await spent(w) == record.nanodollars
        assert record.outcome == ("ok" if after >= 3 else "aborted")
        if record.outcome == "ok":
            assert (await spent(w), await held(w)) == (HELLO_NANODOLLARS, 0)
        else:
            assert await spent(w) + await held(w) >= HELLO_NANODOLLARS


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_is_cancelled_while_waiting_cancels_upstream_and_settles(
    tmp_path: Path, stream: bool
) -> None:
    script = [ROLE, HANG] if stream else [HANG]
    async with world(tmp_path, {"a": [script]}) as w:
        task = asyncio.create_task(w.ask(chat(stream=stream)))
        while not w.provider.open_now:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert w.provider.open_now == 0
        assert w.records[0].outcome == "aborted"
        assert await held(w) > 0


async def test_a_client_that_leaves_while_money_is_being_held_leaves_no_hold(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, {"a": [[whole()] for _ in range(30)]}) as w:
        for turns in range(30):
            task = asyncio.create_task(w.ask(chat()))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        sent = {record.call_id for record in w.records if record.attempts}
        holds = {hold.call_id for hold in await w.gateway.accounts.unsettled()}
        assert holds <= sent


async def test_cancelling_again_during_the_settlement_does_not_lose_it(tmp_path: Path) -> None:
    async with world(tmp_path, {"a": [[ROLE, chunk({"content": "x"}), HANG]]}) as w:
        task = asyncio.create_task(w.ask(chat(stream=True)))
        while not w.provider.open_now:
            await asyncio.sleep(0)
        for _ in range(20):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(w.records) == 1
        assert await held(w) > 0


# --- money ---


async def test_a_budget_is_not_overspent_by_concurrent_calls(tmp_path: Path) -> None:
    settings = Settings(budgets={"all": Budget(dollars="0.0009")})
    async with world(tmp_path, {"a": [[whole()] for _ in range(60)]}, settings=settings) as w:
        results = await asyncio.gather(*(w.ask(chat()) for _ in range(60)), return_exceptions=True)
        refused = [r for r in results if isinstance(r, BudgetExceededError)]
        assert refused
        assert len(refused) + results.count(whole()) == 60
        assert await spent(w) <= 900_000


async def test_a_refused_call_sends_nothing_and_charges_nothing(tmp_path: Path) -> None:
    settings = Settings(budgets={"all": Budget(dollars="0.00000001")})
    async with world(tmp_path, {"a": [[whole()]]}, settings=settings) as w:
        with pytest.raises(BudgetExceededError, match="all"):
            await w.ask(chat())
        assert w.provider.attempts == []
        assert (await spent(w), await held(w)) == (0, 0)
    assert w.records[0].outcome == "budget_exceeded"


async def test_a_refusal_names_the_answer_length_that_would_fit(tmp_path: Path) -> None:
    settings = Settings(budgets={"all": Budget(dollars="0.000250")})
    async with world(tmp_path, {"a": [[whole()], [whole()]]}, settings=settings) as w:
        with pytest.raises(
            BudgetExceededError, match=r"Lower max_tokens to (\d+) or less"
        ) as caught:
            await w.ask(chat(max_tokens=100))
        tokens = int(str(caught.value).split("max_tokens to ")[1].split()[0])
        with pytest.raises(BudgetExceededError):
            await w.ask(chat(max_tokens=tokens + 1))
        await w.ask(chat(max_tokens=tokens))


async def test_an_unknown_price_is_refused_unless_the_operator_chose_zero(tmp_path: Path) -> None:
    async with world(tmp_path / "1", {"a": [[whole()]]}, price=None) as w:
        with pytest.raises(UnknownPriceError, match=r'price = .* under \[deployments."a"\]'):
            await w.ask(chat())
    settings = Settings(ledger=Ledger(unknown_price="zero_and_warn"))
    async with world(tmp_path / "2", {"a": [[whole()]]}, settings=settings, price=None) as w:
        assert await w.ask(chat()) == whole()
        assert await spent(w) == 0
        assert not w.records[0].attempts[0].is_price_known


async def test_a_provisioned_deployment_is_free_by_token_until_it_spills(tmp_path: Path) -> None:
    async with world(tmp_path, {"a": [[whole()]]}, is_provisioned=True) as w:
        await w.ask(chat())
        assert (await spent(w), await held(w)) == (0, 0)


# --- requests that cannot be served ---


async def test_an_unknown_model_is_recorded_and_refused(tmp_path: Path) -> None:
    async with world(tmp_path, {"a": []}) as w:
        with pytest.raises(UnknownModelError):
            await w.ask(with_model(chat(), "zzz"))
    assert w.records[0].outcome == "model_not_found"


async def test_an_input_that_is_certainly_too_long_is_refused_without_asking(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, {"a": []}) as w:
        with pytest.raises(ContextTooLongError, match="takes 10,000"):
            await w.ask(chat(text="word " * 40_000))


async def test_a_feature_that_no_deployment_has_is_named(tmp_path: Path) -> None:
    async with world(tmp_path, {"a": []}, capabilities=frozenset({"tools"})) as w:
        request = chat()
        head = msgspec.structs.replace(request.head, features=frozenset({"images"}))
        with pytest.raises(BadRequestError, match="images"):
            await w.ask(msgspec.structs.replace(request, head=head))


# --- memory ---


async def test_a_repeated_idempotency_key_is_answered_without_a_second_charge(
    tmp_path: Path,
) -> None:
    request = msgspec.structs.replace(chat(stream=True), idempotency_key="k")
    async with world(tmp_path, {"a": [HELLO]}) as w:
        first = await w.ask(request)
        assert await w.ask(request) == first
        assert await spent(w) == HELLO_NANODOLLARS
        assert len(w.provider.attempts) == 1


async def test_a_cached_answer_costs_nothing_and_says_so(tmp_path: Path) -> None:
    request = msgspec.structs.replace(chat(), use_cache=True)
    async with world(tmp_path, {"a": [[whole()]]}) as w:
        await w.ask(request)
        async with w.gateway.open(request, LOCAL) as call:
            assert call.head.cache == "hit"
            assert call.head.nanodollars == 0
            assert b"".join([e.wire async for e in call]) == whole()
        assert await spent(w) == HELLO_NANODOLLARS


async def test_a_broken_answer_is_never_cached(tmp_path: Path) -> None:
    request = msgspec.structs.replace(chat(stream=True), use_cache=True)
    broken = [ROLE, chunk({"content": "Hel"}), UpstreamTruncatedError("cut")]
    async with world(tmp_path, {"a": [broken, HELLO]}) as w:
        await w.ask(request)
        assert (await w.ask(request)).endswith(DONE)


def with_model(request: Request, model: str) -> Request:
    return msgspec.structs.replace(request, head=msgspec.structs.replace(request.head, model=model))


# --- providers that are strange ---


async def test_a_providers_own_fault_is_replayed_elsewhere_and_rests_it(tmp_path: Path) -> None:
    fault = ZeroDivisionError("in a plug-in")
    async with world(tmp_path, {"a": [fault], "b": [[whole()]]}) as w:
        assert await w.ask(chat()) == whole()
        assert w.gateway.health()[0].state == "open"
    assert [a.outcome for a in w.records[0].attempts] == ["upstream_protocol", "ok"]


async def test_usage_that_no_vendor_can_mean_is_not_booked(tmp_path: Path) -> None:
    absurd = whole(input_tokens=10**25)
    async with world(tmp_path, {"a": [[absurd]]}) as w:
        assert await w.ask(chat()) == absurd
        assert await spent(w) < 10**9
        assert w.records[0].attempts[0].usage.is_estimated


async def test_a_ping_after_the_finish_does_not_let_the_finish_out_early(tmp_path: Path) -> None:
    broken = [
        ROLE,
        chunk({"content": "Hel"}),
        chunk(finish="stop"),
        b": ping\n\n",
        UpstreamTruncatedError("cut"),
    ]
    async with world(tmp_path, {"a": [broken]}) as w:
        answer = await w.ask(chat(stream=True))
        assert b'"stop"' not in answer
        assert b'"error"' in answer
