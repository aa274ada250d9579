"""The official anthropic package, with nothing but its base URL changed."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pydantic
import pytest

from tests.compat.house import CHAT, House
from tests.compat.speakers import CITY, PIXEL

SAY = [{"role": "user", "content": "Where is Ulm?"}]
ANSWER = "[simulated] Where is Ulm?"
TOOL = {"name": "weather", "description": "Look it up.", "input_schema": CITY}


class Place(pydantic.BaseModel):
    """What the answer shall look like."""

    city: str


@pytest.fixture(scope="module")
def anthropic(require_sdk: Callable[[str], ModuleType]) -> Any:
    return require_sdk("anthropic")


@pytest.fixture(params=CHAT.values())
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_whole_message_is_answered(anthropic_client: Any, model: str) -> None:
    raw = anthropic_client.messages.with_raw_response.create(
        model=model, max_tokens=100, messages=SAY
    )
    made = raw.parse()
    assert made.type == "message"
    assert made.role == "assistant"
    assert made.content[0].text == ANSWER
    assert float(raw.headers["x-farthing-cost"]) == pytest.approx(
        (made.usage.input_tokens + 4 * made.usage.output_tokens) / 1e6
    )


def test_a_stream_has_every_event_in_order(anthropic_client: Any, model: str) -> None:
    with anthropic_client.messages.stream(model=model, max_tokens=100, messages=SAY) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_text() == ANSWER
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1


def test_a_tool_loop_ends_in_an_answer(anthropic_client: Any, model: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "weather"}]
    asked = {"model": model, "max_tokens": 100, "tools": [TOOL]}
    first = anthropic_client.messages.create(messages=messages, **asked)
    call = first.content[-1]
    assert call.input == {"city": "simulated"}
    messages.append({"role": "assistant", "content": first.content})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sun", "is_error": False}
    messages.append({"role": "user", "content": [result]})
    second = anthropic_client.messages.create(messages=messages, **asked)
    assert second.stop_reason == "end_turn"


def test_thinking_is_shown_and_goes_back_with_its_signature(anthropic_client: Any) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = {"model": "claude-thinker", "max_tokens": 4000, "thinking": thinking}
    with anthropic_client.messages.stream(messages=SAY, **asked) as stream:
        first = stream.get_final_message()
    assert [block.type for block in first.content] == ["thinking", "text"]
    assert first.content[0].signature
    again = [*SAY, {"role": "assistant", "content": first.content}, *SAY]
    assert anthropic_client.messages.create(messages=again, **asked).stop_reason == "end_turn"


def test_thinking_of_one_vendor_is_no_burden_to_another(anthropic_client: Any) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = {"max_tokens": 4000, "thinking": thinking}
    first = anthropic_client.messages.create(messages=SAY, model="claude-thinker", **asked)
    again = [*SAY, {"role": "assistant", "content": first.content}, *SAY]
    made = anthropic_client.messages.create(messages=again, model="gemini-thinker", **asked)
    assert made.content[-1].text == ANSWER


def test_a_cached_prefix_is_billed_as_the_vendor_says(anthropic_client: Any, house: House) -> None:
    text = {"type": "text", "text": "Ulm lies on the Danube. " * 400}
    system = [text | {"cache_control": {"type": "ephemeral"}}]
    for _ in range(2):
        made = anthropic_client.messages.create(
            model="claude", max_tokens=50, system=system, messages=SAY
        )
    usage, billed = made.usage, house.invoice()[-1]["usage"]
    assert usage.cache_read_input_tokens == billed["cached_input_tokens"] > 1000
    assert usage.input_tokens + usage.cache_read_input_tokens == billed["input_tokens"]


def test_an_image_by_base64_is_seen(anthropic_client: Any, model: str) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    said = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    made = anthropic_client.messages.create(model=model, max_tokens=50, messages=said)
    assert made.usage.input_tokens >= 255


def test_tokens_are_counted_without_being_billed(
    anthropic_client: Any, house: House, model: str
) -> None:
    billed = len(house.invoice())
    counted = anthropic_client.messages.count_tokens(model=model, messages=SAY, tools=[TOOL])
    assert counted.input_tokens > 5
    assert len(house.invoice()) == billed


def test_models_are_listed_page_by_page(anthropic_client: Any) -> None:
    names = [m.id for m in anthropic_client.models.list(limit=3)]
    assert len(names) == len(set(names)) > 3
    assert "gemini" in names
    assert anthropic_client.models.retrieve("gemini").id == "gemini"


def test_an_answer_is_parsed_into_the_callers_class(anthropic_client: Any, model: str) -> None:
    made = anthropic_client.messages.parse(
        model=model, max_tokens=100, messages=SAY, output_format=Place
    )
    assert made.parsed_output == Place(city="simulated")


def test_the_packages_own_loop_runs_a_tool(
    anthropic: Any, anthropic_client: Any, model: str
) -> None:
    seen = []

    def weather(city: str) -> str:
        """Look the weather of a city up."""
        seen.append(city)
        return "sun"

    runner = anthropic_client.beta.messages.tool_runner(
        model=model,
        max_tokens=100,
        tools=[anthropic.beta_tool(weather)],
        messages=[{"role": "user", "content": "weather"}],
    )
    assert runner.until_done().stop_reason == "end_turn"
    assert seen == ["simulated"]


def test_a_model_that_thinks_before_a_tool_gets_its_thoughts_back(
    anthropic_client: Any, model: str
) -> None:
    messages: list[Any] = [{"role": "user", "content": "weather"}]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = {"max_tokens": 4000, "tools": [TOOL], "thinking": thinking}
    with anthropic_client.messages.stream(
        model=f"{model}-thinker", messages=messages, **asked
    ) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    call = first.content[-1]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sun"}
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    second = anthropic_client.messages.create(model=f"{model}-thinker", messages=messages, **asked)
    assert second.stop_reason == "end_turn"


class TestErrors:
    def test_a_wrong_key_is_an_authentication_error(
        self, anthropic: Any, anthropic_client: Any
    ) -> None:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            anthropic_client.with_options(api_key="wrong").messages.create(
                model="claude", max_tokens=9, messages=SAY
            )
        assert caught.value.body["error"]["type"] == "authentication_error"

    def test_a_token_is_read_as_a_key(self, anthropic: Any, house: House) -> None:
        with anthropic.Anthropic(base_url=house.url, auth_token=house.key) as client:
            assert client.messages.create(model="claude", max_tokens=99, messages=SAY).content

    def test_a_model_outside_the_keys_scope_is_denied(
        self, anthropic: Any, anthropic_client: Any, house: House
    ) -> None:
        narrow = anthropic_client.with_options(api_key=house.narrow_key)
        with pytest.raises(anthropic.PermissionDeniedError):
            narrow.messages.create(model="claude", max_tokens=9, messages=SAY)

    def test_an_unknown_model_is_not_found(self, anthropic: Any, anthropic_client: Any) -> None:
        with pytest.raises(anthropic.NotFoundError, match="claude") as caught:
            anthropic_client.messages.create(model="claudee", max_tokens=9, messages=SAY)
        assert caught.value.body["error"]["type"] == "not_found_error"

    def test_a_wrong_field_is_named(self, anthropic: Any, anthropic_client: Any) -> None:
        with pytest.raises(anthropic.BadRequestError, match="messages"):
            anthropic_client.messages.create(model="chat", max_tokens=9, messages="no list")

    def test_the_vendors_retry_after_reaches_the_client(
        self, anthropic: Any, anthropic_client: Any
    ) -> None:
        with pytest.raises(anthropic.RateLimitError) as caught:
            anthropic_client.messages.create(model="claude-429", max_tokens=9, messages=SAY)
        assert float(caught.value.response.headers["retry-after"]) > 0
        assert caught.value.request_id

    def test_a_stream_that_breaks_off_names_the_call(
        self, anthropic: Any, anthropic_client: Any, model: str
    ) -> None:
        with (
            pytest.raises(anthropic.APIStatusError) as caught,
            anthropic_client.messages.stream(
                model=f"{model}-failing", max_tokens=99, messages=SAY
            ) as stream,
        ):
            stream.until_done()
        assert caught.value.body["request_id"]


class TestAsync:
    @pytest.fixture
    async def client(self, anthropic: Any, house: House) -> Any:
        async with anthropic.AsyncAnthropic(
            base_url=house.url, api_key=house.key, max_retries=0
        ) as client:
            yield client

    async def test_a_message_and_a_stream_are_answered(self, client: Any, model: str) -> None:
        made = await client.messages.create(model=model, max_tokens=100, messages=SAY)
        async with client.messages.stream(model=model, max_tokens=100, messages=SAY) as stream:
            streamed = await stream.get_final_message()
        assert made.content[0].text == streamed.content[0].text == ANSWER
        assert made.usage.output_tokens == streamed.usage.output_tokens
