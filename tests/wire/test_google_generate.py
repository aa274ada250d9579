"""The generateContent dialect: golden examples after the vendor's documentation, and its laws."""

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
    BadRequestError,
    ContextTooLongError,
    RateLimitedError,
    UntranslatableError,
    UpstreamAuthError,
    UpstreamProtocolError,
    UpstreamRateLimitedError,
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
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from farthing.core.usage import Usage
from farthing.wire.dialects.google_generate import CODEC
from tests.wire.streams import deltas_of, merged, read

FULL = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "What is this?"},
                {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
                {"inlineData": {"mimeType": "audio/wav", "data": "aGk="}},
                {
                    "inlineData": {
                        "mimeType": "application/pdf",
                        "data": "aGk=",
                        "displayName": "r.pdf",
                    }
                },
                {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.org/a.jpg"}},
                {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://bucket/v.mp4"}},
            ],
        },
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
                {"text": "Let me look.", "thoughtSignature": "dGV4dA=="},
                {
                    "functionCall": {"id": "fc1", "name": "look", "args": {"x": 1}},
                    "thoughtSignature": "Zg==",
                },
                {"executableCode": {"language": "PYTHON", "code": "1"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "fc1", "name": "look", "response": {"result": "ok"}}},
                {"text": "and now?"},
            ],
        },
    ],
    "tools": [
        {
            "functionDeclarations": [
                {
                    "name": "look",
                    "description": "Looks.",
                    "parametersJsonSchema": {"type": "object"},
                    "behavior": "BLOCKING",
                }
            ]
        },
        {"googleSearch": {}},
    ],
    "toolConfig": {
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]},
        "retrievalConfig": {"languageCode": "de"},
    },
    "generationConfig": {
        "temperature": 1.5,
        "topP": 0.9,
        "topK": 40,
        "candidateCount": 2,
        "maxOutputTokens": 100,
        "stopSequences": ["END"],
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "responseLogprobs": True,
        "logprobs": 3,
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
    },
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "cachedContent": "cachedContents/1",
    "serviceTier": "flex",
    "mystery": {"deep": [1, 2]},
}

CANDIDATE = {
    "content": {
        "role": "model",
        "parts": [
            {"text": "hm", "thought": True},
            {"text": "Sunny."},
            {"functionCall": {"name": "weather", "args": {"city": "Ulm"}}},
        ],
    },
    "finishReason": "STOP",
    "index": 0,
    "safetyRatings": [],
    "groundingMetadata": {"webSearchQueries": ["a", "", "b", "a"]},
}

ANSWER = {
    "candidates": [CANDIDATE],
    "usageMetadata": {
        "promptTokenCount": 100,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "toolUsePromptTokenCount": 5,
        "cachedContentTokenCount": 40,
        "totalTokenCount": 155,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 50},
            {"modality": "AUDIO", "tokenCount": 30},
            {"modality": "IMAGE", "tokenCount": 20},
        ],
        "cacheTokensDetails": [
            {"modality": "AUDIO", "tokenCount": 10},
            {"modality": "IMAGE", "tokenCount": 8},
        ],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 6}],
        "trafficType": "ON_DEMAND_PRIORITY",
    },
    "modelVersion": "gemini-3-pro",
    "responseId": "resp_1",
}


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def user(text: str = "hi") -> Message:
    return Message(role="user", parts=(TextPart(text=text),))


def chat(*messages: Message, **fields: object) -> ChatRequest:
    return ChatRequest(model="gemini-3-pro", messages=messages, **fields)  # type: ignore[arg-type]


def sent(request: ChatRequest) -> dict[str, object]:
    found: dict[str, object] = json.loads(CODEC.encode_request(request).body)
    return found


