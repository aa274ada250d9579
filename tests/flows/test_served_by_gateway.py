"""Flows on the gateway's own port: below /flows/NAME, on the account of whoever asks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from farthing.accounts.keys import Scope
from farthing.accounts.ledger import SpendQuery
from farthing.base.config.settings import Budget, FlowSetting
from farthing.server.feedback import attributes
from tests.flows.served import CHAT, ECHO, PLAIN_WORDS, among_others, lay, settings_of


async def score(
    client: aiohttp.ClientSession, name: str, inputs: dict[str, Any], **headers: str
) -> tuple[int, Any]:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    async with client.post(f"/flows/{name}/score", json=inputs, headers=named) as reply:
        return reply.status, await reply.json()


async def get(client: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, Any]:
    async with client.get(path, headers=headers) as reply:
        return reply.status, await reply.json()


async def test_each_flow_of_the_settings_has_a_path(tmp_path: Path) -> None:
    echo, words = lay(tmp_path / "a", ECHO), lay(tmp_path / "b", PLAIN_WORDS)
    async with among_others(settings_of(tmp_path, echo=echo, words=words)) as (_, client):
        assert await score(client, "echo", {"text": "x"}) == (200, {"answer": "x", "size": 1})
        assert (await score(client, "words", {"text": "x"}))[1]["answer"] == "x "
        assert await get(client, "/flows") == (200, {"flows": ["echo", "words"]})
        status, told = await get(client, "/flows/echo/swagger.json")
        assert (status, told["servers"]) == (200, [{"url": "/flows/echo"}])
        assert (await get(client, "/flows/echo/health"))[1]["status"] == "Healthy"
        for path in ("/flows/echo", "/flows/echo/"):
            async with client.get(path) as reply:
                assert (reply.status, reply.content_type) == (200, "text/html")
        async with client.get("/flows/echo/score") as reply:
            assert reply.status == 405


async def test_an_unknown_flow_names_the_nearest(tmp_path: Path) -> None:
    async with among_others(settings_of(tmp_path, echo=lay(tmp_path / "a", ECHO))) as (_, client):
        status, answer = await score(client, "ecko", {})
    assert (status, answer["error"]["code"]) == (404, "UserError")
    assert "Did you mean 'echo'?" in answer["error"]["message"]


async def test_a_flow_that_cannot_be_opened_is_the_servers_fault_until_it_is_mended(
    tmp_path: Path,
) -> None:
    path = lay(tmp_path / "secret_folder", ECHO, echo="echoes")
    (path / "flow.dag.yaml").write_text("nodes: 3\n")
    async with among_others(settings_of(tmp_path, echo=path)) as (_, client):
        status, answer = await score(client, "echo", {"text": "x"})
        assert (status, answer["error"]["code"]) == (500, "SystemError")
        assert "secret_folder" not in answer["error"]["message"]
        lay(path, ECHO)
        assert (await score(client, "echo", {"text": "x"}))[0] == 200


async def test_a_reload_that_changes_a_path_changes_the_flow(tmp_path: Path) -> None:
    echo, words = lay(tmp_path / "a", ECHO), lay(tmp_path / "b", PLAIN_WORDS)
    settings = settings_of(tmp_path, it=echo)
    async with among_others(settings) as (gateway, client):
        assert "size" in (await score(client, "it", {"text": "x"}))[1]
        flows = {"it": FlowSetting(path=str(words))}
        await gateway.reload(msgspec.structs.replace(settings, flows=flows))
        assert "first" in (await score(client, "it", {"text": "x"}))[1]


async def test_a_key_is_needed_where_keys_are(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, echo=lay(tmp_path / "a", ECHO))
    async with among_others(settings) as (gateway, client):
        made = await gateway.accounts.keys.create("ann")
        for path in ("/flows", "/flows/echo/swagger.json"):
            assert (await get(client, path))[0] == 401
        status, answer = await score(client, "echo", {"text": "x"})
        assert (status, answer["error"]["code"]) == (401, "UserError")
        key = made.secret
        assert (await score(client, "echo", {"text": "x"}, authorization=f"Bearer {key}"))[0] == 200
        assert (await score(client, "echo", {"text": "x"}, api_key=key))[0] == 200


async def test_model_calls_are_on_the_account_of_whoever_asks(tmp_path: Path) -> None:
    """Behind a Python node too, which runs in a thread, and when many ask at once."""
    for stream in ("false", "true"):
        folder = tmp_path / stream
        settings = settings_of(lay(folder, {}), chat=lay(folder / "a", CHAT, STREAM=stream))
        async with among_others(settings) as (gateway, client):
            keys = gateway.accounts.keys
            made = {name: await keys.create(name) for name in ("ann", "bob")}
            answers = await asyncio.gather(
                *(
                    score(client, "chat", {"question": name}, api_key=made[name].secret)
                    for name in ("ann", "bob", "ann", "ann", "bob", "ann")
                )
            )
            assert [status for status, _ in answers] == [200] * 6
            rows = await gateway.accounts.spend(SpendQuery(by="key"))
            assert sorted(row.calls for row in rows) == [2, 4]


async def test_what_a_key_may_not_call_its_flows_may_not_call(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, chat=lay(tmp_path / "a", CHAT, STREAM="true"))
    async with among_others(settings) as (gateway, client):
        made = await gateway.accounts.keys.create("ann", scope=Scope(models=("other/*",)))
        status, answer = await score(
            client,
            "chat",
            {"question": "x"},
            api_key=made.secret,
            accept="text/event-stream",
        )
    assert (status, answer["error"]["code"]) == (403, "UserError")


async def test_a_budget_holds_for_flows_and_keeps_its_status(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, chat=lay(tmp_path / "a", CHAT, STREAM="true"))
    tight = msgspec.structs.replace(settings, budgets={"all": Budget(dollars="0.00000001")})
    async with among_others(tight) as (_, client):
        status, answer = await score(client, "chat", {"question": "x"}, accept="text/event-stream")
    assert (status, answer["error"]["code"]) == (402, "UserError")


async def test_an_answer_says_what_it_cost(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, chat=lay(tmp_path / "a", CHAT, STREAM="true"))
    async with (
        among_others(settings) as (_, client),
        client.post("/flows/chat/score", json={"question": "x"}) as reply,
    ):
        assert float(reply.headers["x-farthing-cost"]) > 0


async def test_a_flow_knows_the_trace_and_feedback_becomes_a_span(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the otel extra is absent")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    files = {
        **ECHO,
        "echo.py": """
