"""The official google-genai package, with nothing but its base URL changed."""

from __future__ import annotations

import base64
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pydantic
import pytest

from tests.compat.house import CHAT, House
from tests.compat.speakers import PIXEL

ASK = "Where is Ulm?"
ANSWER = "[simulated] Where is Ulm?"


class Place(pydantic.BaseModel):
    """What the answer shall look like."""

    city: str


def weather(city: str) -> str:
    """The weather of a city."""
    return f"Sun in {city}"


@pytest.fixture(scope="module")
def genai(require_sdk: Callable[[str], ModuleType]) -> Any:
    require_sdk("google.genai.errors")
    return require_sdk("google.genai")


@pytest.fixture(params=CHAT.values())
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_whole_answer_is_read(google_client: Any, model: str) -> None:
    made = google_client.models.generate_content(model=model, contents=ASK)
    assert made.text == ANSWER
    usage = made.usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    assert made.sdk_http_response.headers["x-farthing-simulated"] == "true"


def test_a_stream_is_read(google_client: Any, model: str) -> None:
    chunks = list(google_client.models.generate_content_stream(model=model, contents=ASK))
    assert "".join(chunk.text or "" for chunk in chunks) == ANSWER
    assert chunks[-1].candidates[0].finish_reason.value == "STOP"
    assert chunks[-1].usage_metadata.candidates_token_count > 3


def test_a_chat_keeps_its_history(google_client: Any, model: str) -> None:
    chat = google_client.chats.create(model=model)
    chat.send_message("One")
    second = chat.send_message("Two")
    assert second.text == "[simulated] Two"
    assert len(chat.get_history()) == 4


def test_a_python_function_is_called_and_its_result_answered(
    google_client: Any, model: str
) -> None:
    made = google_client.models.generate_content(
        model=model, contents="weather", config={"tools": [weather]}
    )
    assert made.text.startswith("[simulated]")
    called = made.automatic_function_calling_history[1].parts[0].function_call
    assert called.args == {"city": "simulated"}


def test_an_answer_is_parsed_into_the_callers_class(google_client: Any, model: str) -> None:
    config = {"response_mime_type": "application/json", "response_schema": Place}
    made = google_client.models.generate_content(model=model, contents=ASK, config=config)
    assert made.parsed == Place(city="simulated")


def test_an_image_is_seen(google_client: Any, genai: Any, model: str) -> None:
    image = genai.types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")
    made = google_client.models.generate_content(model=model, contents=[ASK, image])
    assert made.usage_metadata.prompt_token_count >= 255


def test_thoughts_are_marked_as_such(google_client: Any) -> None:
    config = {"thinking_config": {"include_thoughts": True}}
    made = google_client.models.generate_content(
        model="gemini-thinker", contents=ASK, config=config
    )
    assert made.candidates[0].content.parts[0].thought
    assert made.text == ANSWER
    assert made.usage_metadata.thoughts_token_count > 0


def test_several_candidates_come_back(google_client: Any) -> None:
    made = google_client.models.generate_content(
        model="gemini", contents=ASK, config={"candidate_count": 2}
    )
    assert len(made.candidates) == 2


def test_tokens_are_counted_without_being_billed(
    google_client: Any, house: House, model: str
) -> None:
    billed = len(house.invoice())
    assert google_client.models.count_tokens(model=model, contents=ASK).total_tokens > 3
    assert len(house.invoice()) == billed


def test_models_are_listed(google_client: Any) -> None:
    assert {"models/chat", "models/claude"} <= {m.name for m in google_client.models.list()}
    assert google_client.models.get(model="claude").name == "models/claude"


class TestErrors:
    def test_a_wrong_key_is_a_client_error(self, genai: Any, house: House) -> None:
        options = genai.types.HttpOptions(base_url=house.url)
        with (
            genai.Client(api_key="wrong", http_options=options) as client,
            pytest.raises(genai.errors.ClientError) as caught,
        ):
            client.models.generate_content(model="gemini", contents=ASK)
        assert caught.value.code == 401
        assert caught.value.status == "UNAUTHENTICATED"

    def test_a_model_outside_the_keys_scope_is_denied(self, genai: Any, house: House) -> None:
        options = genai.types.HttpOptions(base_url=house.url)
        with (
            genai.Client(api_key=house.narrow_key, http_options=options) as client,
            pytest.raises(genai.errors.ClientError) as caught,
        ):
            client.models.generate_content(model="claude", contents=ASK)
        assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")

    def test_an_unknown_model_is_not_found(self, genai: Any, google_client: Any) -> None:
        with pytest.raises(genai.errors.ClientError, match="gemini") as caught:
            google_client.models.generate_content(model="geminy", contents=ASK)
        assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")

    def test_a_spent_quota_is_resource_exhausted(self, genai: Any, google_client: Any) -> None:
        with pytest.raises(genai.errors.ClientError) as caught:
            google_client.models.generate_content(model="chat-429", contents=ASK)
        assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")


class TestAsync:
    async def test_an_answer_and_a_stream_are_read(self, genai: Any, house: House) -> None:
        options = genai.types.HttpOptions(base_url=house.url)
        client = genai.Client(api_key=house.key, http_options=options)
        async with client.aio as models:
            made = await models.models.generate_content(model="gemini", contents=ASK)
            stream = await models.models.generate_content_stream(model="claude", contents=ASK)
            text = "".join([chunk.text or "" async for chunk in stream])
        assert made.text == text == ANSWER