class TestRequestsIn:
    def test_the_head_leaves_model_and_stream_to_the_url(self) -> None:
        head = CODEC.head(body(FULL))
        assert (head.model, head.stream, head.max_output_tokens, head.n) == ("", False, 100, 2)
        assert head.features == {"tools", "images", "audio", "files", "json_schema", "reasoning"}
        assert head.service_tier == "flex"

    def test_both_spellings_mean_the_same(self) -> None:
        snake = {
            "contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "aGk="}}]}],
            "system_instruction": {"parts": [{"text": "s"}]},
            "generation_config": {
                "max_output_tokens": 5,
                "thinking_config": {"thinking_level": "LOW"},
            },
            "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {}}]}],
            "tool_config": {"function_calling_config": {"mode": "none"}},
        }
        camel = {
            "contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}],
            "systemInstruction": {"parts": [{"text": "s"}]},
            "generationConfig": {"maxOutputTokens": 5, "thinkingConfig": {"thinkingLevel": "LOW"}},
            "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "NONE"}},
        }
        assert CODEC.decode_request(body(snake)) == CODEC.decode_request(body(camel))
        assert CODEC.head(body(snake)).max_output_tokens == 5

    @pytest.mark.parametrize(
        ("broken", "param"),
        [
            ({}, "contents"),
            ({"contents": [{"role": "assistant", "parts": []}]}, "contents[0].role"),
            ({"contents": [], "generationConfig": {"seed": "x"}}, "generationConfig.seed"),
            (
                {"contents": [{"parts": [{"functionCall": {}}]}]},
                "contents[0].parts[0].functionCall.name",
            ),
        ],
    )
    def test_a_wrong_field_is_named_by_its_path(self, broken: object, param: str) -> None:
        with pytest.raises(BadRequestError) as caught:
            CODEC.decode_request(body(broken))
        assert caught.value.param == param

    def test_everything_becomes_core_words(self) -> None:
        request = CODEC.decode_request(body(FULL))
        assert [m.role for m in request.messages] == ["system", "user", "assistant", "tool", "user"]
        assert request.messages[1].parts[1:] == (
            ImagePart(data="aGk=", media_type="image/png"),
            AudioPart(data="aGk=", format="wav"),
            FilePart(data="aGk=", media_type="application/pdf", name="r.pdf"),
            ImagePart(url="https://example.org/a.jpg", media_type="image/jpeg"),
            FilePart(file_id="gs://bucket/v.mp4", media_type="video/mp4"),
        )
        thought, text, call, code = request.messages[2].parts
        assert thought == ReasoningPart(text="hm", encrypted="google:c2ln")
        assert isinstance(text, TextPart)
        assert isinstance(call, ToolCallPart)
        assert (call.id, call.name, json.loads(call.arguments)) == ("fc1", "look", {"x": 1})
        assert isinstance(code, OpaquePart)
        result = request.messages[3].parts[0]
        assert isinstance(result, ToolResultPart)
        assert (result.call_id, result.name) == ("fc1", "look")
        assert request.tool_choice == ToolChoice(mode="tool", name="look")
        assert request.reasoning == Reasoning(budget_tokens=1024, include_thoughts=True)
        assert (request.n, request.seed, request.top_k, request.top_logprobs) == (2, 7, 40, 3)

    def test_decoding_and_encoding_lose_nothing(self) -> None:
        assert sent(CODEC.decode_request(body(FULL))) == FULL

    def test_calls_without_ids_are_matched_by_name_and_order(self) -> None:
        call = {"functionCall": {"name": "f", "args": {}}}
        answer = {"functionResponse": {"name": "f", "response": {}}}
        other = {"functionResponse": {"name": "g", "response": {}}}
        contents = [
            {"role": "model", "parts": [call, {"functionCall": {"name": "g"}}, call]},
            {"role": "user", "parts": [other, answer, answer]},
        ]
        request = CODEC.decode_request(body({"contents": contents}))
        ids = [part.id for part in request.messages[0].parts if isinstance(part, ToolCallPart)]
        answered = [
            m.parts[0].call_id
            for m in request.messages[1:]
            if isinstance(m.parts[0], ToolResultPart)
        ]
        assert len(set(ids)) == 3
        assert answered == [ids[1], ids[0], ids[2]]
        assert b'"id"' not in CODEC.encode_request(request).body

    def test_the_vendors_schema_becomes_json_schema(self) -> None:
        schema = {
            "type": "OBJECT",
            "properties": {
                "type": {"type": "STRING", "nullable": True},
                "n": {"type": "ARRAY", "minItems": "1"},
            },
        }
        declared = {"name": "f", "parameters": schema}
        request = CODEC.decode_request(
            body({"contents": [], "tools": [{"functionDeclarations": [declared]}]})
        )
        parameters = request.tools[0].parameters
        assert parameters is not None
        assert msgspec.json.decode(parameters) == {
            "type": "object",
            "properties": {
                "type": {"type": ["string", "null"]},
                "n": {"type": "array", "minItems": 1},
            },
        }


