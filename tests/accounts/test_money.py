"""What becomes of held money: charged, kept for a while, decided by hand, or by an invoice."""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime
from hashlib import sha256

import msgspec
import pytest
from aiohttp import web

from farthing.accounts.accounts import MAX_HOLD, InvoiceRow, SpendQuery
from farthing.accounts.budgets import Budget, Span, window_end, window_start
from farthing.accounts.packing import pack_id, pack_request, unpack_id, unpack_request
from farthing.base.clock import FakeClock
from farthing.base.config.settings import Alerts, Settings
from farthing.base.config.settings import Budget as BudgetTable
from farthing.core.errors import (
    AuthenticationError,
    BadRequestError,
    BudgetExceededError,
    ConflictError,
    NotFoundError,
)
from farthing.core.models import Deployment
from farthing.core.prices import amortised
from tests.accounts.books import ALICE, books

TOTAL = Budget(name="b", nanodollars=1_000, window="total")


async def test_a_call_over_the_budget_is_refused_with_figures_and_what_to_do(url: str) -> None:
    async with books(url) as b:
        await b.accounts.set_budget(TOTAL)
        await b.begin(400)
        with pytest.raises(BudgetExceededError) as caught:
            await b.begin(700)
        assert "$0.0000006 left of $0.000001" in str(caught.value)
        assert "farthing budget set b" in str(caught.value)


async def test_a_charge_beyond_its_hold_is_booked_in_full(url: str) -> None:
    async with books(url) as b:
        await b.accounts.set_budget(TOTAL)
        await b.end(await b.begin(100), 1_500)
        assert await b.left("b") == (1_500, 0, -500)


async def test_settling_twice_books_once(url: str) -> None:
    async with books(url) as b:
        call = await b.begin(100)
        await b.end(call, 60)
        await b.end(call, 60)
        assert await b.ledger() == 60


async def test_what_may_still_be_billed_stays_held_until_its_time_is_over(url: str) -> None:
    async with books(url) as b:
        await b.accounts.set_budget(TOTAL)
        await b.end(await b.begin(100), 30, unconfirmed=50)
        assert await b.left("b") == (30, 50, 920)
        await b.clock.advance(899)
        assert await b.accounts.expire() == 0
        await b.clock.advance(2)
        await b.accounts.expire()
        assert await b.left("b") == (30, 0, 970)


async def test_a_running_call_cannot_be_decided_by_hand(url: str) -> None:
    async with books(url) as b:
        call = (await b.begin(10)).hold.call_id
        with pytest.raises(ConflictError, match="still running"):
            await b.accounts.release_unsettled(call)
        with pytest.raises(NotFoundError, match="call_none"):
            await b.accounts.confirm("call_none", 5)


async def test_a_call_that_no_budget_could_ever_carry_is_a_bad_request(url: str) -> None:
    async with books(url) as b:
        with pytest.raises(BadRequestError, match=r"\$1,000,000"):
            await b.begin(MAX_HOLD + 1)


async def test_a_budget_that_was_away_counts_what_was_spent_meanwhile(url: str) -> None:
    with_budget = Settings(budgets={"b": BudgetTable(dollars="0.000001", window="total")})
    clock = FakeClock()
    async with books(url, clock, with_budget) as b:
        await b.spend(100)
        await b.accounts.configure(Settings())
        await b.spend(200)
        await b.accounts.configure(with_budget)
        assert await b.left("b") == (300, 0, 700)


async def test_a_new_window_begins_with_nothing_spent(url: str) -> None:
    async with books(url) as b:
        await b.accounts.set_budget(msgspec.structs.replace(TOTAL, window="day"))
        await b.spend(1_000)
        with pytest.raises(BudgetExceededError):
            await b.begin(1)
        await b.clock.advance(86_400)
        await b.begin(1_000)


@pytest.mark.parametrize(
    ("span", "start", "end"),
    [
        ("day", "2024-02-29", "2024-03-01"),
        ("week", "2024-02-26", "2024-03-04"),
        ("month", "2024-02-01", "2024-03-01"),
    ],
)
def test_windows_follow_the_calendar_in_utc(span: Span, start: str, end: str) -> None:
    def unix(day: str) -> int:
        return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())

    begin = window_start(span, unix("2024-02-29") + 5)
    assert begin == unix(start)
    assert window_end(span, begin) == unix(end)


async def test_an_invoice_corrects_settles_and_says_what_it_does_not_know(url: str) -> None:
    async with books(url) as b:
        await b.accounts.set_budget(TOTAL)
        await b.end(await b.begin(100), 60, request_id="req-1")
        await b.end(await b.begin(100), 40, unconfirmed=60, request_id="req-2")
        lines = [
            InvoiceRow(nanodollars=30, request_id="req-1"),
            InvoiceRow(nanodollars=25, request_id="req-1"),
            InvoiceRow(nanodollars=90, request_id="req-2"),
            InvoiceRow(nanodollars=1, request_id="req-9"),
        ]
        done = await b.accounts.reconcile(lines)
        assert (done.matched, done.corrected, done.settled) == (2, 2, 1)
        assert (done.difference_nanodollars, done.unknown) == (45, ("req-9",))
        assert await b.left("b") == (145, 0, 855)
        again = await b.accounts.reconcile(lines)
        assert (again.corrected, again.settled, await b.ledger()) == (0, 0, 145)


