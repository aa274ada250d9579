"""The official openai package, with nothing but its base URL changed."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pydantic
import pytest

from tests.compat.house import House
from tests.compat.speakers import CITY, PIXEL

SAY = [{"role": "user", "content": "Where is Ulm?"}]
ANSWER = "[simulated] Where is Ulm?"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": CITY, "strict": True}}


class Place(pydantic.BaseModel):
    """What the answer shall look like."""

    city: str


@pytest.fixture(scope="session")
def openai(require_sdk: Callable[[str], ModuleType]) -> Any:
    return require_sdk("openai")


class TestChat:
    def test_a_whole_answer_names_model_usage_and_cost(self, openai_client: Any) -> None:
        raw = openai_client.chat.completions.with_raw_response.create(model="chat", messages=SAY)
        made = raw.parse()
        assert made.choices[0].message.content == ANSWER
        assert made.object == "chat.completion"
        usage = made.usage
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert float(raw.headers["x-farthing-cost"]) == pytest.approx(
            (usage.prompt_tokens + 4 * usage.completion_tokens) / 1e6
        )
        assert raw.headers["x-farthing-deployment"] == "chat"
        assert raw.headers["x-farthing-simulated"] == "true"
        assert made._request_id == raw.headers["x-farthing-call-id"]

    def test_a_stream_tells_usage_when_asked(self, openai_client: Any) -> None:
        chunks = list(
            openai_client.chat.completions.create(
                model="chat", messages=SAY, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
        assert [c.usage is not None for c in chunks] == [False] * (len(chunks) - 1) + [True]
        assert len({c.id for c in chunks}) == 1

    def test_a_stream_tells_no_usage_when_not_asked(self, openai_client: Any) -> None:
        chunks = list(
            openai_client.chat.completions.create(model="chat", messages=SAY, stream=True)
        )
        assert all(c.usage is None and c.choices for c in chunks)

    def test_several_answers_come_back(self, openai_client: Any) -> None:
        made = openai_client.chat.completions.create(model="chat", messages=SAY, n=3)
        assert [c.index for c in made.choices] == [0, 1, 2]

    def test_a_tools_arguments_are_parsed(self, openai_client: Any) -> None:
        tool = openai_client.chat.completions.parse(
            model="chat", messages=[{"role": "user", "content": "weather"}], tools=[TOOL]
        )
        call = tool.choices[0].message.tool_calls[0]
        assert call.function.parsed_arguments == {"city": "simulated"}

    @pytest.mark.parametrize("model", ["chat", "responses", "claude", "gemini"])
    def test_an_answer_is_parsed_into_the_callers_class(
        self, openai_client: Any, model: str
    ) -> None:
        made = openai_client.chat.completions.parse(
            model=model, messages=SAY, response_format=Place
        )
        assert made.choices[0].message.parsed == Place(city="simulated")

    def test_only_one_tool_is_called_when_parallel_calls_are_off(self, openai_client: Any) -> None:
        clock = {"type": "function", "function": {"name": "clock", "parameters": CITY}}
        made = openai_client.chat.completions.create(
            model="chat",
            messages=[{"role": "user", "content": "weather and clock"}],
            tools=[TOOL, clock],
            parallel_tool_calls=False,
        )
        assert len(made.choices[0].message.tool_calls) == 1

    def test_fields_that_nobody_knows_reach_the_vendor_and_its_answer_the_client(
        self, openai_client: Any
    ) -> None:
        made = openai_client.chat.completions.create(
            model="chat", messages=SAY, extra_body={"some_new_field": {"a": [1]}}
        )
        assert made.choices[0].message.content == ANSWER

    def test_what_another_vendor_cannot_say_is_listed(self, openai_client: Any) -> None:
        raw = openai_client.chat.completions.with_raw_response.create(
            model="claude", messages=SAY, seed=7
        )
        assert "seed" in raw.headers["x-farthing-dropped"]

    def test_what_another_vendors_answer_says_beyond_our_words_is_listed(
        self, anthropic_client: Any
    ) -> None:
        raw = anthropic_client.messages.with_raw_response.create(
            model="chat", max_tokens=99, messages=SAY
        )
        assert "system_fingerprint" in raw.headers["x-farthing-dropped"]

    def test_what_an_answer_only_repeats_of_the_request_is_no_loss(
        self, openai_client: Any
    ) -> None:
        raw = openai_client.chat.completions.with_raw_response.create(
            model="responses", messages=SAY
        )
        assert "x-farthing-dropped" not in raw.headers

    def test_what_may_not_be_dropped_is_refused(self, openai: Any, openai_client: Any) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            openai_client.chat.completions.create(model="claude", messages=SAY, n=2)
        assert caught.value.code == "untranslatable"
        assert caught.value.param == "n"


class TestResponses:
    def test_a_whole_answer_is_read(self, openai_client: Any) -> None:
        made = openai_client.responses.create(model="responses", input="Where is Ulm?")
        assert made.output_text == ANSWER
        assert made.status == "completed"

    @pytest.mark.parametrize("model", ["chat", "responses", "claude", "gemini"])
    def test_a_stream_has_every_event_in_order(self, openai_client: Any, model: str) -> None:
        with openai_client.responses.stream(model=model, input="Where is Ulm?") as stream:
            events = list(stream)
            final = stream.get_final_response()
        assert final.output_text == ANSWER
        kinds = [event.type for event in events]
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.completed"
        assert [event.sequence_number for event in events] == sorted(
            {event.sequence_number for event in events}
        )

    @pytest.mark.parametrize("kind", ["", "-thinker"])
    @pytest.mark.parametrize("model", ["chat", "responses", "claude", "gemini"])
    def test_a_tool_loop_ends_in_an_answer(self, openai_client: Any, model: str, kind: str) -> None:
        model += kind
        tool = {"type": "function", "name": "weather", "parameters": CITY, "strict": True}
        items: list[Any] = [{"role": "user", "content": "weather"}]
        first = openai_client.responses.create(model=model, input=items, tools=[tool], store=False)
        call = first.output[-1]
        assert json.loads(call.arguments) == {"city": "simulated"}
        items += [item.to_dict() for item in first.output]
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": "sun"})
        second = openai_client.responses.create(model=model, input=items, tools=[tool], store=False)
        assert second.output_text.startswith("[simulated]")

    @pytest.mark.parametrize("model", ["chat", "responses", "claude", "gemini"])
    def test_an_answer_is_parsed_into_the_callers_class(
        self, openai_client: Any, model: str
    ) -> None:
        made = openai_client.responses.parse(
            model=model, input="Where?", text_format=Place, store=False
        )
        assert made.output_parsed == Place(city="simulated")

    def test_a_stored_answer_cannot_be_continued_elsewhere(
        self, openai: Any, openai_client: Any
    ) -> None:
        with pytest.raises(openai.BadRequestError, match="previous_response_id"):
            openai_client.responses.create(
                model="claude", input="And then?", previous_response_id="resp_1"
            )


class TestEmbeddings:
    def test_vectors_come_as_numbers_and_as_base64(self, openai_client: Any) -> None:
        # Unasked, the package requests base64 and decodes it by itself.
        packed = openai_client.embeddings.create(model="any-embed", input=["Ulm", "Bonn"])
        plain = openai_client.embeddings.create(
            model="any-embed", input=["Ulm", "Bonn"], encoding_format="float"
        )
        assert [row.index for row in packed.data] == [0, 1]
        for one, other in zip(packed.data, plain.data, strict=True):
            assert one.embedding == pytest.approx(other.embedding, abs=1e-6)

    def test_dimensions_are_kept(self, openai_client: Any) -> None:
        made = openai_client.embeddings.create(model="any-embed", input="Ulm", dimensions=16)
        assert len(made.data[0].embedding) == 16

    def test_a_chat_model_embeds_nothing(self, openai: Any, openai_client: Any) -> None:
        with pytest.raises(openai.BadRequestError, match="chat"):
            openai_client.embeddings.create(model="any", input="Ulm")


@pytest.mark.parametrize("model", ["any", "responses", "claude", "gemini"])
class TestLegacyCompletions:
    def test_a_prompt_is_completed(self, openai_client: Any, model: str) -> None:
        made = openai_client.completions.create(model=model, prompt="Where is Ulm?")
        assert made.choices[0].text == ANSWER
        assert abs(made.created - time.time()) < 600

    def test_a_stream_ends(self, openai_client: Any, model: str) -> None:
        chunks = list(
            openai_client.completions.create(model=model, prompt="Where is Ulm?", stream=True)
        )
        assert "".join(c.choices[0].text for c in chunks if c.choices) == ANSWER
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


class TestModels:
    def test_they_are_listed(self, openai_client: Any) -> None:
        assert {"chat", "claude", "any-embed"} <= {m.id for m in openai_client.models.list()}

    def test_one_is_found(self, openai_client: Any) -> None:
        assert openai_client.models.retrieve("claude").owned_by == "anthropic"

    def test_an_unknown_one_is_not(self, openai: Any, openai_client: Any) -> None:
        with pytest.raises(openai.NotFoundError):
            openai_client.models.retrieve("claudia")


class TestErrors:
    def test_a_wrong_key_is_an_authentication_error(
        self, openai: Any, openai_client: Any, house: House
    ) -> None:
        for client in (
            openai_client.with_options(api_key="sk-wrong"),
            openai_client.with_options(api_key=house.key[:-1] + "_"),
        ):
            with pytest.raises(openai.AuthenticationError) as caught:
                client.chat.completions.create(model="chat", messages=SAY)
            assert caught.value.code == "invalid_api_key"
            assert house.key[:-1] not in str(caught.value)

    def test_a_model_outside_the_keys_scope_is_denied(
        self, openai: Any, openai_client: Any, house: House
    ) -> None:
        narrow = openai_client.with_options(api_key=house.narrow_key)
        assert narrow.chat.completions.create(model="chat", messages=SAY).choices
        with pytest.raises(openai.PermissionDeniedError):
            narrow.chat.completions.create(model="claude", messages=SAY)
        assert [m.id for m in narrow.models.list()] == ["chat"]

    def test_an_unknown_model_is_not_found_and_a_near_name_is_told(
        self, openai: Any, openai_client: Any
    ) -> None:
        with pytest.raises(openai.NotFoundError, match="claude") as caught:
            openai_client.chat.completions.create(model="claudee", messages=SAY)
        assert caught.value.code == "model_not_found"

    def test_a_wrong_field_is_named(self, openai: Any, openai_client: Any) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            openai_client.chat.completions.create(model="claude", messages="no list")
        assert caught.value.param == "messages"

    def test_a_path_that_is_not_here_is_not_found(self, openai: Any, openai_client: Any) -> None:
        with pytest.raises(openai.NotFoundError):
            openai_client.files.list()

    def test_the_package_retries_an_overloaded_vendor_as_long_as_it_likes(
        self, openai: Any, openai_client: Any
    ) -> None:
        patient = openai_client.with_options(max_retries=1)
        with pytest.raises(openai.InternalServerError):
            patient.chat.completions.create(model="chat-500", messages=SAY)

    def test_the_packages_timeout_is_the_callers(self, openai: Any, openai_client: Any) -> None:
        hasty = openai_client.with_options(timeout=0.5, max_retries=0)
        with pytest.raises(openai.APITimeoutError):
            hasty.chat.completions.create(model="chat-silent", messages=SAY)


def test_a_call_with_the_same_idempotency_key_is_answered_once(
    openai_client: Any, house: House
) -> None:
    headers = {"idempotency-key": uuid.uuid4().hex}
    billed = len(house.invoice())
    raw = [
        openai_client.chat.completions.with_raw_response.create(
            model="chat", messages=SAY, extra_headers=headers
        )
        for _ in range(2)
    ]
    assert raw[0].parse().id == raw[1].parse().id
    assert raw[1].headers["x-farthing-cache"] == "replayed"
    assert len(house.invoice()) == billed + 1


def test_an_image_is_billed_as_the_vendor_bills_it(openai_client: Any, house: House) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    said = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
    made = openai_client.chat.completions.create(model="chat", messages=said)
    assert made.usage.prompt_tokens == house.invoice()[-1]["usage"]["input_tokens"]


class TestAsync:
    @pytest.fixture
    async def client(self, openai: Any, house: House) -> Any:
        async with openai.AsyncOpenAI(
            base_url=f"{house.url}/v1", api_key=house.key, max_retries=0
        ) as client:
            yield client

    async def test_a_stream_is_read(self, client: Any) -> None:
        stream = await client.chat.completions.create(model="claude", messages=SAY, stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER

    async def test_a_stream_that_is_left_does_no_harm(self, client: Any) -> None:
        said = [{"role": "user", "content": "sim:long=2000 Tell me."}]
        async with await client.chat.completions.create(
            model="gemini", messages=said, stream=True
        ) as stream:
            async for _ in stream:
                break
        made = await client.chat.completions.create(model="gemini", messages=SAY)
        assert made.choices[0].message.content == ANSWER

    async def test_two_hundred_calls_at_once_are_each_answered_with_their_own(
        self, client: Any
    ) -> None:
        models = ("chat", "responses", "claude", "gemini")

        async def one(number: int) -> str:
            said = [{"role": "user", "content": f"Number {number} please"}]
            made = await client.chat.completions.create(model=models[number % 4], messages=said)
            return str(made.choices[0].message.content)

        answers = await asyncio.gather(*(one(number) for number in range(200)))
        assert answers == [f"[simulated] Number {number} please" for number in range(200)]

    async def test_two_hundred_streams_at_once_end(self, client: Any) -> None:
        async def one(number: int) -> str:
            said = [{"role": "user", "content": f"Number {number} please"}]
            stream = await client.chat.completions.create(
                model="claude", messages=said, stream=True
            )
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

        answers = await asyncio.gather(*(one(number) for number in range(200)))
        assert answers == [f"[simulated] Number {number} please" for number in range(200)]
