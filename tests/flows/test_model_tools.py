"""Prompt flow's tools for models, called from Python code: what is asked of the gateway, and what comes back."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farthing.base.clock import SystemClock
from farthing.core.errors import FlowError, UnknownModelError, UpstreamRejectedError
from farthing.flows import shim
from farthing.flows.code.packages import package_tool
from farthing.flows.connections.connections import (
    AzureOpenAIConnection,
    OpenAIConnection,
    SerpConnection,
    ServerlessConnection,
)
from farthing.flows.engine import ambient
from farthing.flows.models import GatewayModels, Spent
from farthing.flows.prompts.images import Image
from tests.gateway.world import DONE, LOCAL, Step, World, chunk, usage_chunk, whole, world

AZURE = AzureOpenAIConnection("https://no.example", "k")
OPENAI = OpenAIConnection("k", organization="o")
PROMPT = "system:\nbe brief\nuser:\n{{question}}\n{% for x in items %}{{x}}{% endfor %}"


class Line:
    """A line under way: calls something as the function of a node is called."""

    def __init__(self, it: World) -> None:
        self.spent = Spent()
        self._it = it

    async def call(self, function: Callable[[], Any]) -> Any:
        with ambient.line(GatewayModels(self._it.gateway, LOCAL), self.spent, SystemClock()):
            return await asyncio.to_thread(function)

    def sent(self, number: int = 0) -> dict[str, Any]:
        body: dict[str, Any] = msgspec.json.decode(self._it.provider.attempts[number].body)
        return body


@asynccontextmanager
async def line(folder: Path, *answers: Exception | list[Step], **more: Any) -> AsyncIterator[Line]:
    """The model `m` gives these answers."""
    async with world(folder, {"a": list(answers)}, **more) as it:
        yield Line(it)


def tools(name: str) -> Any:
    with shim.active():
        return importlib.import_module(f"promptflow.tools.{name}")


async def test_a_chat_of_azure_has_its_rules_and_its_cost_is_the_lines(tmp_path: Path) -> None:
    async with line(tmp_path, [whole("hello")]) as it:
        chat = tools("aoai").chat
        said = await it.call(
            lambda: chat(AZURE, PROMPT, "m", temperature=0.5, question="why?", items=["a", "b"])
        )
        assert said == "hello"
        assert it.sent() == {
            "model": "remote-x",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "why?\nab"},
            ],
            "temperature": 0.5,
            "top_p": 1.0,
            "n": 1,
            "stream": False,
        }
        assert (it.spent.calls, it.spent.nanodollars) == (1, 20_000)


async def test_a_chat_of_openai_with_functions_gives_the_message(tmp_path: Path) -> None:
    function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    async with line(tmp_path, [whole("hello")]) as it:
        chat = tools("openai").chat
        said = await it.call(
            lambda: chat(
                connection=OPENAI, prompt=PROMPT, model="m", question="?", functions=[function]
            )
        )
        assert said["content"] == "hello"
        assert "n" not in it.sent()


async def test_a_stream_gives_the_text_piece_by_piece(tmp_path: Path) -> None:
    pieces: list[Step] = [
        chunk({"content": "he"}), chunk({"content": "llo"}), chunk(finish="stop"), usage_chunk(), DONE
    ]  # fmt: skip
    async with line(tmp_path, pieces) as it:
        provider = tools("openai").OpenAI(OPENAI)
        said = await it.call(lambda: list(provider.chat(PROMPT, "m", question="?", stream=True)))
        assert said == ["he", "llo"]
        assert it.spent.calls == 1


async def test_a_stream_that_is_left_early_has_its_cost_as_well(tmp_path: Path) -> None:
    pieces: list[Step] = [
        chunk({"content": "he"}), chunk({"content": "llo"}), chunk(finish="stop"), usage_chunk(), DONE
    ]  # fmt: skip

    def first(stream: Any) -> str:
        piece: str = next(stream)
        stream.close()
        return piece

    async with line(tmp_path, pieces) as it:
        provider = tools("openai").OpenAI(OPENAI)
        said = await it.call(lambda: first(provider.chat(PROMPT, "m", question="?", stream=True)))
        assert said == "he"
        assert it.spent.calls == 1


async def test_an_embedding_is_a_vector_whatever_the_connection(tmp_path: Path) -> None:
    embedding = tools("embedding").embedding
    answer = (
        b'{"object":"list","data":[{"embedding":[0.5,1.0],"index":0}],"usage":{"prompt_tokens":1}}'
    )
    facts = {"dialect": "openai-embeddings", "kind": "embed"}
    async with line(tmp_path, [answer], [answer], **facts) as it:
        assert await it.call(lambda: embedding(AZURE, "text", deployment_name="m")) == [0.5, 1.0]
        serverless = ServerlessConnection("k", "https://no.example")
        assert await it.call(lambda: embedding(serverless, "text", model="m")) == [0.5, 1.0]
        assert [it.sent(0), it.sent(1)] == [
            {"input": "text", "model": "remote-x"},
            {"input": ["text"], "model": "remote-x", "encoding_format": "float"},
        ]


async def test_a_chat_about_images_puts_them_where_the_template_names_them(tmp_path: Path) -> None:
    tool = package_tool("promptflow.tools.aoai_gpt4v.AzureOpenAI.chat")
    assert tool.provider is not None
    image, provider = Image(b"\x89PNG\r\n\x1a\n"), tool.provider(AZURE)
    async with line(tmp_path, [whole("hello")]) as it:
        said = await it.call(
            lambda: provider.chat("user:\nWhat is it? ![image]({{i}})", "m", max_tokens=9, i=image)
        )
        assert said == "hello"
        body = it.sent()
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "What is it? "},
        {"type": "image_url", "image_url": {"url": image.url, "detail": "auto"}},
    ]
    assert (body["max_tokens"], body["presence_penalty"]) == (9, 0)


async def test_what_the_gateway_refuses_reaches_the_code(tmp_path: Path) -> None:
    refused = UpstreamRejectedError("No.", upstream_status=400)
    async with line(tmp_path, refused) as it:
        chat = tools("openai").chat
        with pytest.raises(UpstreamRejectedError):
            await it.call(lambda: chat(OPENAI, PROMPT, "m", question="?"))
        with pytest.raises(UnknownModelError):
            await it.call(lambda: chat(OPENAI, PROMPT, "another", question="?"))


async def test_a_connection_that_leads_to_no_model_is_told(tmp_path: Path) -> None:
    embedding = tools("embedding").embedding
    async with line(tmp_path) as it:
        with pytest.raises(FlowError, match="SerpConnection leads to no model"):
            await it.call(lambda: embedding(SerpConnection("k"), "text"))


def test_prompts_are_rendered_and_read_as_nodes_do() -> None:
    common = tools("common")
    text = common.render_jinja_template(PROMPT, question="why?")
    assert common.parse_chat(text, valid_roles=["system", "user"])[1]["content"] == "why?"
    with pytest.raises(FlowError, match="no role 'ghost'"):
        common.parse_chat(text, valid_roles=["ghost"])
