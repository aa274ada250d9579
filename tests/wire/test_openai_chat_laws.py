"""Laws of the chat completions dialect: nothing is lost, nothing is made up, any split is the same."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core.calls import EventKind, Head
from farthing.core.chat import (
    Delta,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from farthing.core.errors import (
    BadRequestError,
    ContentFilteredError,
    ContextTooLongError,
    FarthingError,
    UpstreamAuthError,
    UpstreamProtocolError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamServerError,
    UpstreamTruncatedError,
)
from farthing.core.usage import Usage
from farthing.testing.codecs import CodecConformance
from farthing.wire.dialects.openai_chat import CODEC
from tests.wire.streams import deltas_of, merged, read

TEXT = st.text(min_size=1, max_size=12)
UNKNOWN = st.dictionaries(
    st.sampled_from(["vendor_x", "prompt_cache_key", "x\u00e9"]),
    st.one_of(st.none(), st.integers(), TEXT, st.just({"deep": [1, None]})),
    max_size=2,
)


def objects(
    extra: bool = True, /, **fields: st.SearchStrategy[object]
) -> st.SearchStrategy[object]:
    """JSON objects with these fields, and now and then one that nobody knows."""
    known = st.fixed_dictionaries(dict(fields))
    return st.builds(lambda a, b: {**b, **a}, known, UNKNOWN) if extra else known


PARTS = st.one_of(
    objects(type=st.just("text"), text=TEXT),
    objects(
        type=st.just("image_url"),
        image_url=objects(
            url=st.sampled_from(["https://example.org/a.png", "data:image/png;base64,aGk="]),
            detail=st.sampled_from(["low", "high"]),
        ),
    ),
    objects(
        type=st.just("input_audio"),
        input_audio=objects(False, data=st.just("aGk="), format=st.just("wav")),
    ),
    objects(type=st.just("file"), file=objects(False, file_id=TEXT)),
    objects(type=st.just("something_new"), payload=TEXT),
)
CALL = objects(
    id=TEXT,
    type=st.just("function"),
    function=objects(False, name=st.just("f"), arguments=st.sampled_from(["{}", '{"a": 1}', ""])),
)
CUSTOM_CALL = objects(id=TEXT, type=st.just("custom"), custom=st.just({"name": "s", "input": "x"}))
MESSAGES = st.one_of(
    objects(role=st.sampled_from(["system", "developer", "user"]), content=TEXT, name=TEXT),
    objects(role=st.just("user"), content=st.lists(PARTS, min_size=2, max_size=3)),
    objects(role=st.just("assistant"), content=TEXT, refusal=TEXT),
    objects(
        role=st.just("assistant"),
        content=st.none(),
        tool_calls=st.lists(st.one_of(CALL, CUSTOM_CALL), min_size=1, max_size=2),
    ),
    objects(role=st.just("tool"), tool_call_id=TEXT, content=TEXT),
)
TOOLS = st.one_of(
    objects(
        type=st.just("function"),
        function=objects(
            name=st.just("f"), description=TEXT, parameters=st.just({"type": "object"})
        ),
    ),
    objects(type=st.just("custom"), custom=st.just({"name": "sql"})),
)
BODIES = st.builds(
    lambda a, b, c: {**b, **c, **a},
    st.fixed_dictionaries(
        {"model": st.just("m"), "messages": st.lists(MESSAGES, min_size=1, max_size=4)},
        optional={
            "tools": st.lists(TOOLS, min_size=1, max_size=2),
            "tool_choice": st.sampled_from(
                [
                    "auto",
                    {"type": "function", "function": {"name": "f"}},
                    {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
                ]
            ),
            "response_format": st.sampled_from(
                [
                    {"type": "json_object"},
                    {"type": "json_schema", "json_schema": {"name": "a", "schema": {"x": 1}}},
                ]
            ),
            "max_completion_tokens": st.integers(1, 9),
            "reasoning_effort": st.sampled_from(["none", "low", "xhigh"]),
            "temperature": st.sampled_from([0.0, 1.5]),
            "stop": st.lists(TEXT, min_size=1, max_size=2),
            "n": st.integers(2, 3),
            "logprobs": st.booleans(),
            "parallel_tool_calls": st.booleans(),
            "metadata": st.just({"k": "v"}),
        },
    ),
    UNKNOWN,
    st.sampled_from(
        [
            {},
            {"store": True, "service_tier": "flex", "prediction": {"type": "content"}},
            {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
            {"functions": [{"name": "old"}], "function_call": "auto"},
            {"stream": True, "stream_options": {"include_usage": True, "vendor_x": 1}},
            {"web_search_options": {}, "verbosity": "low", "safety_identifier": "s"},
        ]
    ),
)


class TestOpenAIChat(CodecConformance):
    codec = CODEC


class TestRequests:
    @settings(max_examples=60, deadline=None)
    @given(BODIES)
    def test_no_field_of_a_request_is_lost_within_the_dialect(
        self, body: dict[str, object]
    ) -> None:
        request = CODEC.decode_request(json.dumps(body).encode())
        encoded = CODEC.encode_request(request)
        assert encoded.dropped == ()
        assert json.loads(encoded.body) == body
        assert CODEC.decode_request(encoded.body) == request

    @settings(max_examples=60, deadline=None)
    @given(BODIES, st.sampled_from(["messages", "tools", "stop", "stream", "n"]), PARTS)
    def test_a_strange_body_is_read_or_refused_never_a_crash(
        self, body: dict[str, object], name: str, value: object
    ) -> None:
        wire = json.dumps({**body, name: value}).encode()
        for look in (CODEC.head, CODEC.decode_request):
            try:
                look(wire)
            except BadRequestError as error:
                assert str(error)


# --- streams ----------------------------------------------------------------------------------------

SAID = st.one_of(
    st.builds(TextDelta, text=TEXT, choice=st.integers(0, 1)),
    st.builds(ReasoningDelta, text=TEXT, choice=st.just(0)),
    st.builds(RefusalDelta, text=TEXT, choice=st.just(1)),
)
CALLS = st.lists(st.lists(TEXT, max_size=3), max_size=3)
USAGE = Usage(input_tokens=9, output_tokens=8, cached_input_tokens=3, reasoning_tokens=2)


def a_stream(said: list[Delta], calls: list[list[str]]) -> list[Delta]:
    """A whole answer of two choices: what was said, then calls, then the ends and the usage."""
    deltas = [Started(id="i", model="m"), *said]
    for number, pieces in enumerate(calls):
        deltas.append(ToolCallDelta(index=number, id=f"call_{number}", name="f"))
        deltas += [ToolCallDelta(index=number, arguments=piece) for piece in pieces]
    ends = [Finished(finish_reason="stop", choice=number) for number in (0, 1)]
    return [*deltas, *ends, UsageDelta(usage=USAGE)]


class TestStreams:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(SAID, max_size=6), CALLS, st.lists(st.integers(0, 5000), max_size=8))
    def test_a_written_stream_reads_as_it_was_said_under_any_split(
        self, said: list[Delta], calls: list[list[str]], cuts: list[int]
    ) -> None:
        deltas = a_stream(said, calls)
        writer = CODEC.writer(Head(model="m", include_usage=True), call_id="c", created=1)
        wire = b"".join(writer.write(delta) for delta in deltas) + writer.end()
        events, reader = read(CODEC, wire, cuts)
        assert b"".join(event.wire for event in events) == wire
        assert merged(deltas_of(events)) == merged(deltas)
        assert (reader.tally.usage, reader.tally.is_complete) == (USAGE, True)
        silent = CODEC.reader(want_deltas=False)
        assert [event.kind for event in silent.feed(wire)] == [event.kind for event in events]
        assert silent.tally == reader.tally

    @settings(max_examples=40, deadline=None)
    @given(st.lists(SAID, min_size=1, max_size=4), st.data())
    def test_a_cut_before_the_last_finish_is_never_a_whole_answer(
        self, said: list[Delta], data: st.DataObject
    ) -> None:
        writer = CODEC.writer(Head(model="m"), call_id="c", created=1)
        wire = b"".join(writer.write(delta) for delta in [*said, Finished(finish_reason="length")])
        reader = CODEC.reader(want_deltas=False)
        reader.feed(wire[: data.draw(st.integers(0, len(wire) - 1))])
        with pytest.raises(UpstreamTruncatedError):
            reader.eof()

    def test_one_finished_choice_of_two_is_no_whole_answer(self) -> None:
        writer = CODEC.writer(Head(model="m"), call_id="c", created=1)
        said: list[Delta] = [TextDelta(text="a"), TextDelta(text="b", choice=1)]
        said.append(Finished(finish_reason="stop"))
        wire = b"".join(writer.write(delta) for delta in said)
        for end in (b"", b"data: [DONE]\n\n"):
            with pytest.raises(UpstreamTruncatedError):
                read(CODEC, wire + end)

    def test_an_error_of_ours_ends_without_finish_or_end_mark(self) -> None:
        writer = CODEC.writer(Head(model="m", include_usage=True), call_id="c", created=1)
        wire = writer.write(TextDelta(text="half"))
        wire += writer.error(UpstreamTruncatedError("The answer stopped before its end."))
        assert b"[DONE]" not in wire
        assert b'"finish_reason":"' not in wire

    def test_usage_that_grows_with_every_chunk_counts_once_at_its_last(self) -> None:
        chunks = [
            {
                "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": finish}],
                "x_groq": {"usage": {"prompt_tokens": 5, "completion_tokens": number}},
            }
            for number, finish in ((1, None), (2, "stop"))
        ]
        wire = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
        _, reader = read(CODEC, wire)
        assert reader.tally.usage == Usage(input_tokens=5, output_tokens=2)

    def test_what_follows_the_end_mark_counts_for_nothing(self) -> None:
        choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}
        wire = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
        reader = CODEC.reader(want_deltas=True)
        events = reader.feed(wire + b"data: [DONE]\n\ndata: [DONE]\n\ndata: {broken\n\n")
        assert [event.kind for event in events] == [EventKind.FINISH, EventKind.END]
        assert reader.eof() == []

    def test_a_frame_of_broken_json_is_a_protocol_error(self) -> None:
        with pytest.raises(UpstreamProtocolError):
            CODEC.reader(want_deltas=False).feed(b'data: {"choices":[\n\n')


# --- errors -----------------------------------------------------------------------------------------

FILTERED = {
    "error": {
        "message": "canary",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
    }
}


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "body", "kind"),
        [
            (400, FILTERED, ContentFilteredError),
            (400, {"error": {"code": "context_length_exceeded"}}, ContextTooLongError),
            (401, {"error": {"code": "invalid_api_key", "message": "canary"}}, UpstreamAuthError),
            (403, {"error": "canary"}, UpstreamAuthError),
            (404, {"error": {"code": "DeploymentNotFound"}}, UpstreamRejectedError),
            (422, {"detail": [{"msg": "canary"}]}, UpstreamRejectedError),
            (429, {"error": {"code": "rate_limit_exceeded"}}, UpstreamRateLimitedError),
            (503, {"error": {"type": "canary words", "code": "a canary"}}, UpstreamServerError),
        ],
    )
    def test_a_vendors_error_is_told_and_never_quoted(
        self, status: int, body: object, kind: type[FarthingError]
    ) -> None:
        error = CODEC.decode_error(status, {"retry-after": "2"}, json.dumps(body).encode())
        assert type(error) is kind
        assert "canary" not in f"{error} {error.upstream_code} {error.param}"

    def test_an_account_without_credit_is_not_tried_again(self) -> None:
        body = b'{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}'
        error = CODEC.decode_error(429, {}, body)
        assert (error.retryable, error.upstream_code) == (False, "insufficient_quota")

    def test_an_error_in_a_stream_is_an_event(self) -> None:
        frame = b'data: {"error":{"message":"canary","code":429}}\n\n'
        (event,) = CODEC.reader(want_deltas=False).feed(frame)
        assert (event.kind, event.wire) == (EventKind.ERROR, frame)
        (failed,) = event.deltas or ()
        assert isinstance(failed.error, UpstreamRateLimitedError)  # type: ignore[union-attr]
        assert "canary" not in msgspec.json.encode(str(failed.error)).decode()  # type: ignore[union-attr]
