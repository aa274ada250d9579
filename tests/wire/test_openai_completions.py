"""The legacy completions dialect: one prompt is a user message, and text is all that comes back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.calls import Head
from farthing.core.chat import (
    ChatRequest,
    Choice,
    Completion,
    Delta,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    Tool,
    UsageDelta,
)
from farthing.core.errors import (
    BadRequestError,
    FarthingError,
    UntranslatableError,
    UpstreamProtocolError,
)
from farthing.core.messages import Message, ReasoningPart, TextPart
from farthing.core.usage import Usage
from farthing.wire.dialects import codec
from farthing.wire.dialects.openai_completions import CODEC
from tests.wire.streams import deltas_of, merged, read

USAGE = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
ANSWER = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "m-1",
    "choices": [{"index": 0, "text": " upon", "finish_reason": "length", "logprobs": None}],
    "usage": USAGE,
}


def body(**fields: object) -> bytes:
    return json.dumps({"model": "m", "prompt": "Once", **fields}).encode()


class TestRequests:
    def test_a_request_survives_core_and_back(self) -> None:
        wire = body(
            max_tokens=9,
            temperature=0.5,
            stop="END",
            n=2,
            stream=True,
            stream_options={"include_usage": True, "x": 1},
            logprobs=3,
            suffix=".",
            user="u",
            mystery=[1],
        )
        request = CODEC.decode_request(wire)
        encoded = CODEC.encode_request(request)
        assert encoded.dropped == ()
        assert CODEC.decode_request(encoded.body) == request
        assert json.loads(encoded.body) == {**json.loads(wire), "stop": ["END"]}

    def test_every_billed_answer_counts_in_the_head(self) -> None:
        head = CODEC.head(body(prompt=["a", "b"], n=2, best_of=3, max_tokens=5))
        assert (head.n, head.max_output_tokens, head.include_usage) == (6, 5, False)
        assert CODEC.head(body(prompt=[1, 2, 3])).n == 1
        assert CODEC.head(body(prompt=[[1], [2]])).n == 2

    @pytest.mark.parametrize("prompt", [7, {"a": 1}, [True], None])
    def test_no_prompt_is_the_callers_mistake(self, prompt: object) -> None:
        for read_body in (CODEC.head, CODEC.decode_request):
            with pytest.raises(BadRequestError, match="prompt"):
                read_body(body(prompt=prompt))

    @pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1], [2]], []])
    def test_prompts_that_are_no_single_text_have_no_chat_form(self, prompt: object) -> None:
        with pytest.raises(UntranslatableError, match="prompt"):
            CODEC.decode_request(body(prompt=prompt))

    @pytest.mark.parametrize(
        ("name", "value", "idle"),
        [("suffix", "x", ""), ("echo", True, False), ("best_of", 3, 1), ("logprobs", 2, None)],
    )
    def test_what_only_a_completion_can_do_is_refused_elsewhere(
        self, name: str, value: object, idle: object
    ) -> None:
        chat = codec("openai-chat")
        with pytest.raises(UntranslatableError, match=name):
            chat.encode_request(CODEC.decode_request(body(**{name: value})))
        assert chat.encode_request(CODEC.decode_request(body(**{name: idle}))).body

    def test_one_text_of_a_chat_becomes_the_prompt(self) -> None:
        turn = Message(role="user", parts=(TextPart(text="Once"),))
        request = ChatRequest(model="m", messages=(turn,), stop=("x",), seed=3)
        shown = json.loads(CODEC.encode_request(request).body)
        assert shown == {"model": "m", "prompt": "Once", "stop": ["x"], "seed": 3}

    def test_a_chat_with_more_than_a_text_is_refused(self) -> None:
        turn = Message(role="user", parts=(TextPart(text="Once"),))
        refused = [
            ChatRequest(model="m", messages=(turn, turn)),
            ChatRequest(model="m", messages=()),
            ChatRequest(model="m", messages=(Message(role="system", parts=turn.parts),)),
            ChatRequest(model="m", messages=(turn,), tools=(Tool(name="f"),)),
        ]
        for request in refused:
            with pytest.raises(UntranslatableError):
                CODEC.encode_request(request)


class TestAnswers:
    def test_an_answer_survives_core_and_back(self) -> None:
        completion = CODEC.decode_response(json.dumps(ANSWER).encode())
        assert CODEC.decode_response(CODEC.encode_response(completion).body) == completion
        assert completion.choices[0].finish_reason == "length"
        assert CODEC.tally(json.dumps(ANSWER).encode()).usage == completion.usage

    def test_only_text_is_shown_and_the_rest_is_listed(self) -> None:
        parts = (ReasoningPart(text="hm"), TextPart(text="Ulm"))
        choice = Choice(
            index=0, message=Message(role="assistant", parts=parts), finish_reason="stop"
        )
        encoded = CODEC.encode_response(Completion(id="i", model="m", choices=(choice,)))
        assert json.loads(encoded.body)["choices"][0]["text"] == "Ulm"
        assert encoded.dropped == ("choices[0].message.content[0]",)

    @pytest.mark.parametrize("wire", [b"", b"{", b"[]", b"{}", b'{"choices":[]}'])
    def test_no_answer_is_a_protocol_error(self, wire: bytes) -> None:
        with pytest.raises(UpstreamProtocolError):
            CODEC.decode_response(wire)


class TestStreams:
    DELTAS = (
        Started(id="cmpl-1", model="m-1", created=1),
        ReasoningDelta(text="hm"),
        TextDelta(text="Once"),
        TextDelta(text=" upon é"),
        Finished(finish_reason="stop"),
        UsageDelta(usage=Usage(input_tokens=4, output_tokens=2)),
    )

    def written(self, *, include_usage: bool = True) -> bytes:
        writer = CODEC.writer(
            Head(model="m", stream=True, include_usage=include_usage), call_id="c", created=7
        )
        return b"".join(writer.write(delta) for delta in self.DELTAS) + writer.end()

    @given(st.lists(st.integers(0, 2000), max_size=9))
    def test_any_split_reads_the_same(self, cuts: list[int]) -> None:
        wire = self.written()
        events, reader = read(CODEC, wire, cuts)
        assert b"".join(event.wire for event in events) == wire
        spoken: list[Delta] = [d for d in self.DELTAS if not isinstance(d, ReasoningDelta)]
        assert merged(deltas_of(events)) == merged(spoken)
        assert reader.tally.is_complete

    def test_usage_is_shown_to_those_who_asked(self) -> None:
        assert b'"usage":{' in self.written()
        assert b"usage" not in self.written(include_usage=False)

    def test_a_failure_is_no_end(self) -> None:
        writer = CODEC.writer(Head(model="m"), call_id="c", created=7)
        wire = writer.write(TextDelta(text="x")) + writer.error(FarthingError("Oh."))
        assert b"[DONE]" not in wire
        reader = CODEC.reader(want_deltas=True)
        reader.feed(wire)
        assert not reader.tally.is_complete


def test_official_types_accept_what_is_written() -> None:
    types = pytest.importorskip("openai.types")
    assert types.Completion.model_validate(ANSWER, strict=False)
    for frame in TestStreams().written().split(b"\n\n"):
        data = frame.removeprefix(b"data: ")
        # The vendor itself sends null before the end, which the types do not know.
        if data.startswith(b"{") and b'"finish_reason":null' not in data:
            assert types.Completion.model_validate_json(data).object == "text_completion"
