"""OpenAI's Azure client, and OpenAI's own client at Azure's v1 address."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.compat.house import House
from tests.compat.speakers import CITY

SAY = [{"role": "user", "content": "Where is Ulm?"}]
ANSWER = "[simulated] Where is Ulm?"
#: Behind these names: Azure's v1 API, its classic API, OpenAI, Anthropic, Google.
MODELS = ("azure", "azure-classic", "any", "claude", "gemini")


@pytest.fixture(scope="module")
def openai(require_sdk: Callable[[str], ModuleType]) -> Any:
    return require_sdk("openai")


@pytest.fixture(scope="module", params=["classic", "v1"])
def client(request: pytest.FixtureRequest, openai: Any, house: House) -> Any:
    if request.param == "classic":
        made = openai.AzureOpenAI(
            azure_endpoint=house.url, api_key=house.key, api_version="2024-10-21", max_retries=0
        )
    else:
        made = openai.OpenAI(base_url=f"{house.url}/openai/v1", api_key=house.key, max_retries=0)
    with made as client:
        yield client


@pytest.mark.parametrize("model", MODELS)
def test_a_whole_chat_is_answered(client: Any, model: str) -> None:
    made = client.chat.completions.create(model=model, messages=SAY)
    assert made.choices[0].message.content == ANSWER


@pytest.mark.parametrize("model", MODELS)
def test_a_streamed_chat_is_answered(client: Any, model: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=model, messages=SAY, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
    assert chunks[-1].usage.completion_tokens > 3


@pytest.mark.parametrize("model", MODELS)
def test_a_tool_is_called(client: Any, model: str) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
    made = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "weather"}], tools=[tool]
    )
    assert made.choices[0].message.tool_calls[0].function.arguments == '{"city":"simulated"}'
    assert made.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("named", [{}, {"model": None}, {"model": "gpt-35-turbo"}])
def test_the_classic_path_alone_names_the_deployment(
    house: House, model: str, named: dict[str, object]
) -> None:
    request = urllib.request.Request(
        f"{house.url}/openai/deployments/{model}/chat/completions?api-version=2024-10-21",
        data=json.dumps({"messages": SAY, **named}).encode(),
        headers={"api-key": house.key, "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert json.load(reply)["choices"][0]["message"]["content"] == ANSWER


def test_azures_filter_annotations_arrive(client: Any) -> None:
    made = client.chat.completions.create(model="azure", messages=SAY)
    results = made.choices[0].model_extra["content_filter_results"]
    assert results["hate"] == {"filtered": False, "severity": "safe"}


def test_a_prompt_that_azure_filters_is_a_bad_request(openai: Any, client: Any) -> None:
    said = [{"role": "user", "content": "sim:block_prompt=violence"}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="azure", messages=said)
    assert caught.value.code == "content_filter"


def test_texts_are_embedded(client: Any) -> None:
    made = client.embeddings.create(model="azure-embed", input=["Ulm"], dimensions=8)
    assert len(made.data[0].embedding) == 8


def test_a_wrong_key_is_an_authentication_error(openai: Any, client: Any) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model="any", messages=SAY)


def test_an_unknown_deployment_is_not_found(openai: Any, client: Any) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nowhere", messages=SAY)


def test_a_classic_path_without_a_version_says_what_to_add(openai: Any, house: House) -> None:
    base = f"{house.url}/openai/deployments/any"
    with (
        openai.OpenAI(base_url=base, api_key=house.key, max_retries=0) as client,
        pytest.raises(openai.BadRequestError, match="api-version"),
    ):
        client.chat.completions.create(model="any", messages=SAY)


def test_models_are_listed(client: Any) -> None:
    assert {"any", "azure", "claude"} <= {m.id for m in client.models.list()}
    assert client.models.retrieve("claude").id == "claude"


def test_responses_are_answered_at_v1(openai: Any, house: House) -> None:
    with openai.OpenAI(base_url=f"{house.url}/openai/v1", api_key=house.key) as client:
        assert client.responses.create(model="azure", input="Where is Ulm?").output_text == ANSWER


def test_responses_are_answered_by_the_azure_client(openai: Any, house: House) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=house.url, api_key=house.key, api_version="2025-04-01-preview"
    ) as client:
        made = client.responses.create(model="azure", input="Where is Ulm?")
        streamed = list(client.responses.create(model="claude", input="Where is Ulm?", stream=True))
    assert made.output_text == streamed[-1].response.output_text == ANSWER


def test_an_entra_token_is_read_as_a_key(openai: Any, house: House) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=house.url,
        azure_ad_token_provider=lambda: house.key,
        api_version="2024-10-21",
    ) as client:
        made = client.chat.completions.create(model="any", messages=SAY)
    assert made.choices[0].message.content == ANSWER
