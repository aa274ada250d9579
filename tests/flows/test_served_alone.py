"""`flow serve`: prompt flow's HTTP interface at /, each promise asked of a real socket."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from farthing import __version__
from farthing.base.config.settings import Server
from farthing.core.errors import ConfigError
from farthing.flows.serving.served import INCLUDED_FIELDS
from farthing.gateway.client import open_gateway
from farthing.server.flowserver import flow_app
from farthing.server.listener import listen
from tests.flows.served import (
    ASYNC_WORDS,
    CHAT,
    ECHO,
    PLAIN_WORDS,
    WORDS,
    alone,
    lay,
    open_small,
    settings_of,
)

STREAM = {"accept": "text/event-stream"}


@asynccontextmanager
async def flow(
    tmp_path: Path, files: Mapping[str, str], **put: str
) -> AsyncIterator[aiohttp.ClientSession]:
    async with alone(tmp_path, lay(tmp_path / "my_flow", files, **put)) as client:
        yield client


async def post(
    client: aiohttp.ClientSession, body: Any, *, path: str = "/score", **headers: str
) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.post(path, data=data, headers=named) as reply:
        return reply.status, await reply.json()


async def events(client: aiohttp.ClientSession, body: Any, accept: str) -> tuple[str, list[Any]]:
    async with client.post("/score", json=body, headers={"accept": accept}) as reply:
        text = await reply.text()
        assert reply.status == 200, text
        parts = [json.loads(each.removeprefix("data: ")) for each in text.split("\n\n") if each]
        return reply.content_type, parts


# --- scoring ---


async def test_a_json_object_of_inputs_gives_the_outputs(tmp_path: Path) -> None:
    async with flow(tmp_path, ECHO) as client:
        status, answer = await post(client, {"text": "hello", "more": 1})
    assert (status, answer) == (200, {"answer": "hello", "size": 5})


async def test_outputs_for_evaluation_only_are_left_out(tmp_path: Path) -> None:
    async with flow(tmp_path, ECHO) as client:
        _, answer = await post(client, {"text": "hello"})
    assert "secret" not in answer


async def test_a_variable_selects_the_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INCLUDED_FIELDS, '["size"]')
    async with flow(tmp_path, ECHO) as client:
        assert await post(client, {"text": "hello"}) == (200, {"size": 5})


async def test_a_body_that_is_no_json_is_the_only_input(tmp_path: Path) -> None:
    async with flow(tmp_path, ECHO) as client:
        _, answer = await post(client, "größer {".encode())
    assert answer["answer"] == "größer {"


async def test_a_body_that_is_no_json_is_refused_where_there_are_two_inputs(
    tmp_path: Path,
) -> None:
    two = {"text: {type: string, is_chat_input: true}": "text: {type: string}\n  b: {type: int}"}
    async with flow(tmp_path, ECHO, **two) as client:
        status, answer = await post(client, b"hello")
    assert status == 400
    assert "2 inputs" in answer["error"]["message"]


async def test_a_json_body_that_is_no_object_is_refused(tmp_path: Path) -> None:
    async with flow(tmp_path, ECHO) as client:
        status, answer = await post(client, ["hello"])
    assert (status, answer["error"]["code"]) == (400, "UserError")


async def test_a_flow_without_inputs_takes_any_body(tmp_path: Path) -> None:
    none = {
        "text: {type: string, is_chat_input: true}": "",
        "inputs:\n  \n": "",
        '"${inputs.text}"': "fixed",
    }
    async with flow(tmp_path, ECHO, **none) as client:
        assert (await post(client, b"\xff no json"))[1]["answer"] == "fixed"


async def test_inputs_are_missing_or_wrong(tmp_path: Path) -> None:
    async with flow(tmp_path, ECHO, **{"string, is_chat_input: true": "int"}) as client:
        missing = await post(client, {})
        wrong = await post(client, {"text": "much"})
    assert missing[0] == wrong[0] == 400
    assert "'text'" in missing[1]["error"]["message"]
    assert "no int" in wrong[1]["error"]["message"]


async def test_a_node_that_fails_is_told_as_code_and_message_without_its_text(
    tmp_path: Path,
) -> None:
    async with flow(tmp_path, ECHO) as client:
        status, answer = await post(client, {"text": "fail"})
    assert status == 400
    assert list(answer) == ["error"]
    assert list(answer["error"]) == ["code", "message"]
    assert answer["error"]["code"] == "UserError"
    assert "'echo' failed with ValueError" in answer["error"]["message"]
    assert "private" not in str(answer)


async def test_an_output_that_json_cannot_say_is_an_error(tmp_path: Path) -> None:
    files = {**ECHO, "echo.py": ECHO["echo.py"].replace("len(text)", "object()")}
    async with flow(tmp_path, files) as client:
        status, answer = await post(client, {"text": "x"})
    assert status == 400
    assert "'size'" in answer["error"]["message"]


async def test_a_provider_that_is_down_is_a_system_error(tmp_path: Path) -> None:
    path = lay(tmp_path / "f", CHAT, STREAM="true", **{"sim/quick": "down/gpt-4o"})
    async with alone(tmp_path, path) as client:
        for accept in ("*/*", "text/event-stream"):
            status, answer = await post(client, {"question": "hi"}, accept=accept)
            assert (status, answer["error"]["code"]) == (500, "SystemError")


# --- images by path ---


@pytest.mark.parametrize(
    "value",
    [
        {"data:image/png;path": "/etc/hostname"},
        [{"inputs": {"deep": [{"data:image/*;path": "x.png"}]}}],
        '[{"data:image/png;path": "x.png"}]',
        "data:image/png;path:/etc/hostname",
        {"type": "image_file", "image_file": {"path": "x.png"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/hostname"}},
    ],
)
async def test_an_image_by_its_path_is_refused(tmp_path: Path, value: object) -> None:
    async with flow(tmp_path, ECHO, **{"string, is_chat_input: true": "object"}) as client:
        status, answer = await post(client, {"text": value})
    assert status == 400
    assert "does not open" in answer["error"]["message"]
    assert "hostname" not in str(answer)


# --- streams ---


@pytest.mark.parametrize("files", [PLAIN_WORDS, ASYNC_WORDS])
async def test_a_stream_gives_the_other_outputs_first_and_then_each_piece(
    tmp_path: Path, files: dict[str, str]
) -> None:
    async with flow(tmp_path, files) as client:
        media, told = await events(client, {"text": "a b c"}, "text/event-stream")
    assert media == "text/event-stream"
    assert told == [{"first": "a b c"}, {"answer": "a "}, {"answer": "b "}, {"answer": "c "}]


async def test_the_last_model_streams_to_whoever_takes_pieces(tmp_path: Path) -> None:
    async with flow(tmp_path, CHAT, STREAM="false") as client:
        media, told = await events(client, {"question": "hi"}, "text/event-stream")
        _, whole = await post(client, {"question": "hi"}, accept="application/json")
    assert media == "text/event-stream"
    assert len(told) > 1
    assert "".join(each["answer"] for each in told) == whole["answer"]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/*, text/html", ""])
@pytest.mark.parametrize("files", [PLAIN_WORDS, ASYNC_WORDS])
async def test_json_joins_the_pieces(tmp_path: Path, files: dict[str, str], accept: str) -> None:
    async with flow(tmp_path, files) as client:
        status, answer = await post(client, {"text": "a b"}, accept=accept)
    assert (status, answer) == (200, {"answer": "a b ", "first": "a b"})


async def test_an_event_stream_named_beside_json_is_preferred(tmp_path: Path) -> None:
    async with flow(tmp_path, PLAIN_WORDS) as client:
        media, _ = await events(client, {"text": "a"}, "application/json, Text/Event-Stream;q=0.5")
    assert media == "text/event-stream"


@pytest.mark.parametrize("accept", ["text/html", "text/*", "image/png"])
async def test_other_media_types_are_not_acceptable(tmp_path: Path, accept: str) -> None:
    async with flow(tmp_path, PLAIN_WORDS) as client:
        status, answer = await post(client, {"text": "a"}, accept=accept)
    assert (status, answer["error"]["code"]) == (406, "UserError")


async def test_an_event_stream_alone_is_not_acceptable_without_a_generator(tmp_path: Path) -> None:
    async with flow(tmp_path, ECHO) as client:
        status, _ = await post(client, {"text": "a"}, accept="text/event-stream")
        assert status == 406
        status, _ = await post(client, {"text": "a"}, accept="text/event-stream, */*")
        assert status == 200


async def test_two_generators_are_joined_or_an_error_where_pieces_are_taken(tmp_path: Path) -> None:
    second = {'"${inputs.text}"}\nnodes': '"${words.output}"}\nnodes'}
    assert next(iter(second)) in WORDS
    async with flow(tmp_path, PLAIN_WORDS, **second) as client:
        status, answer = await post(client, {"text": "a"}, accept="*/*")
        assert (status, answer) == (200, {"answer": "a ", "first": "a "})
        status, answer = await post(client, {"text": "a"}, accept="text/event-stream")
    assert status == 400
    assert "answer, first are generators" in answer["error"]["message"]


async def test_a_generator_that_fails_at_once_has_a_status(tmp_path: Path) -> None:
    async with flow(tmp_path, PLAIN_WORDS) as client:
        status, answer = await post(client, {"text": "fail"}, accept="text/event-stream")
    assert status == 400
    assert "ValueError" in answer["error"]["message"]


async def test_a_generator_that_fails_later_ends_with_an_event_that_says_so(tmp_path: Path) -> None:
    async with (
        flow(tmp_path, PLAIN_WORDS) as client,
        client.post("/score", json={"text": "a fail"}, headers=STREAM) as reply,
    ):
        received = await reply.read()
    assert b'data: {"answer":"a "}' in received
    told = received.rpartition(b"event: error\ndata: ")[2]
    assert json.loads(told)["error"]["code"] == "UserError"
    assert b"private" not in received


async def test_a_reader_who_leaves_ends_the_generator(tmp_path: Path) -> None:
    mark = tmp_path / "closed"
    files = {
        "flow.dag.yaml": WORDS,
        "words.py": f"""
