"""Every client dialect against every provider dialect, by the client's own package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.house import CHAT, STATUSES, House
from tests.compat.speakers import SPEAKERS, CannotAskError, Heard, Question

#: What a client of each dialect is told when an answer ends for the same reason.
FINISH = {
    "stop": ("stop", "completed", "end_turn", "STOP"),
    "length": ("length", "max_output_tokens", "max_tokens", "MAX_TOKENS"),
    "tool_calls": ("tool_calls", "completed", "tool_use", "STOP"),
    "content_filter": ("content_filter", "content_filter", "refusal", "SAFETY"),
}
FINISHES = {name: dict(zip(SPEAKERS, words, strict=True)) for name, words in FINISH.items()}
REFUSED = dict(
    zip(
        SPEAKERS,
        (["content_filter"], ["content_filter"], ["refusal"], ["SAFETY", "PROHIBITED_CONTENT"]),
        strict=True,
    )
)
#: The classes of OpenAI's and Anthropic's packages by status.
ERRORS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    429: "RateLimitError",
}
#: Tokens that every simulated vendor bills for an image.
IMAGE_TOKENS = 255

Ask = Callable[[Question], Heard]


@pytest.fixture(params=SPEAKERS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=CHAT)
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def ask(
    client: str,
    provider: str,
    openai_client: Any,
    anthropic_client: Any,
    google_client: Any,
    request: pytest.FixtureRequest,
) -> Callable[..., Heard]:
    """`ask(question, suffix)`: the pair's model, with another one of its dialect by suffix."""
    sdk = {"anthropic-messages": anthropic_client, "google-generate": google_client}

    def put(question: Question, suffix: str = "") -> Heard:
        speak, package = SPEAKERS[client], sdk.get(client, openai_client)
        try:
            return speak(package, CHAT[provider] + suffix, question, stream=request.param)
        except CannotAskError as reason:
            pytest.skip(str(reason))

    return put


def test_text_is_answered(ask: Ask, client: str) -> None:
    heard = ask(Question(system="Answer in one sentence."))
    assert heard.text == "[simulated] Where is Ulm?"
    assert heard.finish == FINISHES["stop"][client]
    assert heard.input_tokens > 5
    assert heard.output_tokens > 3


def test_a_tool_is_called(ask: Ask, client: str) -> None:
    heard = ask(Question(text="Ask the weather.", tools=("weather",)))
    assert [name for name, _ in heard.calls] == ["weather"]
    assert set(heard.calls[0][1]) == {"city"}
    assert heard.finish == FINISHES["tool_calls"][client]


def test_a_tool_must_be_called_when_the_client_says_so(ask: Ask) -> None:
    heard = ask(Question(text="Hello.", tools=("weather",), must_call=True))
    assert [name for name, _ in heard.calls] == ["weather"]


def test_two_tools_are_called_at_once(ask: Ask) -> None:
    heard = ask(Question(text="Ask weather and clock.", tools=("weather", "clock")))
    assert [name for name, _ in heard.calls] == ["weather", "clock"]
    assert all(set(arguments) == {"city"} for _, arguments in heard.calls)


def test_a_tools_result_is_read(ask: Ask, client: str) -> None:
    short = ask(Question(text="Ask the weather.", tools=("weather",), told="sun"))
    long = ask(Question(text="Ask the weather.", tools=("weather",), told="sun and rain " * 30))
    assert not long.calls
    assert long.finish == FINISHES["stop"][client]
    assert long.input_tokens - short.input_tokens >= 80


def test_an_image_is_seen(ask: Ask) -> None:
    plain = ask(Question(text="What is this?"))
    seen = ask(Question(text="What is this?", has_image=True))
    assert seen.input_tokens - plain.input_tokens >= IMAGE_TOKENS


def test_an_answer_follows_a_schema(ask: Ask) -> None:
    heard = ask(Question(wants_city=True))
    assert heard.text.startswith('{"city"')