class TestRequestsOut:
    def test_a_conversation_with_tools_is_told_in_its_turns(self) -> None:
        calls = tuple(ToolCallPart(id=f"c{n}", name=f"f{n}", arguments='{"a":1}') for n in range(2))
        results = [
            Message(
                role="tool",
                parts=(ToolResultPart(call_id=f"c{n}", content=(TextPart(text="ok"),)),),
            )
            for n in range(2)
        ]
        system = Message(role="system", parts=(TextPart(text="s"),))
        shown = sent(chat(system, user(), Message(role="assistant", parts=calls), *results))
        assert shown["systemInstruction"] == {"parts": [{"text": "s"}]}
        assert shown["contents"] == [
            {"role": "user", "parts": [{"text": "hi"}]},
            {
                "role": "model",
                "parts": [
                    {
                        "functionCall": {"name": "f0", "args": {"a": 1}, "id": "c0"},
                        "thoughtSignature": "skip_thought_signature_validator",
                    },
                    {"functionCall": {"name": "f1", "args": {"a": 1}, "id": "c1"}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "f0", "response": {"output": "ok"}, "id": "c0"}},
                    {"functionResponse": {"name": "f1", "response": {"output": "ok"}, "id": "c1"}},
                ],
            },
        ]

    def test_a_failed_tool_says_error(self) -> None:
        part = ToolResultPart(call_id="c", name="f", content=(TextPart(text="no"),), is_error=True)
        shown = sent(chat(user(), Message(role="tool", parts=(part,))))
        assert b'{"error":"no"}' in msgspec.json.encode(shown)

    def test_a_result_without_its_call_is_refused(self) -> None:
        part = ToolResultPart(call_id="c", content=(TextPart(text="ok"),))
        with pytest.raises(UntranslatableError, match="not in this conversation"):
            CODEC.encode_request(chat(user(), Message(role="tool", parts=(part,))))

    def test_tools_choice_and_format_are_said(self) -> None:
        tool = Tool(name="f", parameters=msgspec.Raw(b'{"type":"object"}'), strict=True)
        wanted = ResponseFormat(kind="json_schema", name="n", schema=msgspec.Raw(b"{}"))
        request = chat(
            user(), tools=(tool,), tool_choice=ToolChoice(mode="required"), response_format=wanted
        )
        encoded = CODEC.encode_request(request)
        shown = json.loads(encoded.body)
        assert shown["tools"] == [
            {"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}
        ]
        assert shown["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
        assert shown["generationConfig"] == {
            "responseMimeType": "application/json",
            "responseJsonSchema": {},
        }
        assert set(encoded.dropped) == {"response_format.name", "tools[0].strict"}

    @pytest.mark.parametrize(
        ("model", "reasoning", "thinking", "dropped"),
        [
            ("gemini-3-pro", Reasoning(effort="high"), {"thinkingLevel": "HIGH"}, ()),
            (
                "gemini-3-pro",
                Reasoning(effort="none"),
                {"thinkingLevel": "LOW"},
                ("reasoning.effort",),
            ),
            ("gemini-3.8-flash", Reasoning(effort="minimal"), {"thinkingLevel": "LOW"}, ()),
            (
                "gemini-3.5-flash-lite",
                Reasoning(effort="minimal"),
                {"thinkingLevel": "MINIMAL"},
                (),
            ),
            ("gemini-2.5-pro", Reasoning(effort="high"), {"thinkingBudget": 24576}, ()),
            (
                "gemini-2.5-pro",
                Reasoning(effort="none"),
                {"thinkingBudget": 128},
                ("reasoning.effort",),
            ),
            ("gemini-2.5-flash", Reasoning(effort="none"), {"thinkingBudget": 0}, ()),
            ("gemini-2.5-flash", Reasoning(effort="max"), {"thinkingBudget": 24576}, ()),
            ("gemini-3-pro", Reasoning(budget_tokens=2000), {"thinkingBudget": 2000}, ()),
            (
                "gemini-3-pro",
                Reasoning(budget_tokens=-1, effort="low"),
                {"thinkingLevel": "LOW"},
                (),
            ),
        ],
    )
    def test_effort_is_said_in_the_words_of_the_model(
        self, model: str, reasoning: Reasoning, thinking: object, dropped: tuple[str, ...]
    ) -> None:
        request = msgspec.structs.replace(chat(user(), reasoning=reasoning), model=model)
        encoded = CODEC.encode_request(request)
        assert json.loads(encoded.body)["generationConfig"]["thinkingConfig"] == thinking
        assert encoded.dropped == dropped

    def test_a_late_system_message_moves_and_says_so(self) -> None:
        late = Message(role="system", parts=(TextPart(text="s"),))
        encoded = CODEC.encode_request(chat(user(), late))
        assert json.loads(encoded.body)["systemInstruction"] == {"parts": [{"text": "s"}]}
        assert encoded.dropped == ("messages[1].position",)

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"logprobs": True}, "logprobs"),
            ({"parallel_tool_calls": False, "tools": (Tool(name="f"),)}, "parallel_tool_calls"),
            (
                {"extra": {"container": msgspec.Raw(b'"c"')}, "dialect": "anthropic-messages"},
                "container",
            ),
        ],
    )
    def test_what_would_change_the_answer_is_refused(
        self, fields: dict[str, object], param: str
    ) -> None:
        with pytest.raises(UntranslatableError) as caught:
            CODEC.encode_request(chat(user(), **fields))
        assert caught.value.param == param