import asyncio
from pathlib import Path
from farthing.flows.code.tool import node

@node
def words(text: str):
    async def give():
        try:
            yield "a"
            await asyncio.sleep(60)
        finally:
            Path({str(mark)!r}).touch()
    return give()
""",
    }
    async with flow(tmp_path, files) as client:
        async with client.post("/score", json={"text": "x"}, headers=STREAM) as reply:
            await reply.content.readany()
        await client.get("/health")
    assert mark.exists()


async def test_a_model_that_streams_is_streamed_or_joined(tmp_path: Path) -> None:
    async with flow(tmp_path, CHAT, STREAM="true") as client:
        _, whole = await post(client, {"question": "hi"})
        _, told = await events(client, {"question": "hi"}, "text/event-stream")
    assert whole["answer"]
    assert len(told) > 1
    assert "".join(each["answer"] for each in told).strip()


# --- what is known of it ---


async def test_health_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with flow(tmp_path, ECHO) as client:
        async with client.get("/health") as reply:
            assert await reply.json() == {"status": "Healthy", "version": __version__}
        async with client.get("/version") as reply:
            said = await reply.json()
            assert said == {"status": "Healthy", "build_info": "", "version": __version__}
        monkeypatch.setenv("BUILD_INFO", '{"build_number": "7.1"}')
        async with client.get("/version") as reply:
            assert (await reply.json())["version"] == "7.1"


async def test_swagger_describes_inputs_and_outputs(tmp_path: Path) -> None:
    files = {
        **ECHO,
        "flow.dag.yaml": """