def test_a_bound_cuts_and_says_so(ask: Ask, client: str) -> None:
    heard = ask(Question(text="sim:long=400 Tell me of Ulm.", most=20))
    assert heard.finish == FINISHES["length"][client]
    assert heard.output_tokens == 20


def test_a_stop_sequence_ends_the_answer_or_is_refused(
    ask: Ask, client: str, provider: str
) -> None:
    question = Question(text="One Two Three", stop="Two")
    if provider == "openai-responses" != client:
        with pytest.raises(Exception, match="'stop' cannot be kept") as caught:
            ask(question)
        assert status_of(caught.value) == 400
        return
    heard = ask(question)
    assert heard.text.strip() == "[simulated] One"
    if client == provider == "anthropic-messages":
        assert (heard.finish, heard.stop_sequence) == ("stop_sequence", "Two")


def test_thinking_is_counted(ask: Ask, client: str) -> None:
    heard = ask(Question(effort="low"), "-thinker")
    assert heard.text == "[simulated] Where is Ulm?"
    assert heard.output_tokens > 20


def test_the_client_sees_the_usage_that_the_vendor_bills(ask: Ask, house: House) -> None:
    heard = ask(Question(effort="low"), "-thinker")
    billed = house.invoice()[-1]["usage"]
    assert heard.input_tokens == billed["input_tokens"]
    assert heard.output_tokens == billed["output_tokens"]
    if heard.reasoning_tokens is not None:
        assert heard.reasoning_tokens == billed["reasoning_tokens"]


def test_a_filtered_answer_says_so(ask: Ask, client: str) -> None:
    heard = ask(Question(text="sim:block_completion=hate Where is Ulm on the map?"))
    assert heard.finish == FINISHES["content_filter"][client]


def test_a_refusal_is_never_taken_for_an_answer(ask: Ask, client: str) -> None:
    heard = ask(Question(text="sim:refuse Where is Ulm?"))
    assert heard.refusal or heard.finish in REFUSED[client]


def test_a_blocked_prompt_is_an_error_or_an_empty_filtered_answer(ask: Ask, client: str) -> None:
    try:
        heard = ask(Question(text="sim:block_prompt=violence Where is Ulm?"))
    except Exception as error:
        assert status_of(error) == 400
    else:
        assert not heard.text
        assert heard.finish in {FINISHES["content_filter"][client], None}


@pytest.mark.parametrize("status", STATUSES)
def test_a_vendors_error_has_the_class_that_the_client_knows(
    ask: Ask, client: str, status: int
) -> None:
    # What the vendor says of *our* key or of itself is a bad gateway to the caller.
    shown = {401: 502, 500: 502}.get(status, status)
    with pytest.raises(Exception) as caught:
        ask(Question(), f"-{status}")
    assert status_of(caught.value) == shown
    assert type(caught.value).__name__ == error_name(client, shown)
    assert "Simulated" not in str(caught.value)


@pytest.mark.parametrize("fault", ["reset", "failing", "early"])
def test_an_answer_that_breaks_off_is_an_error_of_the_client(ask: Ask, fault: str) -> None:
    # In a stream the head was 200 long ago: the vendor's own package must see our event for what it is.
    with pytest.raises(Exception) as caught:
        ask(Question(text="sim:long=60 Tell me of Ulm."), f"-{fault}")
    assert type(caught.value).__module__.partition(".")[0] in ("openai", "anthropic", "google")


def test_a_retired_model_is_not_found(ask: Ask, client: str) -> None:
    with pytest.raises(Exception) as caught:
        ask(Question(), "-gone")
    assert status_of(caught.value) == 404
    assert type(caught.value).__name__ == error_name(client, 404)


def status_of(error: Exception) -> int:
    """The HTTP status that a vendor's package keeps in its exception."""
    return getattr(error, "status_code", None) or error.code  # type: ignore[attr-defined]


def error_name(client: str, status: int) -> str:
    """The class of the exception, in the package of this dialect."""
    if client == "google-generate":
        return "ClientError" if status < 500 else "ServerError"
    return ERRORS.get(status, "InternalServerError")