class TestAnswers:
    def test_each_token_is_counted_once_and_totals_include_thoughts(self) -> None:
        completion = CODEC.decode_response(body(ANSWER))
        assert completion.usage == Usage(
            input_tokens=105,
            output_tokens=50,
            cached_input_tokens=40,
            reasoning_tokens=30,
            input_audio_tokens=30,
            cached_input_audio_tokens=10,
            input_image_tokens=12,
            output_image_tokens=6,
            web_search_requests=2,
        )
        assert completion.service_tier == "priority"
        assert CODEC.tally(body(ANSWER)).usage == completion.usage

    def test_a_stop_after_a_function_call_is_tool_calls(self) -> None:
        completion = CODEC.decode_response(body(ANSWER))
        assert completion.choices[0].finish_reason == "tool_calls"
        assert CODEC.tally(body(ANSWER)).finish_reasons == ("tool_calls",)
        call = completion.choices[0].message.parts[2]
        assert isinstance(call, ToolCallPart)
        assert call.id == "call_farthing_resp_1_0"

    def test_what_the_answer_said_survives_the_round_trip(self) -> None:
        again = json.loads(CODEC.encode_response(CODEC.decode_response(body(ANSWER))).body)
        assert again["candidates"] == ANSWER["candidates"]
        assert (again["modelVersion"], again["responseId"]) == ("gemini-3-pro", "resp_1")

    @pytest.mark.parametrize(
        ("reason", "finish"),
        [
            ("STOP", "tool_calls"),
            ("MAX_TOKENS", "length"),
            ("SAFETY", "content_filter"),
            ("RECITATION", "content_filter"),
            ("SPII", "content_filter"),
            ("MALFORMED_FUNCTION_CALL", "other"),
            ("INVENTED_IN_2027", "other"),
        ],
    )
    def test_no_reason_is_taken_for_a_stop(self, reason: str, finish: str) -> None:
        candidate = {**CANDIDATE, "finishReason": reason}
        completion = CODEC.decode_response(body({**ANSWER, "candidates": [candidate]}))
        assert completion.choices[0].finish_reason == finish
        again = json.loads(CODEC.encode_response(completion).body)["candidates"][0]["finishReason"]
        assert again == (reason if reason != "INVENTED_IN_2027" else "OTHER")

    def test_a_blocked_prompt_is_a_filtered_answer_without_words(self) -> None:
        blocked = {
            "promptFeedback": {"blockReason": "SAFETY"},
            "usageMetadata": {"promptTokenCount": 4},
        }
        completion = CODEC.decode_response(body(blocked))
        (choice,) = completion.choices
        assert (choice.finish_reason, choice.message.parts) == ("content_filter", ())
        assert CODEC.tally(body(blocked)).finish_reasons == ("content_filter",)

    @pytest.mark.parametrize("broken", [b"<html>", b"{}", b"[]", b'{"error":{"code":500}}'])
    def test_a_body_that_is_no_answer_breaks_the_protocol(self, broken: bytes) -> None:
        with pytest.raises(UpstreamProtocolError):
            CODEC.decode_response(broken)
        with pytest.raises(UpstreamProtocolError):
            CODEC.tally(broken)


