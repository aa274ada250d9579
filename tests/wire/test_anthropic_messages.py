"""The Messages dialect: golden examples after the vendor's documentation, both ways, and its laws."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.calls import EventKind, Head
from farthing.core.chat import (
    ChatRequest,
    Failed,
    Finished,
    Reasoning,
    ReasoningDelta,
    ResponseFormat,
    Started,
    TextDelta,
    Tool,
    ToolCallDelta,
    ToolChoice,
    UsageDelta,
)
from farthing.core.errors import (
    AuthenticationError,
    BadRequestError,
    BudgetExceededError,
    ContextTooLongError,
    OverloadedError,
    RateLimitedError,
    UntranslatableError,
    UpstreamAuthError,
    UpstreamProtocolError,
    UpstreamRateLimitedError,
    UpstreamServerError,
    UpstreamTruncatedError,
)
from farthing.core.messages import (
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from farthing.core.usage import Usage
from farthing.wire.dialects.anthropic_messages import CODEC, encode_token_count
from tests.wire.streams import deltas_of, merged, read

FULL = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 3000,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
                },
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                    "title": "Report",
                    "citations": {"enabled": True},
                },
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "plain é"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "sealed"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"x": 1}},
                {
                    "type": "server_tool_use",
                    "id": "srv_1",
                    "name": "web_search",
                    "input": {"query": "q"},
                },
                {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "broken"},
                        {"type": "text", "text": "twice"},
                    ],
                },
                {"type": "text", "text": "and now?"},
            ],
        },
    ],
    "tools": [
        {
            "name": "look",
            "description": "Looks.",
            "input_schema": {"type": "object"},
            "strict": True,
        },
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
    ],
    "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "top_k": 5,
    "top_p": 0.9,
    "stream": True,
    "service_tier": "standard_only",
    "thinking": {"type": "enabled", "budget_tokens": 1500, "display": "omitted"},
    "output_config": {
        "effort": "high",
        "format": {"type": "json_schema", "schema": {"type": "object"}},
    },
    "metadata": {"user_id": "u1", "other": 1},
    "container": "c1",
    "mystery": {"deep": [1, 2]},
}

ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "text", "text": "Sunny.", "citations": None},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ulm"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 300,
        "cache_read_input_tokens": 2000,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        "output_tokens": 40,
        "output_tokens_details": {"thinking_tokens": 15},
        "server_tool_use": {"web_search_requests": 3},
        "service_tier": "priority",
        "inference_geo": "eu",
    },
}


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def chat(*messages: Message, **fields: object) -> ChatRequest:
    return ChatRequest(model="claude-opus-4-8", messages=messages, **fields)  # type: ignore[arg-type]


def user(text: str = "hi") -> Message:
    return Message(role="user", parts=(TextPart(text=text),))


def sent(request: ChatRequest) -> dict[str, object]:
    found: dict[str, object] = json.loads(CODEC.encode_request(request).body)
    return found


class TestRequestsIn:
    def test_the_head_is_read_in_one_pass(self) -> None:
        head = CODEC.head(body(FULL))
        assert (head.model, head.stream, head.max_output_tokens) == (
            "claude-sonnet-4-5",
            True,
            3000,
        )
        assert head.features == {"tools", "images", "files", "json_schema", "reasoning"}
        assert head.service_tier == "standard_only"

    def test_prose_that_looks_like_an_image_block_is_no_image(self) -> None:
        text = '{"type": "image"}'
        request = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": text}]}
        assert CODEC.head(body(request)).features == frozenset()

    @pytest.mark.parametrize(
        ("broken", "param"),
        [
            ({"messages": []}, "model"),
            ({"model": "m"}, "messages"),
            ({"model": 1, "messages": []}, "model"),
            ({"model": "m", "messages": [], "max_tokens": "7"}, "max_tokens"),
        ],
    )
    def test_a_wrong_field_is_named(self, broken: dict[str, object], param: str) -> None:
        with pytest.raises(BadRequestError, match=param):
            CODEC.head(body(broken))

    @pytest.mark.parametrize("broken", [b"", b"{", b"[1]", b'{"model": "\xff"}', b"[" * 100_000])
    def test_broken_bytes_are_a_bad_request(self, broken: bytes) -> None:
        with pytest.raises(BadRequestError):
            CODEC.head(broken)
        with pytest.raises(BadRequestError):
            CODEC.decode_request(broken)

    def test_a_fault_deep_inside_is_named_by_its_path_and_never_quoted(self) -> None:
        request = {
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}],
        }
        with pytest.raises(BadRequestError) as caught:
            CODEC.decode_request(body(request))
        assert caught.value.param == "messages[0].content[0].text"

    def test_everything_becomes_core_words(self) -> None:
        request = CODEC.decode_request(body(FULL))
        roles = [message.role for message in request.messages]
        assert roles == ["system", "user", "assistant", "tool", "user"]
        pictures = request.messages[1].parts
        assert pictures[1] == ImagePart(data="aGk=", media_type="image/png")
        assert pictures[2] == ImagePart(url="https://example.org/a.png")
        assert isinstance(pictures[3], OpaquePart)
        assert isinstance(pictures[4], FilePart)
        assert pictures[4].name == "Report"
        said = request.messages[2].parts
        assert said[0] == ReasoningPart(text="hm", signature="sig")
        assert said[1] == ReasoningPart(encrypted="sealed")
        assert isinstance(said[3], ToolCallPart)
        assert json.loads(said[3].arguments) == {"x": 1}
        assert [type(part) for part in said[4:]] == [OpaquePart, OpaquePart]
        result = request.messages[3].parts[0]
        assert isinstance(result, ToolResultPart)
        assert (result.call_id, result.is_error, len(result.content)) == ("toolu_1", True, 2)
        assert request.tool_choice == ToolChoice(mode="tool", name="look")
        assert request.parallel_tool_calls is False
        assert request.reasoning == Reasoning(
            effort="high", budget_tokens=1500, include_thoughts=False
        )
        assert (request.user, request.stop, request.max_output_tokens) == ("u1", ("END",), 3000)
        assert set(request.extra) == {"metadata", "container", "mystery"}

    def test_decoding_and_encoding_lose_nothing(self) -> None:
        assert sent(CODEC.decode_request(body(FULL))) == FULL

    def test_only_the_model_changes_when_it_is_replaced(self) -> None:
        original = b'{ "metadata": {"model": "x"},\n "model" : "alias", "messages": ["model"] }'
        assert CODEC.with_model(original, 'a"b') == original.replace(b'"alias"', b'"a\\"b"')


class TestRequestsOut:
    def test_leading_system_messages_become_the_system_field(self) -> None:
        request = chat(
            Message(role="system", parts=(TextPart(text="one"),)),
            Message(role="developer", parts=(TextPart(text="two"),)),
            user(),
        )
        shown = sent(request)
        assert shown["system"] == [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
        assert shown["messages"] == [{"role": "user", "content": "hi"}]

    def test_a_system_message_in_the_middle_keeps_its_place(self) -> None:
        late = Message(role="system", parts=(TextPart(text="now in French"),))
        shown = sent(chat(user(), late, user("go")))
        assert [turn["role"] for turn in shown["messages"]] == ["user", "system", "user"]  # type: ignore[attr-defined]

    def test_neighbours_of_one_role_become_one_turn(self) -> None:
        call = ToolCallPart(id="c1", name="f", arguments='{"a": 1}')
        shown = sent(
            chat(
                user("a"),
                user("b"),
                Message(role="assistant", parts=(call,)),
                Message(
                    role="tool",
                    parts=(ToolResultPart(call_id="c1", content=(TextPart(text="ok"),)),),
                ),
                user("c"),
            )
        )
        assert shown["messages"] == [
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "ok"},
                    {"type": "text", "text": "c"},
                ],
            },
        ]

    def test_empty_padding_beside_a_tool_call_is_left_out(self) -> None:
        call = ToolCallPart(id="c1", name="f", arguments="")
        shown = sent(chat(user(), Message(role="assistant", parts=(TextPart(text=""), call))))
        block = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
        assert shown["messages"][1]["content"] == [block]  # type: ignore[index]

    def test_a_bound_is_always_sent(self) -> None:
        assert sent(chat(user()))["max_tokens"] == 4096
        assert sent(chat(user(), max_output_tokens=7))["max_tokens"] == 7

    @pytest.mark.parametrize(
        ("model", "reasoning", "thinking", "config", "max_tokens"),
        [
            (
                "claude-opus-4-8",
                Reasoning(effort="high"),
                {"type": "adaptive"},
                {"effort": "high"},
                4096,
            ),
            (
                "claude-opus-4-8",
                Reasoning(effort="minimal"),
                {"type": "adaptive"},
                {"effort": "low"},
                4096,
            ),
            (
                "claude-opus-4-8",
                Reasoning(budget_tokens=9000),
                {"type": "adaptive"},
                {"effort": "high"},
                4096,
            ),
            ("claude-opus-4-8", Reasoning(effort="none"), {"type": "disabled"}, None, 4096),
            (
                "claude-opus-5-5",
                Reasoning(effort="none"),
                {"type": "adaptive"},
                {"effort": "low"},
                4096,
            ),
            ("claude-sonnet-5-5", Reasoning(effort="none"), {"type": "between_tools"}, None, 4096),
            (
                "claude-opus-4-5-20251101",
                Reasoning(effort="low"),
                {"type": "enabled", "budget_tokens": 1024},
                None,
                5120,
            ),
            (
                "claude-sonnet-4-5-20250929",
                Reasoning(effort="medium"),
                {"type": "enabled", "budget_tokens": 8192},
                None,
                12288,
            ),
        ],
    )
    def test_effort_is_said_in_the_words_of_the_model(
        self,
        model: str,
        reasoning: Reasoning,
        thinking: dict[str, object],
        config: dict[str, object] | None,
        max_tokens: int,
    ) -> None:
        shown = sent(msgspec.structs.replace(chat(user(), reasoning=reasoning), model=model))
        assert (shown.get("thinking"), shown.get("output_config")) == (thinking, config)
        assert shown["max_tokens"] == max_tokens

    def test_thinking_never_takes_the_whole_bound(self) -> None:
        request = chat(user(), reasoning=Reasoning(effort="high"), max_output_tokens=2000)
        shown = sent(msgspec.structs.replace(request, model="claude-haiku-4-5"))
        assert shown["thinking"] == {"type": "enabled", "budget_tokens": 1999}
        small = msgspec.structs.replace(request, model="claude-haiku-4-5", max_output_tokens=500)
        encoded = CODEC.encode_request(small)
        assert "thinking" not in json.loads(encoded.body)
        assert encoded.dropped == ("reasoning.effort",)

    def test_a_schema_is_said_as_output_format(self) -> None:
        schema = msgspec.Raw(b'{"type":"object"}')
        wanted = ResponseFormat(kind="json_schema", name="n", schema=schema, strict=True)
        encoded = CODEC.encode_request(chat(user(), response_format=wanted))
        shown = json.loads(encoded.body)
        assert shown["output_config"] == {
            "format": {"type": "json_schema", "schema": {"type": "object"}}
        }
        assert encoded.dropped == ("response_format.name",)

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"n": 2}, "n"),
            ({"logprobs": True}, "logprobs"),
            ({"temperature": 1.5}, "temperature"),
            ({"response_format": ResponseFormat(kind="json_object")}, "response_format"),
            ({"extra": {"logit_bias": msgspec.Raw(b'{"50256": -100}')}}, "logit_bias"),
            ({"tools": (Tool(name="x", kind="file_search", raw=msgspec.Raw(b"{}")),)}, "tools[0]"),
        ],
    )
    def test_what_would_change_the_answer_is_refused(
        self, fields: dict[str, object], param: str
    ) -> None:
        with pytest.raises(UntranslatableError) as caught:
            CODEC.encode_request(chat(user(), **fields))
        assert caught.value.param == param

    def test_what_does_not_is_listed(self) -> None:
        request = chat(
            user(),
            seed=1,
            frequency_penalty=0.5,
            presence_penalty=0.0,
            service_tier="flex",
            metadata=msgspec.Raw(b"{}"),
            extra={"store": msgspec.Raw(b"true")},
        )
        dropped = set(CODEC.encode_request(request).dropped)
        assert dropped == {"store", "service_tier", "metadata", "seed", "frequency_penalty"}

    def test_another_vendors_sealed_thinking_is_left_out(self) -> None:
        thought = ReasoningPart(text="hm", encrypted="gAAAA", id="rs_1")
        said = Message(role="assistant", parts=(thought, TextPart(text="yes")))
        encoded = CODEC.encode_request(chat(user(), said, user()))
        assert json.loads(encoded.body)["messages"][1] == {
            "role": "assistant",
            "content": [{"type": "text", "text": "yes"}],
        }
        assert encoded.dropped == ("messages[1].content[0]",)

    def test_arguments_that_are_no_object_are_refused(self) -> None:
        said = Message(role="assistant", parts=(ToolCallPart(id="c", name="f", arguments="{oops"),))
        with pytest.raises(UntranslatableError, match="JSON object"):
            CODEC.encode_request(chat(user(), said))


class TestAnswers:
    def test_usage_totals_include_their_parts(self) -> None:
        completion = CODEC.decode_response(body(ANSWER))
        assert completion.usage == Usage(
            input_tokens=2310,
            output_tokens=40,
            cached_input_tokens=2000,
            cache_write_tokens=300,
            cache_write_1h_tokens=200,
            reasoning_tokens=15,
            web_search_requests=3,
        )
        assert completion.service_tier == "priority"
        assert completion.choices[0].finish_reason == "tool_calls"

    def test_the_tally_says_the_same_without_the_texts(self) -> None:
        tally = CODEC.tally(body(ANSWER))
        assert tally.usage == CODEC.decode_response(body(ANSWER)).usage
        assert (tally.finish_reasons, tally.is_complete) == (("tool_calls",), True)
        assert tally.output_characters == len("Sunny.") + len('{"city": "Ulm"}')

    def test_decoding_and_encoding_lose_nothing(self) -> None:
        assert json.loads(CODEC.encode_response(CODEC.decode_response(body(ANSWER))).body) == ANSWER

    @pytest.mark.parametrize(
        ("reason", "finish"),
        [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("tool_use", "tool_calls"),
            ("pause_turn", "pause"),
            ("refusal", "refusal"),
            ("invented_in_2027", "other"),
        ],
    )
    def test_every_stop_reason_survives_the_round_trip(self, reason: str, finish: str) -> None:
        completion = CODEC.decode_response(body({**ANSWER, "stop_reason": reason}))
        assert completion.choices[0].finish_reason == finish
        assert json.loads(CODEC.encode_response(completion).body)["stop_reason"] == reason

    @pytest.mark.parametrize(
        "broken",
        [
            b"<html>",
            b"{}",
            b'{"type":"error","error":{"type":"api_error","message":"x"}}',
            b'{"type":"message"}',
        ],
    )
    def test_a_body_that_is_no_message_breaks_the_protocol(self, broken: bytes) -> None:
        with pytest.raises(UpstreamProtocolError):
            CODEC.decode_response(broken)

    def test_token_counts_have_the_vendors_shape(self) -> None:
        assert encode_token_count(12) == b'{"input_tokens":12}'


STREAM = b"".join(
    b"event: " + json.loads(line)["type"].encode() + b"\ndata: " + line + b"\n\n"
    for line in [
        b'{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],'
        b'"model":"claude-x","stop_reason":null,"stop_sequence":null,'
        b'"usage":{"input_tokens":25,"cache_read_input_tokens":5,"output_tokens":1}}}',
        b'{"type":"content_block_start","index":0,'
        b'"content_block":{"type":"thinking","thinking":"","signature":""}}',
        b'{"type":"ping"}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}',
        b'{"type":"content_block_stop","index":0}',
        b'{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}',
        b'{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hel"}}',
        b'{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"lo"}}',
        b'{"type":"content_block_stop","index":1}',
        b'{"type":"content_block_start","index":2,'
        b'"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}',
        b'{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\\"a\\""}}',
        b'{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":": 1}"}}',
        b'{"type":"content_block_stop","index":2}',
        b'{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},'
        b'"usage":{"output_tokens":15}}',
        b'{"type":"message_stop"}',
    ]
)


class TestStreamsIn:
    @given(st.lists(st.integers(0, 5000), max_size=8))
    def test_any_split_of_the_bytes_gives_the_same_events(self, cuts: list[int]) -> None:
        events, reader = read(CODEC, STREAM, cuts)
        assert b"".join(event.wire for event in events) == STREAM
        assert merged(deltas_of(events)) == {
            "text": {0: "Hello"},
            "thinking": {0: "hm"},
            "seals": ["sig"],
            "calls": {(0, 0): ["toolu_1", "f", '{"a": 1}']},
            "finish": {0: "tool_calls"},
            "usage": Usage(input_tokens=30, cached_input_tokens=5, output_tokens=15),
        }
        assert reader.tally.is_complete
        assert reader.tally.model == "claude-x"

    def test_kinds_tell_where_content_begins_and_the_end_is(self) -> None:
        kinds = [event.kind for event in read(CODEC, STREAM)[0]]
        meta, content = EventKind.META, EventKind.CONTENT
        assert kinds == [
            *(meta, meta, meta, content, content, meta),
            *(meta, content, content, meta),
            *(content, content, content, meta),
            *(EventKind.FINISH, EventKind.END),
        ]

    def test_without_wanted_deltas_only_bytes_and_the_tally_are_kept(self) -> None:
        reader = CODEC.reader(want_deltas=False)
        events = reader.feed(STREAM) + reader.eof()
        assert all(event.deltas is None for event in events)
        assert reader.tally.output_characters == len("hm") + len("Hello") + len('{"a": 1}')

    @pytest.mark.parametrize("kept", range(len(STREAM) - 1, 0, -211))
    def test_a_stream_cut_anywhere_is_truncated(self, kept: int) -> None:
        reader = CODEC.reader(want_deltas=True)
        reader.feed(STREAM[:kept])
        with pytest.raises(UpstreamTruncatedError):
            reader.eof()

    @pytest.mark.parametrize("want_deltas", [True, False])
    def test_an_overload_inside_a_200_stream_is_an_error_event(self, want_deltas: bool) -> None:
        reader = CODEC.reader(want_deltas=want_deltas)
        frame = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"O"}}\n\n'
        (event,) = reader.feed(frame)
        assert event.kind is EventKind.ERROR
        assert event.deltas is not None
        (failed,) = event.deltas
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, UpstreamServerError)
        assert failed.error.upstream_code == "overloaded_error"

    @pytest.mark.parametrize(
        "data", [b"<html>", b"[]", b'{"type":"content_block_delta"}', b'{"x":1}']
    )
    def test_other_data_breaks_the_protocol(self, data: bytes) -> None:
        with pytest.raises(UpstreamProtocolError):
            CODEC.reader(want_deltas=True).feed(b"data: " + data + b"\n\n")

    def test_an_event_type_of_tomorrow_is_passed_on(self) -> None:
        (event,) = CODEC.reader(want_deltas=True).feed(b'data: {"type":"weather","x":[]}\n\n')
        assert (event.kind, event.deltas) == (EventKind.META, ())


def written(*deltas: object) -> bytes:
    writer = CODEC.writer(Head(model="alias"), call_id="call_1", created=0)
    return b"".join(writer.write(delta) for delta in deltas) + writer.end()  # type: ignore[arg-type]


class TestStreamsOut:
    def test_events_come_in_the_order_that_clients_require(self) -> None:
        stream = written(
            Started(id="msg_9", model="m"),
            TextDelta(text="a"),
            ToolCallDelta(index=0, id="c0", name="f", arguments="{"),
            ToolCallDelta(index=0, arguments="}"),
            ToolCallDelta(index=1, id="c1", name="g", arguments="{}"),
            Finished(finish_reason="tool_calls"),
            UsageDelta(usage=Usage(input_tokens=7, output_tokens=3)),
        )
        names = [line[7:].decode() for line in stream.split(b"\n") if line.startswith(b"event: ")]
        assert names == [
            "message_start",
            *("content_block_start", "content_block_delta", "content_block_stop"),
            *(
                "content_block_start",
                "content_block_delta",
                "content_block_delta",
                "content_block_stop",
            ),
            *("content_block_start", "content_block_delta", "content_block_stop"),
            *("message_delta", "message_stop"),
        ]

    def test_reading_what_was_written_gives_the_same(self) -> None:
        deltas = deltas_of(read(CODEC, STREAM)[0])
        again = deltas_of(read(CODEC, written(*deltas))[0])
        assert merged(again) == merged(deltas)

    def test_an_error_is_an_event_and_no_stop_follows(self) -> None:
        writer = CODEC.writer(Head(model="m"), call_id="c", created=0)
        stream = writer.write(TextDelta(text="half")) + writer.error(
            OverloadedError("Too much at once.")
        )
        assert stream.endswith(
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
            b'"message":"Too much at once."},"request_id":null}\n\n'
        )
        assert b"message_stop" not in stream
        assert b'stop_reason":"' not in stream

    def test_an_answer_without_a_known_end_shows_none(self) -> None:
        assert b'"stop_reason":null' in written(TextDelta(text="x")).rpartition(b"message_delta")[2]

    @given(
        st.lists(st.sampled_from(["text", "think", "call"]), max_size=12),
        st.lists(st.integers(0, 9999)),
    )
    def test_any_order_of_pieces_survives(self, kinds: list[str], cuts: list[int]) -> None:
        deltas: list[object] = [Started(id="i", model="m")]
        calls = 0
        for number, kind in enumerate(kinds):
            if kind == "call":
                deltas.append(ToolCallDelta(index=calls, id=f"c{calls}", name="f"))
                deltas.append(ToolCallDelta(index=calls, arguments=f'{{"n":{number}}}'))
                calls += 1
            elif kind == "text":
                deltas.append(TextDelta(text=f"t{number}", part=number))
            else:
                deltas.append(ReasoningDelta(text=f"r{number}", part=number))
        deltas += [
            Finished(finish_reason="stop"),
            UsageDelta(usage=Usage(input_tokens=1, output_tokens=2)),
        ]
        events, _ = read(CODEC, written(*deltas), cuts)
        assert merged(deltas_of(events)) == merged(deltas)  # type: ignore[arg-type]


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (BadRequestError("x"), "invalid_request_error"),
            (AuthenticationError("x"), "authentication_error"),
            (BudgetExceededError("x"), "billing_error"),
            (RateLimitedError("x"), "rate_limit_error"),
            (OverloadedError("x"), "overloaded_error"),
            (UpstreamServerError("x"), "api_error"),
        ],
    )
    def test_our_errors_have_their_types(self, error: Exception, kind: str) -> None:
        shown = json.loads(CODEC.encode_error(error))  # type: ignore[arg-type]
        assert (shown["type"], shown["error"]["type"]) == ("error", kind)

    def test_their_errors_become_ours_without_their_words(self) -> None:
        secret = "the patient's name is Müller"
        told = {"type": "error", "error": {"type": "rate_limit_error", "message": secret}}
        headers = {"retry-after": "12", "request-id": "req_1"}
        error = CODEC.decode_error(429, headers, body(told))
        assert isinstance(error, UpstreamRateLimitedError)
        assert (error.retry_after_s, error.request_id, error.upstream_code) == (
            12.0,
            "req_1",
            "rate_limit_error",
        )
        told["error"] = {"type": secret, "message": secret}
        for status in (400, 401, 403, 404, 413, 429, 500, 529):
            assert "Müller" not in str(CODEC.decode_error(status, {}, body(told)))

    def test_a_rejected_key_is_the_operators_matter(self) -> None:
        error = CODEC.decode_error(
            401, {}, b'{"type":"error","error":{"type":"authentication_error"}}'
        )
        assert isinstance(error, UpstreamAuthError)
        assert (error.status, error.retryable) == (502, False)

    def test_a_prompt_that_is_too_long_is_told_apart(self) -> None:
        told = {
            "error": {
                "type": "invalid_request_error",
                "message": "prompt is too long: 9 tokens > 8",
            }
        }
        assert isinstance(CODEC.decode_error(400, {}, body(told)), ContextTooLongError)

    @pytest.mark.parametrize(
        "text", [b"", b"<html>bad gateway</html>", b"[]", b'{"error": "x"}', b"\xff"]
    )
    def test_any_body_will_do(self, text: bytes) -> None:
        assert isinstance(CODEC.decode_error(502, {}, text), UpstreamServerError)
