"""The Responses dialect: golden examples after the vendor's documentation, both ways, and its laws."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core.calls import Event, EventKind, Head
from farthing.core.chat import (
    ChatRequest,
    Choice,
    Completion,
    Delta,
    Failed,
    Finished,
    FinishReason,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    ResponseFormat,
    Started,
    TextDelta,
    Tool,
    ToolCallDelta,
    ToolChoice,
    UsageDelta,
)
from farthing.core.errors import (
    BadRequestError,
    BudgetExceededError,
    ContentFilteredError,
    FarthingError,
    UntranslatableError,
    UpstreamProtocolError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamServerError,
    UpstreamTruncatedError,
)
from farthing.core.messages import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from farthing.core.usage import Usage
from farthing.testing.samples import named
from farthing.wire.dialects import codec
from farthing.wire.dialects._seals import seal
from farthing.wire.dialects.openai_responses import CODEC
from tests.wire.streams import deltas_of, merged, read

FULL: dict[str, Any] = {
    "model": "gpt-5",
    "instructions": "Be brief.",
    "input": [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
                {"type": "input_image", "image_url": "https://example.org/a.png"},
                {"type": "input_image", "file_id": "file_1"},
                {"type": "input_file", "file_url": "https://example.org/a.pdf"},
                {
                    "type": "input_file",
                    "filename": "b.pdf",
                    "file_data": "data:application/pdf;base64,aGk=",
                },
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Thinking."}],
            "encrypted_content": "gAAA",
        },
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_1",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{"city": "Ulm"}',
            "status": "completed",
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "sun"},
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": [{"type": "input_text", "text": "a", "x": 1}],
        },
        {"type": "item_reference", "id": "rs_9"},
        {"type": "message", "role": "developer", "content": "Now in French."},
    ],
    "tools": [
        {
            "type": "function",
            "name": "weather",
            "description": "Tells it.",
            "parameters": {"type": "object", "properties": {}},
            "strict": True,
        },
        {"type": "web_search", "search_context_size": "low"},
    ],
    "tool_choice": {"type": "function", "name": "weather"},
    "parallel_tool_calls": False,
    "text": {
        "format": {
            "type": "json_schema",
            "name": "answer",
            "schema": {"type": "object"},
            "strict": True,
        },
        "verbosity": "low",
    },
    "reasoning": {"effort": "high", "summary": "auto"},
    "max_output_tokens": 3000,
    "temperature": 0.5,
    "top_p": 0.25,
    "service_tier": "flex",
    "user": "u1",
    "safety_identifier": "s1",
    "metadata": {"a": "b"},
    "truncation": "auto",
    "include": ["reasoning.encrypted_content"],
    "store": True,
    "stream": True,
    "mystery": {"b": [1, None]},
}
HI = Message(role="user", parts=(TextPart(text="Hi"),))
HEAD = Head(model="m", stream=True, include_usage=True)
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 10},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}
CORE_USAGE = Usage(
    input_tokens=100,
    output_tokens=50,
    cached_input_tokens=30,
    cache_write_tokens=10,
    reasoning_tokens=20,
)


def wire(value: object) -> bytes:
    return json.dumps(value).encode()


def asking(**fields: object) -> ChatRequest:
    return CODEC.decode_request(wire({"model": "m", "input": "Hi", **fields}))


def sent(request: ChatRequest) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(CODEC.encode_request(request).body)
    return shown


def answer(*output: object, **fields: object) -> bytes:
    whole = {
        "id": "resp_1",
        "object": "response",
        "created_at": 7,
        "status": "completed",
        "model": "m-1",
        "output": list(output),
        "usage": USAGE,
        **fields,
    }
    return wire(whole)


def message(*content: object) -> dict[str, object]:
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": list(content),
    }


def text(words: str) -> dict[str, object]:
    return {"type": "output_text", "text": words, "annotations": []}


class TestRequestsIn:
    def test_every_part_finds_its_word(self) -> None:
        request = CODEC.decode_request(wire(FULL))
        kinds = [(m.role, [type(p).__name__ for p in m.parts]) for m in request.messages]
        assert kinds == [
            ("system", ["TextPart"]),
            (
                "user",
                ["TextPart", "ImagePart", "ImagePart", "OpaquePart", "FilePart", "FilePart"],
            ),
            ("assistant", ["ReasoningPart", "TextPart", "ToolCallPart"]),
            ("tool", ["ToolResultPart"]),
            ("tool", ["ToolResultPart"]),
            ("assistant", ["OpaquePart"]),
            ("developer", ["TextPart"]),
        ]
        picture = request.messages[1].parts[1]
        assert isinstance(picture, ImagePart)
        assert (picture.media_type, picture.data, picture.detail) == ("image/png", "aGk=", "low")
        thought = request.messages[2].parts[0]
        assert isinstance(thought, ReasoningPart)
        assert (thought.id, thought.text, thought.encrypted) == ("rs_1", "Thinking.", "gAAA")
        call = request.messages[2].parts[2]
        assert isinstance(call, ToolCallPart)
        assert (call.id, call.name, call.arguments) == ("call_1", "weather", '{"city": "Ulm"}')
        assert request.tool_choice == ToolChoice(mode="tool", name="weather")
        assert request.reasoning == Reasoning(effort="high", summary="auto")
        assert request.tools[1].kind == "web_search"
        assert (request.max_output_tokens, request.user) == (3000, "u1")
        assert set(request.extra) == {
            "include",
            "mystery",
            "safety_identifier",
            "store",
            "text",
            "truncation",
        }

    def test_decoding_and_encoding_lose_nothing(self) -> None:
        assert sent(CODEC.decode_request(wire(FULL))) == FULL

    def test_a_plain_text_is_a_users_turn(self) -> None:
        assert asking().messages == (HI,)

    def test_nothing_is_stored_unless_asked(self) -> None:
        assert sent(asking())["store"] is False
        assert sent(asking(store=False))["store"] is False
        assert sent(asking(store=True))["store"] is True

    def test_the_head_agrees_with_the_request(self) -> None:
        head = CODEC.head(wire(FULL))
        assert (head.model, head.stream, head.include_usage) == ("gpt-5", True, True)
        assert (head.max_output_tokens, head.service_tier) == (3000, "flex")
        assert head.features == {"tools", "images", "files", "json_schema", "reasoning"}

    @pytest.mark.parametrize(
        ("fields", "place"),
        [
            ({"input": [{"type": "message", "role": "wizard", "content": ""}]}, "input[0].role"),
            ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
            ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type"),
            ({"input": [{"type": "reasoning", "summary": 7}]}, "input[0].summary"),
            ({"input": 7}, "input"),
            ({"tool_choice": "maybe"}, "tool_choice"),
            ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
            ({"max_output_tokens": "many"}, "max_output_tokens"),
        ],
    )
    def test_a_wrong_field_is_named(self, fields: dict[str, object], place: str) -> None:
        with pytest.raises(BadRequestError) as caught:
            asking(**fields)
        assert caught.value.param == place

    def test_an_absent_input_is_the_callers_mistake_unless_something_goes_on(self) -> None:
        with pytest.raises(BadRequestError, match="input"):
            CODEC.head(b'{"model":"m"}')
        assert CODEC.head(b'{"model":"m","previous_response_id":"resp_1"}').model == "m"

    @pytest.mark.parametrize(
        "fields",
        [
            {"previous_response_id": "resp_1"},
            {"conversation": "conv_1"},
            {"background": True},
            {"prompt": {"id": "p"}},
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
            {"tools": [{"type": "web_search"}]},
            {"input": [{"type": "item_reference", "id": "rs_1"}]},
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        ],
        ids=lambda fields: next(iter(fields)),
    )
    @pytest.mark.parametrize("target", ["openai-chat", "anthropic-messages", "google-generate"])
    def test_what_builds_on_the_vendors_state_is_refused_elsewhere(
        self, fields: dict[str, object], target: str
    ) -> None:
        request = asking(**fields)
        assert CODEC.decode_request(CODEC.encode_request(request).body) == request
        with pytest.raises(UntranslatableError):
            codec(target).encode_request(request)

    def test_what_asks_for_nothing_is_not_refused(self) -> None:
        request = asking(background=False, truncation="auto", store=True)
        dropped = codec("openai-chat").encode_request(request).dropped
        assert set(dropped) == {"truncation", "store"}


class TestRequestsOut:
    def test_a_chat_is_said_in_items(self) -> None:
        call = ToolCallPart(id="c1", name="f", arguments="")
        request = ChatRequest(
            model="m",
            messages=(
                Message(role="system", parts=(TextPart(text="Be brief."),)),
                HI,
                Message(role="assistant", parts=(TextPart(text="See."), call)),
                Message(
                    role="tool",
                    parts=(ToolResultPart(call_id="c1", content=(TextPart(text="sun"),)),),
                ),
            ),
            tools=(Tool(name="f"),),
            response_format=ResponseFormat(kind="json_schema", schema=msgspec.Raw(b"{}")),
            reasoning=Reasoning(budget_tokens=8192),
            service_tier="standard_only",
        )
        assert sent(request) == {
            "model": "m",
            "instructions": "Be brief.",
            "input": [
                {"type": "message", "role": "user", "content": "Hi"},
                {"type": "message", "role": "assistant", "content": [text("See.")]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "sun"},
            ],
            "tools": [
                {
                    "type": "function",
                    "name": "f",
                    "parameters": {"type": "object", "properties": {}},
                    "strict": False,
                }
            ],
            "text": {"format": {"type": "json_schema", "name": "answer", "schema": {}}},
            "reasoning": {"effort": "medium"},
            "service_tier": "default",
            "store": False,
        }

    def test_what_only_shifts_probabilities_is_dropped_and_listed(self) -> None:
        request = ChatRequest(
            model="m",
            messages=(HI,),
            seed=1,
            top_k=5,
            presence_penalty=0.5,
            metadata=msgspec.Raw(b"{}"),
            service_tier="batch",
        )
        dropped = CODEC.encode_request(request).dropped
        assert set(dropped) == {"seed", "top_k", "presence_penalty", "metadata", "service_tier"}

    @pytest.mark.parametrize(
        "request_",
        [
            ChatRequest(model="m", messages=(HI,), n=2),
            ChatRequest(model="m", messages=(HI,), stop=("x",)),
            ChatRequest(model="m", messages=(HI,), logprobs=True),
            ChatRequest(
                model="m",
                messages=(Message(role="user", parts=(AudioPart(data="aGk=", format="wav"),)),),
            ),
            ChatRequest(
                model="m", messages=(Message(role="user", parts=(FilePart(file_id="f"),)),)
            ),
        ],
        ids=["n", "stop", "logprobs", "audio", "file"],
    )
    def test_what_can_be_checked_in_the_answer_is_refused(self, request_: ChatRequest) -> None:
        with pytest.raises(UntranslatableError) as caught:
            CODEC.encode_request(request_)
        assert caught.value.param


class TestAnswers:
    OUTPUT = (
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [
                {"type": "summary_text", "text": "One."},
                {"type": "summary_text", "text": "Two."},
            ],
            "encrypted_content": "gAAA",
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        message(text("Sun."), {"type": "refusal", "refusal": "No."}),
        {
            "type": "message",
            "id": "msg_2",
            "role": "assistant",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "text": "More.",
                    "annotations": [{"type": "file_path", "file_id": "f", "index": 0}],
                }
            ],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "f",
            "arguments": "{}",
            "status": "completed",
        },
    )

    def test_an_answer_survives_core_and_back(self) -> None:
        whole = answer(*self.OUTPUT, tools=[], temperature=1.0, error=None, mystery=1)
        completion = CODEC.decode_response(whole)
        encoded = CODEC.encode_response(completion)
        assert encoded.dropped == ()
        assert CODEC.decode_response(encoded.body) == completion
        assert json.loads(encoded.body)["output"] == json.loads(whole)["output"]

    def test_its_parts_are_known(self) -> None:
        (choice,) = CODEC.decode_response(answer(*self.OUTPUT)).choices
        thought, search, said, refused, more, call = choice.message.parts
        assert isinstance(thought, ReasoningPart)
        assert (thought.text, thought.encrypted) == ("One.\n\nTwo.", "gAAA")
        assert isinstance(search, OpaquePart)
        assert search.kind == "web_search_call"
        assert isinstance(said, TextPart)
        assert isinstance(refused, RefusalPart)
        assert isinstance(more, TextPart)
        assert isinstance(call, ToolCallPart)
        assert choice.finish_reason == "tool_calls"

    def test_the_tally_agrees_with_the_whole(self) -> None:
        whole = answer(*self.OUTPUT, service_tier="flex")
        tally = CODEC.tally(whole)
        assert tally.usage == CODEC.decode_response(whole).usage
        assert tally.usage == msgspec.structs.replace(CORE_USAGE, web_search_requests=1)
        assert (tally.finish_reasons, tally.service_tier) == (("tool_calls",), "flex")
        assert tally.output_characters == len("One.Two.Sun.No.More.{}")
        assert tally.is_complete

    @pytest.mark.parametrize(
        ("status", "reason", "finish"),
        [
            ("completed", None, "stop"),
            ("incomplete", "max_output_tokens", "length"),
            ("incomplete", "content_filter", "content_filter"),
            ("incomplete", "tomorrow", "other"),
            ("in_progress", None, None),
        ],
    )
    def test_how_it_ended_is_known(
        self, status: str, reason: str | None, finish: FinishReason | None
    ) -> None:
        details = None if reason is None else {"reason": reason}
        whole = answer(message(text("x")), status=status, incomplete_details=details)
        completion = CODEC.decode_response(whole)
        assert completion.choices[0].finish_reason == finish
        again = CODEC.decode_response(CODEC.encode_response(completion).body)
        assert again.choices[0].finish_reason == finish
        assert CODEC.tally(whole).is_complete == (finish is not None)

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("server_error", UpstreamServerError),
            ("rate_limit_exceeded", UpstreamRateLimitedError),
            ("invalid_image", UpstreamRejectedError),
            ("bio_policy", ContentFilteredError),
            ("tomorrow", UpstreamServerError),
        ],
    )
    def test_a_failed_answer_is_an_error_and_never_quoted(
        self, code: str, kind: type[FarthingError]
    ) -> None:
        whole = answer(status="failed", error={"code": code, "message": "canary"})
        for read_body in (CODEC.tally, CODEC.decode_response):
            with pytest.raises(kind) as caught:
                read_body(whole)
            assert "canary" not in str(caught.value)

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b"<html>", b"{}", b'{"id":"r"}', b'{"output":7}']
    )
    def test_no_answer_is_a_protocol_error(self, body: bytes) -> None:
        for read_body in (CODEC.tally, CODEC.decode_response):
            with pytest.raises(UpstreamProtocolError):
                read_body(body)

    def test_what_cannot_be_shown_is_listed(self) -> None:
        parts = (ReasoningPart(encrypted="theirs"), TextPart(text="x"))
        choices = tuple(
            Choice(index=n, message=Message(role="assistant", parts=parts), finish_reason="stop")
            for n in range(2)
        )
        encoded = CODEC.encode_response(Completion(id="i", model="m", choices=choices))
        assert encoded.dropped == ("choices[1]", "choices[0].message.content[0]")


def foreign(*parts: object, finish: FinishReason = "stop") -> Completion:
    said = Message(role="assistant", parts=parts)  # type: ignore[arg-type]
    logprobs = msgspec.Raw(
        b'{"content":[{"token":"x","bytes":[1],"logprob":-0.5,"top_logprobs":[]}]}'
    )
    choice = Choice(index=0, message=said, finish_reason=finish, logprobs=logprobs)
    return Completion(
        id="c1", model="gpt-5", choices=(choice,), usage=CORE_USAGE, service_tier="standard"
    )


DELTAS: tuple[Delta, ...] = (
    Started(id="c1", model="m-1", created=7),
    ReasoningDelta(text="Hm", part=0),
    ReasoningDelta(text="m.", part=0),
    ReasoningDelta(signature=seal("c2ln"), part=0),
    TextDelta(text="Su"),
    TextDelta(text="n é."),
    TextDelta(text="More.", part=1),
    RefusalDelta(text="No."),
    ToolCallDelta(index=0, id="call_0", name="f", arguments='{"a"'),
    ToolCallDelta(index=1, id="call_1", name="g"),
    ToolCallDelta(index=0, arguments=":1}"),
    ToolCallDelta(index=1, arguments="{}"),
    Finished(finish_reason="tool_calls"),
    UsageDelta(usage=CORE_USAGE),
)


def written(deltas: tuple[Delta, ...] = DELTAS) -> bytes:
    writer = CODEC.writer(HEAD, call_id="c", created=7)
    return b"".join(writer.write(delta) for delta in deltas) + writer.end()


def events_of(stream: bytes) -> list[dict[str, Any]]:
    frames = [frame for frame in stream.split(b"\n\n") if frame]
    events = []
    for frame in frames:
        name, data = frame.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name.removeprefix(b"event: ").decode() == event["type"]
        events.append(event)
    return events


class TestStreams:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, 9000), max_size=9))
    def test_what_is_written_is_read_the_same_under_any_split(self, cuts: list[int]) -> None:
        stream = written()
        events, reader = read(CODEC, stream, cuts)
        assert b"".join(event.wire for event in events) == stream
        assert merged(deltas_of(events)) == merged(DELTAS)
        assert reader.tally.usage == CORE_USAGE
        assert (reader.tally.finish_reasons, reader.tally.is_complete) == (("tool_calls",), True)

    def test_the_last_event_holds_the_whole_answer(self) -> None:
        last = events_of(written())[-1]
        assert last["type"] == "response.completed"
        (choice,) = CODEC.decode_response(wire(last["response"])).choices
        assert [type(part).__name__ for part in choice.message.parts] == [
            "ReasoningPart",
            "TextPart",
            "TextPart",
            "RefusalPart",
            "ToolCallPart",
            "ToolCallPart",
        ]
        assert CODEC.tally(wire(last["response"])).usage == CORE_USAGE

    def test_events_are_numbered_and_every_item_is_opened_and_closed(self) -> None:
        events = events_of(written())
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        for name in ("output_item", "content_part", "reasoning_summary_part"):
            opened = [e for e in events if e["type"] == f"response.{name}.added"]
            closed = [e for e in events if e["type"] == f"response.{name}.done"]
            assert len(opened) == len(closed) > 0
        assert [e["type"] for e in events[:2]] == ["response.created", "response.in_progress"]

    @pytest.mark.parametrize(
        ("finish", "event", "reason"),
        [
            ("stop", "response.completed", None),
            ("length", "response.incomplete", "max_output_tokens"),
            ("content_filter", "response.incomplete", "content_filter"),
            ("refusal", "response.incomplete", "content_filter"),
        ],
    )
    def test_an_answer_that_was_cut_says_so(
        self, finish: FinishReason, event: str, reason: str | None
    ) -> None:
        last = events_of(written((TextDelta(text="x"), Finished(finish_reason=finish))))[-1]
        assert last["type"] == event
        details = last["response"]["incomplete_details"]
        assert (details and details["reason"]) == reason

    def test_a_stream_is_complete_only_at_its_final_response(self) -> None:
        stream = written()
        last = stream.rindex(b"event: ")
        for length in range(0, last, 97):
            reader = CODEC.reader(want_deltas=False)
            reader.feed(stream[:length])
            assert not reader.tally.is_complete
            with pytest.raises(UpstreamTruncatedError):
                reader.eof()

    def test_the_vendors_own_stream_is_read(self) -> None:
        response = {"id": "resp_1", "model": "m-1", "created_at": 7.0, "status": "in_progress"}
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f"}
        thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
        end = {**response, "status": "completed", "usage": USAGE, "service_tier": "default"}
        frames = [
            (named("response.created", response=response), EventKind.META),
            (named("response.in_progress", response=response), EventKind.META),
            (named("response.output_item.added", output_index=0, item=thought), EventKind.META),
            (
                named(
                    "response.reasoning_summary_text.delta",
                    output_index=0,
                    summary_index=0,
                    delta="One.",
                ),
                EventKind.CONTENT,
            ),
            (
                named(
                    "response.reasoning_summary_text.delta",
                    output_index=0,
                    summary_index=1,
                    delta="Two.",
                ),
                EventKind.CONTENT,
            ),
            (named("response.output_item.done", output_index=0, item=thought), EventKind.CONTENT),
            (
                named("response.output_text.delta", output_index=1, content_index=0, delta="Su"),
                EventKind.CONTENT,
            ),
            (named("response.output_text.done", output_index=1, text="Su"), EventKind.META),
            (named("response.output_item.added", output_index=2, item=item), EventKind.CONTENT),
            (
                named("response.function_call_arguments.done", output_index=2, arguments="{}"),
                EventKind.CONTENT,
            ),
            (named("response.tomorrow", delta={"a": 1}), EventKind.META),
            (named("response.completed", response=end), EventKind.END),
        ]
        events, reader = read(CODEC, b"".join(frame for frame, _ in frames))
        assert [event.kind for event in events] == [kind for _, kind in frames]
        deltas = deltas_of(events)
        assert deltas[0] == Started(id="resp_1", model="m-1", created=7)
        assert ReasoningDelta(encrypted="gAAA", id="rs_1") in deltas
        found = merged(deltas)
        assert found["thinking"] == {0: "One.\n\nTwo."}
        assert found["calls"] == {(0, 0): ["call_1", "f", "{}"]}
        assert found["finish"] == {0: "tool_calls"}
        assert (reader.tally.usage, reader.tally.service_tier) == (CORE_USAGE, "default")

    @pytest.mark.parametrize(
        "frame",
        [
            named("error", code="rate_limit_exceeded", message="canary", param=None),
            named("error", error={"code": "rate_limit_exceeded", "message": "canary"}),
            named(
                "response.failed",
                response={"status": "failed", "error": {"code": "rate_limit_exceeded"}},
            ),
            b'data: {"error":{"code":"rate_limit_exceeded","message":"canary"}}\n\n',
        ],
    )
    def test_a_failure_is_always_told(self, frame: bytes) -> None:
        reader = CODEC.reader(want_deltas=False)
        (event,) = reader.feed(frame)
        assert event.kind is EventKind.ERROR
        (failed,) = event.deltas or ()
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, UpstreamRateLimitedError)
        assert "canary" not in str(failed.error)
        assert not reader.tally.is_complete

    @pytest.mark.parametrize(
        "frame",
        [
            b"data: {\n\n",
            b"data: \xff\n\n",
            named("response.output_text.delta", delta={"a": 1}),
            named("response.function_call_arguments.delta", output_index=5, delta="{"),
            named("response.completed"),
        ],
    )
    def test_what_is_no_event_is_a_protocol_error(self, frame: bytes) -> None:
        with pytest.raises(UpstreamProtocolError):
            CODEC.reader(want_deltas=True).feed(frame)

    def test_text_reaches_a_chat_with_its_log_probabilities(self) -> None:
        listed = [{"token": "x", "logprob": -0.5}]
        frame = named("response.output_text.delta", delta="x", logprobs=listed)
        (event,) = CODEC.reader(want_deltas=True).feed(frame)
        (delta,) = event.deltas or ()
        assert isinstance(delta, TextDelta)
        assert delta.logprobs is not None
        assert json.loads(bytes(delta.logprobs)) == {"content": listed}


class TestOfficialClient:
    """What we write, judged by the types and the stream code of the vendor's package."""

    def test_a_whole_answer_is_a_response(self) -> None:
        types = pytest.importorskip("openai.types.responses")
        thought = ReasoningPart(text="Hm.", signature=seal("c2ln"))
        call = ToolCallPart(id="call_1", name="f", arguments="{}")
        completion = foreign(thought, TextPart(text="x"), RefusalPart(text="n"), call)
        encoded = CODEC.encode_response(completion)
        assert encoded.dropped == ()
        response = types.Response.model_validate_json(encoded.body)
        assert response.output_text == "x"
        assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
        assert response.output[1].content[0].logprobs[0].token == "x"
        assert response.usage.input_tokens_details.cached_tokens == 30
        assert response.service_tier == "default"

    def test_every_event_is_an_event(self) -> None:
        types = pytest.importorskip("openai.types.responses")
        adapter = pytest.importorskip("pydantic").TypeAdapter(types.ResponseStreamEvent)
        for event in events_of(written()):
            event.setdefault("response", {})
            if event["response"]:
                event["response"]["model"] = "gpt-5"
            assert adapter.validate_python(event).type == event["type"]

    def test_the_stream_helper_accumulates_the_answer(self) -> None:
        types = pytest.importorskip("openai.types.responses")
        helper = pytest.importorskip("openai.lib.streaming.responses._responses")
        openai = pytest.importorskip("openai")
        adapter = pytest.importorskip("pydantic").TypeAdapter(types.ResponseStreamEvent)
        state = helper.ResponseStreamState(input_tools=openai.omit, text_format=openai.omit)
        seen = [
            fired
            for event in events_of(written())
            for fired in state.handle_event(adapter.validate_python(event))
        ]
        assert seen[-1].type == "response.completed"
        assert seen[-1].response.output_text == "Sun é.More."

    def test_an_error_makes_the_client_raise(self) -> None:
        httpx = pytest.importorskip("httpx")
        openai = pytest.importorskip("openai")
        types = pytest.importorskip("openai.types.responses")
        writer = CODEC.writer(HEAD, call_id="c", created=7)
        stream = writer.write(TextDelta(text="half")) + writer.error(BudgetExceededError("Spent."))
        (*_, told) = events_of(stream)
        assert types.ResponseErrorEvent.model_validate(told).message.startswith("Spent.")
        answer_ = httpx.Response(
            200, content=stream, request=httpx.Request("POST", "http://127.0.0.1/v1/responses")
        )
        client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1/v1")
        events = openai.Stream(cast_to=types.ResponseStreamEvent, response=answer_, client=client)
        with pytest.raises(openai.APIError, match="Spent"):
            list(events)