STREAM = b"".join(
    b"data: " + line + b"\r\n\r\n"
    for line in [
        b'{"candidates":[{"content":{"parts":[{"text":"hm","thought":true}],"role":"model"},"index":0}],'
        b'"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8},'
        b'"modelVersion":"gemini-3-pro","responseId":"r1"}',
        b'{"candidates":[{"content":{"parts":[{"text":"Hel"}],"role":"model"},"index":0}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"lo"},'
        b'{"functionCall":{"name":"f","args":{"a": 1}},"thoughtSignature":"c2ln"}]},"index":0}]}',
        b'{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],'
        b'"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":5,"thoughtsTokenCount":2}}',
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
            "calls": {(0, 0): ["call_farthing_r1_0", "f", '{"a": 1}']},
            "finish": {0: "tool_calls"},
            "usage": Usage(input_tokens=8, output_tokens=7, reasoning_tokens=2),
        }
        assert reader.tally.is_complete
        kinds = [event.kind for event in events]
        assert kinds == [EventKind.CONTENT] * 3 + [EventKind.FINISH]

    @pytest.mark.parametrize("kept", range(len(STREAM) - 1, 0, -97))
    def test_a_stream_cut_anywhere_is_truncated(self, kept: int) -> None:
        reader = CODEC.reader(want_deltas=False)
        reader.feed(STREAM[:kept])
        with pytest.raises(UpstreamTruncatedError):
            reader.eof()

    def test_one_unfinished_candidate_keeps_the_answer_incomplete(self) -> None:
        reader = CODEC.reader(want_deltas=True)
        two = {
            "candidates": [
                {"index": 0, "finishReason": "STOP"},
                {"index": 1, "content": {"parts": []}},
            ]
        }
        reader.feed(b"data: " + body(two) + b"\n\n")
        with pytest.raises(UpstreamTruncatedError):
            reader.eof()

    def test_a_blocked_prompt_ends_the_stream(self) -> None:
        blocked = body({"promptFeedback": {"blockReason": "SAFETY"}})
        events, reader = read(CODEC, b"data: " + blocked + b"\n\n")
        assert events[0].kind is EventKind.FINISH
        assert reader.tally.finish_reasons == ("content_filter",)

    def test_an_error_chunk_is_an_error_event(self) -> None:
        failed = body({"error": {"code": 503, "message": "secret", "status": "UNAVAILABLE"}})
        (event,) = CODEC.reader(want_deltas=False).feed(b"data: " + failed + b"\n\n")
        assert event.kind is EventKind.ERROR
        assert event.deltas is not None
        (delta,) = event.deltas
        assert isinstance(delta, Failed)
        assert isinstance(delta.error, UpstreamServerError)
        assert "secret" not in str(delta.error)


def written(*deltas: object) -> bytes:
    writer = CODEC.writer(Head(model="alias"), call_id="call_1", created=0)
    return b"".join(writer.write(delta) for delta in deltas) + writer.end()  # type: ignore[arg-type]


class TestStreamsOut:
    def test_reading_what_was_written_gives_the_same(self) -> None:
        deltas = deltas_of(read(CODEC, STREAM)[0])
        again = deltas_of(read(CODEC, written(*deltas))[0])
        assert merged(again) == merged(deltas)

    def test_a_call_is_shown_whole_however_it_came(self) -> None:
        stream = written(
            ToolCallDelta(index=0, id="c", name="f", arguments='{"a"'),
            ToolCallDelta(index=0, arguments=": 1}"),
            Finished(finish_reason="tool_calls"),
        )
        assert b'"functionCall":{"name":"f","args":{"a": 1},"id":"c"}' in stream

    def test_a_call_that_never_became_whole_ends_in_an_error(self) -> None:
        stream = written(
            ToolCallDelta(index=0, id="c", name="f", arguments='{"a"'),
            Finished(finish_reason="length"),
        )
        assert b'"error":{"code":502' in stream
        assert b"finishReason" not in stream

    def test_an_error_is_a_chunk_and_no_finish_follows(self) -> None:
        writer = CODEC.writer(Head(model="m"), call_id="c", created=0)
        stream = writer.write(TextDelta(text="half")) + writer.error(RateLimitedError("Later."))
        assert stream.endswith(
            b'data: {"error":{"code":429,"message":"Later.","status":"RESOURCE_EXHAUSTED"}}\n\n'
        )
        assert writer.end() == b""

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
            Finished(finish_reason="tool_calls" if calls else "stop"),
            UsageDelta(usage=Usage(input_tokens=1, output_tokens=2)),
        ]
        events, _ = read(CODEC, written(*deltas), cuts)
        assert merged(deltas_of(events)) == merged(deltas)  # type: ignore[arg-type]