inputs:
  text: {type: string, is_chat_input: true, description: What to say}
  history: {type: list, is_chat_history: true, default: []}
  n: {type: int, default: 3}
  x: {type: double, default: 0}
  b: {type: bool}
  o: {type: object}
  i: {type: image}
outputs:
  answer: {type: string, reference: "${echo.output.text}", is_chat_output: true}
  secret: {type: string, reference: "${echo.output.text}", evaluation_only: true}
  parts: {type: list, reference: "${inputs.history}"}
nodes:
- {name: echo, type: python, source: {type: code, path: echo.py}, inputs: {text: "${inputs.text}"}}
""",
        "samples.json": '[{"text": "hello"}, {"text": "other"}]',
    }
    async with flow(tmp_path, files) as client, client.get("/swagger.json") as reply:
        told = await reply.json()
    assert told["openapi"] == "3.0.0"
    assert told["info"] == {
        "title": "Promptflow[my_flow] API",
        "version": "1.0.0",
        "x-flow-name": "my_flow",
        "x-chat-input": "text",
        "x-flow-type": "chat",
        "x-chat-history": "history",
        "x-chat-output": "answer",
    }
    asked = told["paths"]["/score"]["post"]
    content = asked["requestBody"]["content"]["application/json"]
    assert content["example"] == {"text": "hello"}
    parts = {"type": "array", "items": {"type": "object", "additionalProperties": {}}}
    assert content["schema"] == {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "What to say"},
            "history": parts,
            "n": {"type": "integer", "default": 3},
            "x": {"type": "number"},
            "b": {"type": "boolean"},
            "o": {"type": "object", "additionalProperties": {}},
            "i": {"type": "object"},
        },
        "required": ["text", "history", "n", "x", "b", "o", "i"],
    }
    given = asked["responses"]["200"]["content"]["application/json"]["schema"]
    assert given == {"type": "object", "properties": {"answer": {"type": "string"}, "parts": parts}}
    assert set(asked["responses"]) == {"200", "400", "default"}
    assert set(told["paths"]["/feedback"]) == {"post", "parameters"}
    assert told["security"] == [{"bearerAuth": []}]


async def test_the_page_runs_nothing_but_what_stands_in_it(tmp_path: Path) -> None:
    async with flow(tmp_path, ECHO) as client, client.get("/") as reply:
        text = await reply.text()
        policy = reply.headers["content-security-policy"]
        assert reply.content_type == "text/html"
    assert "script-src 'sha256-" in policy and "unsafe" not in policy
    assert "http://" not in text and "https://" not in text
    assert "innerHTML" not in text


async def test_an_unknown_path_is_told_in_the_same_form(tmp_path: Path) -> None:
    async with flow(tmp_path, ECHO) as client:
        status, answer = await post(client, {}, path="/scores")
        assert (status, answer["error"]["code"]) == (404, "UserError")
        assert "/score" in answer["error"]["message"]
        async with client.get("/score") as reply:
            assert reply.status == 405
        async with client.post("/v1/chat/completions", json={}) as reply:
            assert reply.status == 404


# --- who may ask ---


async def test_a_page_of_another_origin_may_not_ask(tmp_path: Path) -> None:
    async with flow(tmp_path, ECHO) as client:
        status, _ = await post(client, {"text": "a"}, origin="https://elsewhere.example")
        assert status == 403


async def test_an_open_server_asks_for_no_key_and_no_origin(tmp_path: Path) -> None:
    path = lay(tmp_path / "my_flow", CHAT, STREAM="false")
    async with alone(tmp_path, path, is_open=True) as client:
        status, _ = await post(client, {"question": "a"}, origin="https://elsewhere.example")
        assert status == 200


async def test_a_flow_is_not_laid_open_to_other_machines_by_mistake(tmp_path: Path) -> None:
    path = lay(tmp_path / "my_flow", ECHO)
    settings = settings_of(tmp_path)
    with listen(Server(host="0.0.0.0", port=0)) as listener:
        async with open_gateway(settings, environ={}) as gateway:
            with pytest.raises(ConfigError, match="no key yet"):
                async with flow_app(path, listener, gateway=gateway, opener=open_small):
                    pass


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from farthing.gateway.client import open_gateway
from farthing.server.flowserver import serve_flow
from tests.flows.served import open_small, settings_of

async def main(folder):
    async with open_gateway(settings_of(folder), environ={}) as gateway:
        await serve_flow(
            folder / "my_flow", "127.0.0.1", 0, gateway=gateway, opener=open_small,
            ready=lambda url: print(url, flush=True),
        )
    print("ended", flush=True)

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    lay(tmp_path / "my_flow", ECHO)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROGRAM,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            url = (await process.stdout.readline()).decode().strip()
            async with aiohttp.ClientSession(url) as client:
                assert (await post(client, {"text": "x"}))[0] == 200
            process.send_signal(signal.SIGTERM)
            assert await process.stdout.readline() == b"ended\n"
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