# --- laws -------------------------------------------------------------------------------------------

TEXT = st.text(max_size=6)
NAME = st.text(alphabet="abcxyz_", min_size=1, max_size=5)
VALUE = st.none() | st.booleans() | st.integers(-9, 9) | TEXT | st.lists(TEXT, max_size=2)


def shaped(
    required: dict[str, object], optional: dict[str, object] | None = None
) -> st.SearchStrategy[dict[str, object]]:
    """Objects with these fields, any of the optional ones, and now and then an unknown one."""
    made = {n: v if isinstance(v, st.SearchStrategy) else st.just(v) for n, v in required.items()}
    more = {
        n: v if isinstance(v, st.SearchStrategy) else st.just(v)
        for n, v in {"zzOne": VALUE, **(optional or {})}.items()
    }
    return st.fixed_dictionaries(made, optional=more)


SAID = shaped({"type": "output_text", "text": TEXT}, {"annotations": st.lists(VALUE, max_size=1)})
PART = (
    shaped({"type": "input_text", "text": TEXT})
    | shaped(
        {
            "type": "input_image",
            "image_url": st.sampled_from(["data:image/png;base64,aGk=", "https://example.org/a"]),
        },
        {"detail": "low"},
    )
    | shaped({"type": "input_image", "file_id": NAME})
    | shaped({"type": "input_file"}, {"file_id": NAME, "file_data": "aGk=", "filename": TEXT})
    | shaped({"type": "tomorrow"})
)
THOUGHT = shaped(
    {
        "type": "reasoning",
        "summary": st.lists(shaped({"type": "summary_text", "text": TEXT}), max_size=3),
    },
    {
        "id": NAME,
        "encrypted_content": TEXT,
        "content": st.lists(shaped({"type": "reasoning_text", "text": TEXT}), max_size=2),
    },
)
CALL = shaped(
    {"type": "function_call", "call_id": NAME, "name": NAME, "arguments": TEXT}, {"id": NAME}
)
RESULT = shaped(
    {
        "type": "function_call_output",
        "call_id": NAME,
        "output": TEXT | st.lists(PART, max_size=2),
    },
    {"name": NAME, "status": "completed"},
)
OTHER = shaped({"type": st.sampled_from(["item_reference", "web_search_call", "tomorrow"])})
REFUSAL = shaped({"type": "refusal", "refusal": TEXT})
SPOKEN = shaped(
    {"role": "assistant", "content": TEXT | st.lists(SAID | REFUSAL | OTHER, max_size=2)},
    {"type": "message", "id": NAME, "status": "completed"},
)
ASKED = shaped(
    {
        "role": st.sampled_from(["user", "system", "developer"]),
        "content": TEXT | st.lists(PART, max_size=3),
    },
    {"type": "message", "status": "completed"},
)
BODY = shaped(
    {"model": TEXT, "input": TEXT | st.lists(THOUGHT | CALL | RESULT | OTHER | SPOKEN | ASKED)},
    {
        "instructions": TEXT,
        "tools": st.lists(
            shaped({"type": "function", "name": NAME}, {"strict": st.booleans()})
            | shaped({"type": "web_search"}),
            max_size=2,
        ),
        "tool_choice": st.sampled_from(
            ["auto", "none", {"type": "function", "name": "f"}, {"type": "mcp"}]
        ),
        "text": shaped(
            {}, {"format": st.sampled_from([{"type": "text"}, {"type": "json_object"}])}
        ),
        "reasoning": shaped({}, {"effort": "low", "summary": "auto"}),
        "store": st.booleans(),
        "top_logprobs": st.integers(0, 5),
        "include": st.sampled_from([[], ["message.output_text.logprobs"]]),
        "stream": st.booleans(),
        "temperature": st.sampled_from([0, 0.5]),
        "metadata": shaped({}),
    },
)