class TestErrors:
    def test_waiting_time_is_said_both_ways(self) -> None:
        shown = CODEC.encode_error(RateLimitedError("Later.", retry_after_s=1.5))
        error = CODEC.decode_error(429, {}, shown)
        assert isinstance(error, UpstreamRateLimitedError)
        assert error.retry_after_s == 1.5

    def test_a_wrong_key_is_told_from_a_wrong_argument(self) -> None:
        told = {
            "error": {
                "code": 400,
                "message": "API key not valid.",
                "status": "INVALID_ARGUMENT",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "API_KEY_INVALID",
                    }
                ],
            }
        }
        assert isinstance(CODEC.decode_error(400, {}, body(told)), UpstreamAuthError)
        assert isinstance(CODEC.decode_error(400, {}, body([told])), UpstreamAuthError)

    def test_an_input_that_is_too_long_is_told_apart(self) -> None:
        message = "The input token count (9) exceeds the maximum number of tokens allowed (8)."
        error = CODEC.decode_error(400, {}, body({"error": {"code": 400, "message": message}}))
        assert isinstance(error, ContextTooLongError)

    @pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b'{"error": "x"}', b"\xff"])
    def test_any_body_will_do(self, text: bytes) -> None:
        assert isinstance(CODEC.decode_error(502, {}, text), UpstreamServerError)
