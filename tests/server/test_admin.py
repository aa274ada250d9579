"""The admin API: roles, keys, budgets, spend, health."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import aiohttp

from tests.server.conftest import Running, Serve

MESSAGE = {
    "model": "sim/slow",
    "max_tokens": 1,
    "messages": [{"role": "user", "content": "Hi"}],
}


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def answer(reply: aiohttp.ClientResponse) -> Any:
    assert reply.status < 300, await reply.text()
    return await reply.json()


async def new_key(running: Running, name: str, admin: str | None = None, **wish: object) -> str:
    headers = bearer(admin) if admin else {}
    body = {"name": name, **wish}
    async with running.client.post("/admin/keys", json=body, headers=headers) as reply:
        made = await answer(reply)
        assert reply.status == 201
        assert reply.headers["cache-control"] == "no-store"
        return str(made["secret"])


async def test_without_keys_this_machine_is_the_administrator(serve: Serve) -> None:
    async with serve() as running:
        for path in ("keys", "budgets", "spend", "unsettled", "deployments", "config"):
            async with running.client.get(f"/admin/{path}") as reply:
                assert isinstance(await answer(reply), list)


async def test_once_a_key_exists_each_role_may_do_its_part(serve: Serve) -> None:
    async with serve() as running:
        admin = await new_key(running, "boss", role="admin")
        viewer = await new_key(running, "board", admin, role="viewer")
        caller = await new_key(running, "app", admin)
        expected = {None: (401, 401, 401), caller: (403, 403, 403), viewer: (200, 403, 200)}
        expected[admin] = (200, 201, 200)
        for number, (secret, statuses) in enumerate(expected.items()):
            headers = bearer(secret) if secret else {}
            async with running.client.get("/admin/keys", headers=headers) as listed:
                assert listed.status == statuses[0]
            body = {"name": f"made-{number}"}
            async with running.client.post("/admin/keys", json=body, headers=headers) as made:
                assert made.status == statuses[1]
            async with running.client.get("/metrics", headers=headers) as metrics:
                assert metrics.status == statuses[2]


async def test_a_keys_secret_is_told_once(serve: Serve) -> None:
    async with serve() as running:
        admin = await new_key(running, "boss", role="admin")
        async with running.client.get("/admin/keys", headers=bearer(admin)) as reply:
            assert admin not in await reply.text()


async def test_every_face_takes_the_key_where_its_clients_send_it(serve: Serve) -> None:
    async with serve() as running:
        key = await new_key(running, "app")
        places = [
            ("/v1/models", bearer(key)),
            ("/openai/v1/models", {"api-key": key}),
            ("/v1/models", {"x-api-key": key, "anthropic-version": "2023-06-01"}),
            ("/v1beta/models", {"x-goog-api-key": key}),
            (f"/v1beta/models?key={key}", {}),
        ]
        for path, headers in places:
            async with running.client.get(path, headers=headers) as reply:
                assert reply.status == 200, path
            async with running.client.get(path.partition("?")[0]) as reply:
                assert reply.status == 401
                assert (await reply.json())["error"]["message"]


async def test_a_revoked_key_is_refused_and_a_rotated_one_replaced(serve: Serve) -> None:
    async with serve() as running:
        admin = await new_key(running, "boss", role="admin")
        key = await new_key(running, "app", admin)
        path = "/admin/keys/app/rotate"
        async with running.client.post(path, json={}, headers=bearer(admin)) as reply:
            fresh = (await answer(reply))["secret"]
        async with running.client.delete("/admin/keys/app", headers=bearer(admin)) as reply:
            await answer(reply)
        for secret in (key, fresh):
            async with running.client.get("/v1/models", headers=bearer(secret)) as reply:
                assert reply.status == 401


async def test_a_budget_refuses_what_it_does_not_cover_and_spend_says_what_was_paid(
    serve: Serve,
) -> None:
    async with serve() as running:
        client = running.client
        async with client.post("/v1/messages", json=MESSAGE) as reply:
            await answer(reply)
            cost = Decimal(reply.headers["x-farthing-cost"])
        async with client.get("/admin/spend?by=model&since=2020-01-01") as reply:
            rows = await answer(reply)
            assert [row["name"] for row in rows] == ["sim/slow"]
            assert rows[0]["nanodollars"] == cost * 10**9
        limit = {"dollars": "0.000000001", "window": "total"}
        async with client.put("/admin/budgets/tiny", json=limit) as reply:
            assert (await answer(reply))["nanodollars"] == 1
        async with client.post("/v1/messages", json=MESSAGE) as reply:
            assert reply.status == 402
            assert "tiny" in (await reply.json())["error"]["message"]
        async with client.delete("/admin/budgets/tiny") as reply:
            assert (await answer(reply))["name"] == "tiny"
        async with client.post("/v1/messages", json=MESSAGE) as reply:
            assert reply.status == 200


async def test_wrong_input_names_the_field(serve: Serve) -> None:
    async with serve() as running:
        cases = [
            ("POST", "/admin/keys", {"name": ""}, "name"),
            ("POST", "/admin/keys", {"name": "a", "rolle": "admin"}, "rolle"),
            ("PUT", "/admin/budgets/a", {"dollars": "much"}, "much"),
            ("GET", "/admin/spend?by=moon", None, "by"),
            ("GET", "/admin/spend?since=yesterday", None, "since"),
            ("POST", "/admin/unsettled/call_nothing/release", None, "call_nothing"),
        ]
        for method, path, body, named in cases:
            async with running.client.request(method, path, json=body) as reply:
                assert reply.status in (400, 404), path
                assert named in str((await reply.json())["error"])


async def test_health_of_deployments_and_reload_without_a_file(serve: Serve) -> None:
    async with serve() as running:
        async with running.client.get("/admin/deployments") as reply:
            rows = await answer(reply)
            assert {row["state"] for row in rows} == {"closed"}
            assert all(row["is_simulated"] for row in rows)
        async with running.client.post("/admin/reload") as reply:
            assert reply.status == 409
