"""The embeddings dialect: what is read of a request and its answer; it has no chat form."""

from __future__ import annotations

import msgspec
import pytest

from farthing.core.calls import Head
from farthing.core.chat import ChatRequest, Completion
from farthing.core.errors import (
    BadRequestError,
    RateLimitedError,
    UntranslatableError,
    UpstreamProtocolError,
    UpstreamRateLimitedError,
)
from farthing.core.usage import Usage
from farthing.wire.dialects import codec
from farthing.wire.dialects.openai_embeddings import CODEC, MAX_INPUTS, decode_embed


def body(value: object, **more: object) -> bytes:
    return msgspec.json.encode({"model": "m", "input": value, **more})


class TestRequests:
    @pytest.mark.parametrize(
        ("value", "count"),
        [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
        ids=["text", "texts", "tokens", "token arrays"],
    )
    def test_every_form_of_input_is_read(self, value: object, count: int) -> None:
        wire = body(value, dimensions=8, encoding_format="base64", user="u", mystery=1)
        assert CODEC.head(wire) == Head(model="m", kind="embed", input_bytes=len(wire))
        read = decode_embed(wire)
        assert len(read.inputs) == count
        assert (read.dimensions, read.encoding_format, read.user) == (8, "base64", "u")
        assert set(read.extra) == {"mystery"}

    @pytest.mark.parametrize(
        "wire",
        [
            b"{}",
            b'{"model":"m"}',
            body(""),
            body([]),
            body([""]),
            body([[]]),
            body(["a", 1]),
            body([True]),
            body(7),
            body({"text": "a"}),
            body(["a"] * (MAX_INPUTS + 1)),
            body("a", dimensions=0),
            body("a", encoding_format="hex"),
        ],
    )
    def test_another_form_is_the_callers_mistake_and_is_named(self, wire: bytes) -> None:
        with pytest.raises(BadRequestError) as caught:
            CODEC.head(wire)
        assert "'" in caught.value.message

    def test_only_the_model_changes_when_it_is_replaced(self) -> None:
        wire = b'{"input": "model", "model" : "alias"}'
        assert CODEC.with_model(wire, "real") == b'{"input": "model", "model" : "real"}'

    def test_azures_classic_path_names_the_model(self) -> None:
        assert CODEC.head(b'{"input":"a"}').model == ""


class TestAnswers:
    def test_the_tokens_are_billed_as_input(self) -> None:
        wire = msgspec.json.encode(
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": "AAAA"}],
                "model": "m-1",
                "usage": {"prompt_tokens": 5, "total_tokens": 5},
            }
        )
        tally = CODEC.tally(wire)
        assert tally.usage == Usage(input_tokens=5)
        assert (tally.model, tally.is_complete) == ("m-1", True)

    def test_an_answer_without_usage_says_so(self) -> None:
        assert CODEC.tally(b'{"data":[{}]}').usage is None
        assert not CODEC.tally(b'{"data":[]}').is_complete

    @pytest.mark.parametrize("wire", [b"", b"{", b"[]", b'{"data":1}', b"\xff"])
    def test_no_list_of_embeddings_is_a_protocol_error(self, wire: bytes) -> None:
        with pytest.raises(UpstreamProtocolError):
            CODEC.tally(wire)

    def test_errors_have_openais_form(self) -> None:
        wire = CODEC.encode_error(RateLimitedError("Later."))
        assert msgspec.json.decode(wire)["error"]["type"] == "rate_limit_error"
        error = CODEC.decode_error(429, {"retry-after": "3"}, wire)
        assert isinstance(error, UpstreamRateLimitedError)
        assert error.retry_after_s == 3


def test_embeddings_have_no_chat_form() -> None:
    request = ChatRequest(model="m", messages=())
    completion = Completion(id="i", model="m", choices=())
    for refused in (
        lambda: CODEC.decode_request(body("a")),
        lambda: CODEC.encode_request(request),
        lambda: CODEC.decode_response(b"{}"),
        lambda: CODEC.encode_response(completion),
        lambda: CODEC.reader(want_deltas=True),
        lambda: CODEC.writer(Head(model="m"), call_id="c", created=1),
    ):
        with pytest.raises(UntranslatableError, match="no chat form"):
            refused()
    assert codec("openai-embeddings") is CODEC