class TestLaws:
    @settings(max_examples=120, deadline=None)
    @given(BODY)
    def test_any_request_survives(self, body: object) -> None:
        request = CODEC.decode_request(wire(body))
        encoded = CODEC.encode_request(request)
        assert encoded.dropped == ()
        assert CODEC.decode_request(encoded.body) == request

    @settings(max_examples=80, deadline=None)
    @given(
        st.lists(THOUGHT | CALL | OTHER | SPOKEN, max_size=4),
        st.sampled_from(["completed", "incomplete", "queued"]),
    )
    def test_any_answer_survives(self, output: list[object], status: str) -> None:
        completion = CODEC.decode_response(answer(*output, status=status))
        assert CODEC.decode_response(CODEC.encode_response(completion).body) == completion

    @settings(max_examples=60, deadline=None)
    @given(st.dictionaries(st.sampled_from(sorted(FULL)), VALUE), VALUE)
    def test_a_strange_body_is_read_or_refused_never_a_crash(
        self, fields: dict[str, object], value: object
    ) -> None:
        for body in (wire({**FULL, **fields}), wire({"model": "m", "input": [value]})):
            for read_body in (CODEC.head, CODEC.decode_request):
                try:
                    read_body(body)
                except BadRequestError as error:
                    assert str(error)

    def test_deep_nesting_is_refused_not_a_crash(self) -> None:
        deep = b'{"model":"m","input":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
        with pytest.raises(BadRequestError):
            CODEC.decode_request(deep)

    def test_an_event_shows_no_text_in_its_repr(self) -> None:
        for event in read(CODEC, written())[0]:
            assert isinstance(event, Event)
            assert "Sun" not in repr(event)
