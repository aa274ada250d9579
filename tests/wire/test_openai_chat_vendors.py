"""Chat completions as compatible vendors really speak them, and what a client may not be told."""

from __future__ import annotations

import msgspec
import pytest

from farthing.core.calls import Head
from farthing.core.chat import Choice, Completion, Finished, FinishReason, Started, TextDelta
from farthing.core.errors import UntranslatableError
from farthing.core.messages import Message, TextPart
from farthing.wire.dialects.anthropic_messages import CODEC as ANTHROPIC
from farthing.wire.dialects.openai_chat import CODEC


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