from farthing.flows.code.tool import node
from opentelemetry import trace

@node
def echo(text: str) -> dict:
    with trace.get_tracer("mine").start_as_current_span("mine"):
        return {"text": text, "size": 1}
""",
    }
    parent = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "baggage": "user=ann",
    }
    async with among_others(settings_of(tmp_path, echo=lay(tmp_path / "a", files))) as (_, client):
        await score(client, "echo", {"text": "x"}, **parent)
        for query in ("", "?flatten=true"):
            path = "/flows/echo/feedback" + query
            async with client.post(path, json={"good": True}, headers=parent) as reply:
                assert await reply.json() == {"status": "Feedback received."}
    spans = kept.get_finished_spans()
    assert [span.name for span in spans] == ["mine", "promptflow-feedback", "promptflow-feedback"]
    for span in spans:
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    plain, flat = (dict(span.attributes or {}) for span in spans[1:])
    assert json.loads(str(plain["feedback"])) == {"good": True}
    assert plain["user"] == flat["user"] == "ann"
    assert flat["good"] is True


def test_feedback_that_cannot_be_taken_apart_stays_a_text() -> None:
    assert attributes(b"good", is_flat=True) == {"feedback": "good"}
    assert attributes(b"[1]", is_flat=True) == {"feedback": "[1]"}
    assert attributes(b'{"a": 1, "b": ["x", 2], "c": {"d": null}}', is_flat=True) == {
        "a": 1,
        "b": ["x", "2"],
        "c": '{"d": null}',
    }