async def test_spend_sums_calls_once_and_tries_each(url: str) -> None:
    async with books(url) as b:
        await b.end(await b.begin(100, tags=("x", "y")), 30, 40)
        (row,) = await b.accounts.spend(SpendQuery(by="key"))
        assert (row.calls, row.nanodollars, row.input_tokens) == (1, 70, 20)
        assert [r.name for r in await b.accounts.spend(SpendQuery(by="tag"))] == ["x", "y"]


async def test_provisioned_hours_are_booked_without_drift_to_the_deployment(url: str) -> None:
    clock = FakeClock(start=1_800_000_000.0 + 1_234)  # inside an hour
    fee = 7_777_777_777
    ptu = Deployment(
        name="ptu", provider="az", model="m", remote_name="m", provisioned_hourly_nanodollars=fee
    )
    async with books(url, clock) as b:
        await b.accounts.set_budget(TOTAL)
        b.accounts.charge_provisioned([ptu])
        await b.accounts.post_provisioned()
        await clock.advance(3_600 * 3)
        await b.accounts.post_provisioned()
        await b.accounts.post_provisioned()
        first = fee - amortised(fee, 1_234)
        assert [e.nanodollars for e in await b.accounts.entries()] == [first, fee, fee]
        (row,) = await b.accounts.spend(SpendQuery(by="deployment"))
        assert (row.name, row.calls, row.nanodollars) == ("ptu", 0, first + 2 * fee)
        assert [r.name for r in await b.accounts.spend(SpendQuery())] == ["(provisioned)"]
        assert await b.left("b") == (0, 0, 1_000)


async def test_an_alert_is_told_once_to_a_webhook_that_can_check_who_sent_it(url: str) -> None:
    taken: list[tuple[str, bytes]] = []

    async def take(request: web.Request) -> web.Response:
        taken.append((request.headers["x-farthing-signature"], await request.read()))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hook = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    alerts = Alerts(webhook_url=hook, webhook_secret="env:S")
    async with books(url, settings=Settings(alerts=alerts)) as b:
        await b.accounts.set_budget(TOTAL)
        await b.spend(850)
        await b.spend(50)
    await runner.cleanup()
    ((signature, body),) = taken
    moment, digest = (part.partition("=")[2] for part in signature.split(","))
    expected = hmac.new(b"secret", moment.encode() + b"." + body, sha256).hexdigest()
    assert digest == expected
    assert json.loads(body)["percent"] == 80


async def test_both_secrets_are_good_during_the_grace_and_only_the_new_one_after(url: str) -> None:
    async with books(url) as b:
        keys = b.accounts.keys
        old = await keys.create("alice")
        assert old.secret not in repr(old)
        new = await keys.rotate("alice", grace_s=60)
        assert keys.identify(old.secret).id == keys.identify(new.secret).id == old.key.id
        await b.clock.advance(61)
        keys.identify(new.secret)
        with pytest.raises(AuthenticationError, match="replaced"):
            keys.identify(old.secret)
        await keys.revoke("alice")
        with pytest.raises(AuthenticationError, match="revoked"):
            keys.identify(new.secret)


async def test_a_key_expires(url: str) -> None:
    async with books(url) as b:
        made = await b.accounts.keys.create("alice", expires_at=int(b.clock.now()) + 10)
        b.accounts.keys.identify(made.secret)
        await b.clock.advance(10)
        with pytest.raises(AuthenticationError, match="expired"):
            b.accounts.keys.identify(made.secret)


async def test_a_budget_by_name_holds_a_key_through_its_rotation(url: str) -> None:
    async with books(url) as b:
        made = await b.accounts.keys.create("bob")
        await b.accounts.set_budget(msgspec.structs.replace(TOTAL, key="bob"))
        await b.accounts.keys.rotate("bob", grace_s=60)
        caller = await b.accounts.identify(made.secret, face="openai")
        await b.spend(900, caller=caller)
        await b.spend(900, caller=ALICE)
        with pytest.raises(BudgetExceededError):
            await b.begin(200, caller=caller)


@pytest.mark.parametrize(
    "request_id",
    [
        "req_" + "0af" * 10 + "00",
        "req_" + "G" * 32,
        "123e4567-e89b-12d3-a456-426614174000",
        "123E4567-E89B-12D3-A456-426614174000",
        "1234-567-e89b-12d3-a45642661417400000",
        "",
        "é" * 40,
    ],
)
def test_every_request_id_comes_back_as_it_was(request_id: str) -> None:
    assert unpack_request(pack_request(request_id)) == request_id


@pytest.mark.parametrize("call_id", ["call_x", "c" * 16, "c" * 15, "call_" + "z" * 26])
def test_every_call_id_comes_back_as_it_was(call_id: str) -> None:
    assert unpack_id(pack_id(call_id)) == call_id
