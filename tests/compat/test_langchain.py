"""langchain-openai and langchain-anthropic, with nothing but the base URL changed."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pydantic
import pytest

from tests.compat.house import CHAT, House

ASK = "Where is Ulm?"
ANSWER = "[simulated] Where is Ulm?"


class Place(pydantic.BaseModel):
    """What the answer shall look like."""

    city: str


class Weather(pydantic.BaseModel):
    """The weather of a city."""

    city: str


@pytest.fixture(params=["chat", "responses", "anthropic"])
def speak(
    request: pytest.FixtureRequest, require_sdk: Callable[[str], ModuleType], house: House
) -> Callable[[str], Any]:
    """`speak(model)`: a chat model of LangChain in one of its three dialects."""
    if request.param == "anthropic":
        chat = require_sdk("langchain_anthropic").ChatAnthropic
        return lambda model: chat(
            model=model, base_url=house.url, api_key=house.key, max_retries=0, max_tokens=500
        )
    chat = require_sdk("langchain_openai").ChatOpenAI
    return lambda model: chat(
        model=model,
        base_url=f"{house.url}/v1",
        api_key=house.key,
        max_retries=0,
        use_responses_api=request.param == "responses",
        stream_usage=True,
    )


@pytest.fixture(params=CHAT.values())
def model(request: pytest.FixtureRequest, speak: Callable[[str], Any]) -> Any:
    """The chat model on each provider dialect."""
    return speak(request.param)


def test_an_answer_and_its_usage_are_read(model: Any) -> None:
    made = model.invoke(ASK)
    assert made.text == ANSWER
    usage = made.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 5


def test_a_stream_adds_up(model: Any) -> None:
    chunks = list(model.stream(ASK))
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert len(chunks) > 3
    assert total.text == ANSWER
    assert total.usage_metadata["output_tokens"] > 3


@pytest.mark.parametrize("name", CHAT.values())
@pytest.mark.parametrize("use_responses_api", [False, True])
async def test_an_async_stream_adds_up(
    require_sdk: Callable[[str], ModuleType], house: House, name: str, use_responses_api: bool
) -> None:
    # The package keeps a connection pool of its own beyond the event loop; this one is closed.
    async with require_sdk("httpx").AsyncClient() as connections:
        model = require_sdk("langchain_openai").ChatOpenAI(
            model=name,
            base_url=f"{house.url}/v1",
            api_key=house.key,
            http_async_client=connections,
            use_responses_api=use_responses_api,
        )
        assert "".join([chunk.text async for chunk in model.astream(ASK)]) == ANSWER


def test_a_bound_tool_is_called_and_its_result_answered(model: Any) -> None:
    from langchain_core.messages import HumanMessage, ToolMessage

    able = model.bind_tools([Weather])
    asked = [HumanMessage("Ask Weather")]
    first = able.invoke(asked)
    assert [(c["name"], c["args"]) for c in first.tool_calls] == [
        ("Weather", {"city": "simulated"})
    ]
    told = ToolMessage("sun", tool_call_id=first.tool_calls[0]["id"])
    second = able.invoke([*asked, first, told])
    assert not second.tool_calls
    assert second.text.startswith("[simulated]")


def test_a_streamed_tool_call_adds_up(model: Any) -> None:
    chunks = list(model.bind_tools([Weather]).stream("Ask Weather"))
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert total.tool_calls[0]["args"] == {"city": "simulated"}


def test_an_answer_is_parsed_into_the_callers_class(model: Any) -> None:
    made = model.with_structured_output(Place, method="json_schema").invoke(ASK)
    assert made == Place(city="simulated")


@pytest.mark.parametrize("provider", ["chat", "responses", "claude"])
def test_a_forced_tool_is_parsed_into_the_callers_class(
    speak: Callable[[str], Any], provider: str
) -> None:
    able = speak(provider).with_structured_output(Place, method="function_calling")
    assert able.invoke(ASK) == Place(city="simulated")


def test_one_tool_at_a_time_is_more_than_google_promises(
    require_sdk: Callable[[str], ModuleType], house: House
) -> None:
    model = require_sdk("langchain_openai").ChatOpenAI(
        model="gemini", base_url=f"{house.url}/v1", api_key=house.key, max_retries=0
    )
    with pytest.raises(Exception, match="parallel_tool_calls"):
        model.with_structured_output(Place, method="function_calling").invoke(ASK)


def test_texts_are_embedded(require_sdk: Callable[[str], ModuleType], house: House) -> None:
    embedder = require_sdk("langchain_openai").OpenAIEmbeddings(
        model="any-embed",
        base_url=f"{house.url}/v1",
        api_key=house.key,
        dimensions=32,
        check_embedding_ctx_length=False,
    )
    vectors = embedder.embed_documents(["Ulm", "Bonn"])
    assert [len(vector) for vector in vectors] == [32, 32]
    assert embedder.embed_query("Ulm") == pytest.approx(vectors[0])


def test_azures_chat_model_is_answered(
    require_sdk: Callable[[str], ModuleType], house: House
) -> None:
    model = require_sdk("langchain_openai").AzureChatOpenAI(
        azure_endpoint=house.url,
        azure_deployment="claude",
        api_version="2024-10-21",
        api_key=house.key,
        max_retries=0,
    )
    assert model.invoke(ASK).text == ANSWER
