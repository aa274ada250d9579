"""Every client dialect against every provider dialect: the meaning arrives, or the call is refused."""

from __future__ import annotations

from importlib.util import find_spec

import msgspec
import pytest

from farthing.core.calls import Head
from farthing.core.chat import (
    ChatRequest,
    Choice,
    Completion,
    Delta,
    Finished,
    FinishReason,
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
    AuthenticationError,
    BadRequestError,
    FarthingError,
    RateLimitedError,
    UnknownModelError,
    UntranslatableError,
    UpstreamAuthError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamServerError,
    UpstreamTruncatedError,
)
from farthing.core.messages import (
    ImagePart,
    Message,
    Part,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from farthing.core.usage import Usage
from farthing.wire.codec import Codec
from farthing.wire.dialects import codec
from tests.wire.streams import deltas_of, merged, read

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages", "google-generate")


def _is_here(name: str) -> bool:
    return find_spec(f"farthing.wire.dialects.{name.replace('-', '_')}") is not None


PAIRS = [
    pytest.param(
        (client, provider),
        id=f"{client}→{provider}",
        marks=pytest.mark.skipif(
            not (_is_here(client) and _is_here(provider)), reason="a codec is not in this checkout"
        ),
    )
    for client in DIALECTS
    for provider in DIALECTS
]

SCHEMA = msgspec.Raw(b'{"type":"object","properties":{"city":{"type":"string"}}}')
PICTURES = (
    ImagePart(data="aGk=", media_type="image/png"),
    ImagePart(url="https://example.org/a.png", media_type="image/png"),
)


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> tuple[Codec, Codec]:
    """A client's codec and a provider's."""
    client, provider = request.param
    return codec(client), codec(provider)


# --- requests ---------------------------------------------------------------------------------------


def asked(pair: tuple[Codec, Codec], *messages: Message, **fields: object) -> ChatRequest:
    """What a provider reads after a client of the pair said this."""
    client, provider = pair
    said = ChatRequest(model="m", messages=messages, dialect=client.name, **fields)  # type: ignore[arg-type]
    heard = client.decode_request(client.encode_request(said).body)
    return provider.decode_request(provider.encode_request(heard).body)


def gist(messages: tuple[Message, ...]) -> list[tuple[str, list[object]]]:
    """Who said what, in order: neighbours of one role joined, vendors' wrapping taken off."""
    found: list[tuple[str, list[object]]] = []
    for message in messages:
        role = "system" if message.role == "developer" else message.role
        said = [_gist(part) for part in message.parts]
        if found and found[-1][0] == role:
            found[-1][1].extend(said)
        else:
            found.append((role, said))
    return found


def _gist(part: Part) -> object:
    match part:
        case TextPart():
            return part.text
        case ImagePart():
            return ("image", part.url or (part.media_type, part.data))
        case ToolCallPart():
            return ("call", part.id, part.name, msgspec.json.decode(part.arguments))
        case ToolResultPart():
            text = "".join(inner.text for inner in part.content if isinstance(inner, TextPart))
            return ("result", part.call_id, text.removeprefix('{"output":"').removesuffix('"}'))
    return type(part).__name__


def system(text: str) -> Message:
    return Message(role="system", parts=(TextPart(text=text),))


def user(*parts: Part) -> Message:
    return Message(role="user", parts=parts)


class TestRequests:
    def test_text_and_instructions_arrive(self, pair: tuple[Codec, Codec]) -> None:
        turns = (
            system("Be brief."),
            user(TextPart(text="Where?")),
            Message(role="assistant", parts=(TextPart(text="Ulm."),)),
            user(TextPart(text="Why? é \u2028 \x00")),
        )
        assert gist(asked(pair, *turns).messages) == gist(turns)

    def test_parallel_calls_and_their_results_arrive(self, pair: tuple[Codec, Codec]) -> None:
        calls = tuple(
            ToolCallPart(id=f"call_{n}", name="weather", arguments=f'{{"city":"c{n}"}}')
            for n in range(2)
        )
        results = tuple(
            Message(
                role="tool",
                parts=(ToolResultPart(call_id=f"call_{n}", content=(TextPart(text=f"sun {n}"),)),),
            )
            for n in range(2)
        )
        turns = (
            user(TextPart(text="Weather?")),
            Message(role="assistant", parts=(TextPart(text="Let me see."), *calls)),
            *results,
            user(TextPart(text="Thanks.")),
        )
        assert gist(asked(pair, *turns).messages) == gist(turns)

    def test_tools_and_the_choice_among_them_arrive(self, pair: tuple[Codec, Codec]) -> None:
        tool = Tool(name="weather", description="Tells it.", parameters=SCHEMA)
        for mode in ("auto", "required", "none"):
            heard = asked(
                pair,
                user(TextPart(text="x")),
                tools=(tool,),
                tool_choice=ToolChoice(mode=mode),
            )
            assert heard.tool_choice == ToolChoice(mode=mode)
            (found,) = heard.tools
            assert (found.name, found.description) == ("weather", "Tells it.")
            assert found.parameters is not None
            assert msgspec.json.decode(found.parameters) == msgspec.json.decode(SCHEMA)
        one = ToolChoice(mode="tool", name="weather")
        assert (
            asked(pair, user(TextPart(text="x")), tools=(tool,), tool_choice=one).tool_choice == one
        )

    def test_pictures_arrive(self, pair: tuple[Codec, Codec]) -> None:
        turn = user(TextPart(text="What is this?"), *PICTURES)
        assert gist(asked(pair, turn).messages) == gist((turn,))

    def test_a_schema_for_the_answer_arrives(self, pair: tuple[Codec, Codec]) -> None:
        wanted = ResponseFormat(kind="json_schema", name="answer", schema=SCHEMA)
        heard = asked(pair, user(TextPart(text="x")), response_format=wanted).response_format
        assert heard is not None
        assert heard.kind == "json_schema"
        assert heard.schema is not None
        assert msgspec.json.decode(heard.schema) == msgspec.json.decode(SCHEMA)

    def test_bounds_arrive(self, pair: tuple[Codec, Codec]) -> None:
        heard = asked(
            pair, user(TextPart(text="x")), max_output_tokens=77, temperature=0.5, top_p=0.25
        )
        assert (heard.max_output_tokens, heard.temperature, heard.top_p) == (77, 0.5, 0.25)

    def test_stop_sequences_arrive_or_are_refused(self, pair: tuple[Codec, Codec]) -> None:
        # The Responses API has no stop sequences: an answer that runs past them would be another answer.
        refused = "openai-responses" in (pair[0].name, pair[1].name)
        try:
            heard = asked(pair, user(TextPart(text="x")), stop=("END",))
        except UntranslatableError as error:
            assert refused
            assert error.param
        else:
            assert heard.stop == ("END",)


# --- answers ----------------------------------------------------------------------------------------

USAGE = Usage(input_tokens=100, output_tokens=50, cached_input_tokens=30, reasoning_tokens=20)
CALLS = tuple(ToolCallPart(id=f"call_{n}", name="f", arguments=f'{{"n":{n}}}') for n in range(2))


def answered(pair: tuple[Codec, Codec], finish: FinishReason, *parts: Part) -> Completion:
    """What a client reads after a provider of the pair answered so."""
    client, provider = pair
    choice = Choice(index=0, message=Message(role="assistant", parts=parts), finish_reason=finish)
    said = Completion(
        id="resp_1", model="m-1", choices=(choice,), usage=USAGE, created=7, dialect=provider.name
    )
    heard = provider.decode_response(provider.encode_response(said).body)
    return client.decode_response(client.encode_response(heard).body)


class TestAnswers:
    def test_text_model_and_usage_arrive(self, pair: tuple[Codec, Codec]) -> None:
        heard = answered(pair, "stop", TextPart(text="Sun."))
        assert gist((heard.choices[0].message,)) == [("assistant", ["Sun."])]
        assert (heard.model, heard.usage) == ("m-1", USAGE)

    def test_tool_calls_arrive(self, pair: tuple[Codec, Codec]) -> None:
        heard = answered(pair, "tool_calls", TextPart(text="See."), *CALLS)
        said = [_gist(part) for part in heard.choices[0].message.parts]
        assert said == ["See.", *(_gist(call) for call in CALLS)]
        assert heard.choices[0].finish_reason == "tool_calls"

    @pytest.mark.parametrize("finish", ["stop", "length"])
    def test_how_it_ended_arrives(self, pair: tuple[Codec, Codec], finish: FinishReason) -> None:
        assert answered(pair, finish, TextPart(text="x")).choices[0].finish_reason == finish

    def test_a_filtered_answer_never_looks_finished(self, pair: tuple[Codec, Codec]) -> None:
        heard = answered(pair, "content_filter", TextPart(text="x")).choices[0].finish_reason
        assert heard in ("content_filter", "refusal")

    def test_a_refusal_never_looks_like_an_answer(self, pair: tuple[Codec, Codec]) -> None:
        heard = answered(pair, "stop", RefusalPart(text="No.")).choices[0]
        is_marked = any(isinstance(part, RefusalPart) for part in heard.message.parts)
        assert is_marked or heard.finish_reason in ("content_filter", "refusal")


# --- streams ----------------------------------------------------------------------------------------

STREAMED: dict[str, list[Delta]] = {
    "text": [TextDelta(text="Su"), TextDelta(text="n."), Finished(finish_reason="stop")],
    "length": [TextDelta(text="Su"), Finished(finish_reason="length")],
    "calls": [
        TextDelta(text="See."),
        ToolCallDelta(index=0, id="call_0", name="f"),
        ToolCallDelta(index=0, arguments='{"n"'),
        ToolCallDelta(index=0, arguments=":0}"),
        ToolCallDelta(index=1, id="call_1", name="g", arguments="{}"),
        Finished(finish_reason="tool_calls"),
    ],
}


def streamed(pair: tuple[Codec, Codec], deltas: list[Delta]) -> list[Delta]:
    """What a client reads of a stream that a provider of the pair wrote, re-encoded event by event."""
    client, provider = pair
    head = Head(model="m", stream=True, include_usage=True)
    whole = [Started(id="resp_1", model="m-1"), *deltas, UsageDelta(usage=USAGE)]
    source = provider.writer(head, call_id="call", created=7)
    wire = b"".join(source.write(delta) for delta in whole) + source.end()
    events, _ = read(provider, wire, cuts=range(0, len(wire), 37))
    target = client.writer(head, call_id="call", created=7)
    again = b"".join(target.write(delta) for delta in deltas_of(events)) + target.end()
    return deltas_of(read(client, again)[0])


class TestStreams:
    @pytest.mark.parametrize("kind", STREAMED)
    def test_streams_arrive(self, pair: tuple[Codec, Codec], kind: str) -> None:
        heard = merged(streamed(pair, STREAMED[kind]))
        assert heard == merged([*STREAMED[kind], UsageDelta(usage=USAGE)])

    def test_thinking_never_turns_into_an_answer(self, pair: tuple[Codec, Codec]) -> None:
        deltas: list[Delta] = [ReasoningDelta(text="hm"), *STREAMED["text"]]
        assert merged(streamed(pair, deltas))["text"] == {0: "Sun."}

    def test_a_refusal_never_looks_like_an_answer(self, pair: tuple[Codec, Codec]) -> None:
        heard = streamed(pair, [RefusalDelta(text="No."), Finished(finish_reason="stop")])
        is_marked = any(isinstance(delta, RefusalDelta) for delta in heard)
        finishes = {delta.finish_reason for delta in heard if isinstance(delta, Finished)}
        assert is_marked or finishes & {"content_filter", "refusal"}

    def test_a_failure_in_the_middle_is_never_taken_for_an_end(
        self, pair: tuple[Codec, Codec]
    ) -> None:
        client, _ = pair
        writer = client.writer(Head(model="m", stream=True), call_id="call", created=7)
        wire = writer.write(Started(id="i", model="m")) + writer.write(TextDelta(text="half"))
        wire += writer.error(UpstreamTruncatedError("The answer stopped before its end."))
        reader = client.reader(want_deltas=True)
        events = reader.feed(wire)
        assert "Failed" in [type(delta).__name__ for delta in deltas_of(events)]
        assert not reader.tally.finish_reasons
        assert not reader.tally.is_complete


# --- errors -----------------------------------------------------------------------------------------

ERRORS = [
    (BadRequestError("Wrong."), 400, UpstreamRejectedError, 400),
    (AuthenticationError("Who?"), 401, UpstreamAuthError, 502),
    (UnknownModelError("Which?"), 404, UpstreamRejectedError, 404),
    (RateLimitedError("Later.", retry_after_s=3), 429, UpstreamRateLimitedError, 429),
    (FarthingError("Oh."), 500, UpstreamServerError, 502),
]


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "status", "kind", "answer"), ERRORS, ids=lambda v: str(v)[:12]
    )
    def test_a_providers_error_reaches_the_client_in_its_own_form(
        self,
        pair: tuple[Codec, Codec],
        error: FarthingError,
        status: int,
        kind: type[FarthingError],
        answer: int,
    ) -> None:
        client, provider = pair
        heard = provider.decode_error(status, {}, provider.encode_error(error))
        assert isinstance(heard, kind)
        assert heard.status == answer
        shown = msgspec.json.decode(client.encode_error(heard))
        assert str(status) in shown["error"]["message"]
