"""Chat completions as compatible vendors really speak them, and what a client may not be told."""

from __future__ import annotations

import msgspec
import pytest

from farthing.core.calls import EventKind, Head
from farthing.core.chat import Choice, Completion, Finished, FinishReason, Started, TextDelta
from farthing.core.errors import UntranslatableError, UpstreamTruncatedError
from farthing.core.messages import Message, ReasoningPart, TextPart
from farthing.wire.dialects.anthropic_messages import CODEC as ANTHROPIC
from farthing.wire.dialects.openai_chat import CODEC
from tests.wire.streams import deltas_of, merged, read


class TestWhatIsNoStop:
    @pytest.mark.parametrize("finish", ["refusal", "pause", "other", "content_filter", "length"])
    def test_a_client_never_takes_it_for_a_whole_answer(self, finish: FinishReason) -> None:
        message = Message(role="assistant", parts=(TextPart(text="half"),))
        choice = Choice(index=0, message=message, finish_reason=finish, raw_finish="THEIRS")
        said = Completion(id="i", model="m", choices=(choice,), dialect="google-generate")
        shown = msgspec.json.decode(CODEC.encode_response(said).body)
        assert shown["choices"][0]["finish_reason"] in ("content_filter", "length")
        writer = CODEC.writer(Head(model="m", stream=True), call_id="c", created=1)
        wire = writer.write(Started(id="i", model="m")) + writer.write(TextDelta(text="half"))
        assert b'"stop"' not in wire + writer.write(Finished(finish_reason=finish))

    def test_a_vendors_own_word_stays_for_its_clients(self) -> None:
        # api-docs.deepseek.com, 2026-11-24
        whole = msgspec.json.encode(
            {
                "id": "i",
                "created": 1,
                "model": "m",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "half"},
                        "finish_reason": "insufficient_system_resource",
                    }
                ],
            }
        )
        completion = CODEC.decode_response(whole)
        assert completion.choices[0].finish_reason == "other"
        assert CODEC.decode_response(CODEC.encode_response(completion).body) == completion


def stream(*choices: dict[str, object], end: bytes = b"data: [DONE]\n\n") -> bytes:
    """Chunks of one choice each, and the end mark."""
    chunks = [{"id": "i", "model": "m", "choices": [{"index": 0, **choice}]} for choice in choices]
    return b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks) + end


def call(**fields: object) -> dict[str, object]:
    """A chunk's choice with one piece of a tool call."""
    return {"delta": {"tool_calls": [fields]}}


FINISH: dict[str, object] = {"delta": {}, "finish_reason": "tool_calls"}


class TestToolCallsThatAreNumberedOtherwise:
    @pytest.mark.parametrize("numbers", [(0, 1), (None, None), (0, 0), (1, 2)])
    def test_two_calls_stay_two(self, numbers: tuple[int | None, int | None]) -> None:
        pieces = []
        for number, name in zip(numbers, "fg", strict=True):
            place = {} if number is None else {"index": number}
            pieces += [
                call(**place, id=f"id_{name}", function={"name": name, "arguments": ""}),
                call(**place, function={"arguments": '{"a":'}),
                call(**place, function={"arguments": "1}"}),
            ]
        events, _ = read(CODEC, stream(*pieces, FINISH))
        assert merged(deltas_of(events))["calls"] == {
            (0, 0): ["id_f", "f", '{"a":1}'],
            (0, 1): ["id_g", "g", '{"a":1}'],
        }

    def test_a_new_id_for_every_piece_makes_no_new_call(self) -> None:
        pieces = [
            call(index=0, id="id_1", function={"name": "f", "arguments": "{"}),
            call(index=0, id="id_2", function={"arguments": "}"}),
        ]
        events, _ = read(CODEC, stream(*pieces, FINISH))
        assert list(merged(deltas_of(events))["calls"]) == [(0, 0)]  # type: ignore[call-overload]


# docs.mistral.ai, capabilities/reasoning, 2026-11-24
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


class TestContentAsAnArray:
    def test_thinking_is_told_from_text_in_a_stream(self) -> None:
        wire = stream(
            {"delta": {"role": "assistant", "content": [THOUGHT]}},
            {"delta": {"content": [{"type": "text", "text": "Su"}]}},
            {"delta": {"content": "n."}, "finish_reason": "stop"},
        )
        events, reader = read(CODEC, wire, cuts=range(0, len(wire), 11))
        found = merged(deltas_of(events))
        assert (found["text"], found["thinking"]) == ({0: "Sun."}, {0: "hm"})
        assert reader.tally.output_characters == len("hmSun.")
        assert b"".join(event.wire for event in events) == wire

    def test_thinking_is_told_from_text_in_a_whole_answer(self) -> None:
        message = {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "Sun."}]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        whole = msgspec.json.encode({"id": "i", "model": "m", "choices": [choice]})
        (answer,) = CODEC.decode_response(whole).choices
        assert answer.message.parts == (ReasoningPart(text="hm"), TextPart(text="Sun."))
        assert CODEC.tally(whole).output_characters == len("hmSun.")


class TestTheEnd:
    @pytest.mark.parametrize("mark", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n"])
    def test_an_end_mark_without_its_blank_line_is_completed(self, mark: bytes) -> None:
        wire = stream({"delta": {"content": "Hi"}, "finish_reason": "stop"}, end=mark)
        events, reader = read(CODEC, wire)
        assert events[-1].kind is EventKind.END
        assert events[-1].wire == b"data: [DONE]\n\n"
        assert reader.tally.is_complete

    @pytest.mark.parametrize("rest", [b"data: [DO", b'data: {"choices":[]}', b"data:"])
    def test_any_other_rest_is_a_truncated_answer(self, rest: bytes) -> None:
        wire = stream({"delta": {"content": "Hi"}, "finish_reason": "stop"}, end=rest)
        with pytest.raises(UpstreamTruncatedError):
            read(CODEC, wire)

    def test_an_end_mark_before_the_finish_is_a_truncated_answer(self) -> None:
        with pytest.raises(UpstreamTruncatedError):
            read(CODEC, stream({"delta": {"content": "Hi"}}, end=b"data: [DONE]"))


class TestRefused:
    @pytest.mark.parametrize(
        "choice",
        [
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            {"type": "custom", "custom": {"name": "sql"}},
        ],
        ids=["allowed_tools", "custom"],
    )
    def test_a_choice_of_tools_that_others_cannot_say(self, choice: dict[str, object]) -> None:
        body = msgspec.json.encode(
            {
                "model": "m",
                "messages": [{"role": "user", "content": "Hi"}],
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": choice,
            }
        )
        request = CODEC.decode_request(body)
        own = CODEC.encode_request(request)
        assert msgspec.json.decode(own.body)["tool_choice"] == choice
        with pytest.raises(UntranslatableError) as caught:
            ANTHROPIC.encode_request(request)
        assert caught.value.param == "tool_choice"
