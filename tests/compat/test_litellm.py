"""LiteLLM's package as a client of the gateway, in each dialect that it speaks."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.compat.house import CHAT, House
from tests.compat.speakers import CITY

SAY = [{"role": "user", "content": "Where is Ulm?"}]
ANSWER = "[simulated] Where is Ulm?"
PREFIXES = ("openai", "anthropic", "azure", "gemini")


@pytest.fixture(scope="module")
def litellm(require_sdk: Callable[[str], ModuleType]) -> Any:
    sdk = require_sdk("litellm")
    sdk.telemetry = False
    sdk.suppress_debug_info = True
    return sdk


@pytest.fixture(params=PREFIXES)
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=CHAT.values())
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fields(prefix: str, model: str, house: House) -> dict[str, Any]:
    """What `litellm.completion` is given so that it calls the gateway."""
    address = {"openai": f"{house.url}/v1", "gemini": f"{house.url}/v1beta"}
    fields: dict[str, Any] = {
        "model": f"{prefix}/{model}",
        "api_base": address.get(prefix, house.url),
        "api_key": house.key,
        "num_retries": 0,
        # Without it a call with tools imports the package `mcp`, which litellm does not require (1.106.2).
        "_skip_mcp_handler": True,
    }
    if prefix == "azure":
        fields["api_version"] = "2024-10-21"
    return fields


def test_a_whole_answer_is_read(litellm: Any, fields: dict[str, Any]) -> None:
    made = litellm.completion(messages=SAY, **fields)
    assert made.choices[0].message.content == ANSWER
    assert made.choices[0].finish_reason == "stop"
    assert made.usage.completion_tokens > 3


def test_a_stream_is_read(litellm: Any, fields: dict[str, Any]) -> None:
    chunks = list(
        litellm.completion(
            messages=SAY, stream=True, stream_options={"include_usage": True}, **fields
        )
    )
    said = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(said) == ANSWER
    assert chunks[-1].usage.completion_tokens > 3


def test_a_tool_is_called(litellm: Any, fields: dict[str, Any]) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
    made = litellm.completion(
        messages=[{"role": "user", "content": "weather"}], tools=[tool], **fields
    )
    assert made.choices[0].message.tool_calls[0].function.name == "weather"


async def test_an_async_answer_is_read(litellm: Any, fields: dict[str, Any]) -> None:
    made = await litellm.acompletion(messages=SAY, **fields)
    assert made.choices[0].message.content == ANSWER


@pytest.mark.parametrize("prefix", ["openai", "azure"])
@pytest.mark.parametrize("model", ["any-embed"])
def test_texts_are_embedded(litellm: Any, fields: dict[str, Any]) -> None:
    made = litellm.embedding(input=["Ulm", "Bonn"], **fields)
    assert [row["index"] for row in made.data] == [0, 1]


@pytest.mark.parametrize("model", ["chat"])
def test_a_wrong_key_is_an_authentication_error(litellm: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(messages=SAY, **(fields | {"api_key": "wrong"}))


@pytest.mark.parametrize("model", ["claude-429"])
def test_a_spent_quota_is_a_rate_limit_error(litellm: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(litellm.RateLimitError):
        litellm.completion(messages=SAY, **fields)
