"""The most that a try can cost: a bound that holds, found in time that grows with the body only."""

from __future__ import annotations

import re

import msgspec
import pytest

from farthing.core.calls import Request
from farthing.core.models import Deployment
from farthing.core.prices import Price, Rates, Tier
from farthing.gateway import billing
from farthing.wire.dialects import codec
from tests.gateway.world import PRICE, chat

CONTEXT = 128_000
PLACE = Deployment(
    name="a",
    provider="p",
    model="x",
    remote_name="x",
    price=PRICE,
    context_tokens=CONTEXT,
    max_output_tokens=1000,
)


def request(dialect: str, **fields: object) -> Request:
    body = msgspec.json.encode({"model": "x", **fields})
    return Request(dialect=dialect, body=body, head=codec(dialect).head(body))


def part(**fields: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": [fields]}]


@pytest.mark.parametrize(
    "asked",
    [
        request("openai-responses", input="Go on.", previous_response_id="resp_1"),
        request("openai-responses", input="Go on.", conversation={"id": "conv_1"}),
        request("openai-responses", prompt={"id": "pmpt_1"}),
        request("openai-responses", input="News?", tools=[{"type": "web_search_preview"}]),
        request("openai-chat", messages=part(type="file", file={"file_id": "file-1"})),
        request(
            "anthropic-messages",
            messages=part(type="document", source={"type": "base64", "data": "A" * 2000}),
        ),
        request("google-generate", contents=[], cachedContent="cachedContents/1"),
        request("google-generate", contents=[], tools=[{"googleSearch": {}}]),
        request(
            "google-generate",
            contents=[{"parts": [{"fileData": {"mimeType": "video/mp4", "fileUri": "gs://a/b"}}]}],
        ),
    ],
)
def test_input_that_the_body_does_not_show_is_bounded_by_the_context_alone(asked: Request) -> None:
    assert billing.bounds(asked, PLACE).input_tokens == CONTEXT


def test_words_about_such_input_inside_a_text_change_nothing() -> None:
    asked = chat(text='{"previous_response_id": "resp_1", "prompt": {"id": 1}}')
    assert billing.bounds(asked, PLACE).input_tokens < 1000


def test_a_long_run_of_letters_in_a_text_is_no_picture() -> None:
    asked = chat(text="A" * 100_000)
    assert billing.bounds(asked, PLACE).input_tokens >= 100_000


def test_a_tier_without_room_may_be_answered_in_the_dearer_standard_one() -> None:
    price = Price(
        tiers={
            "standard": Tier(rates=Rates(input=1_000_000, output=2_000_000)),
            "flex": Tier(rates=Rates(input=500_000, output=1_000_000)),
        },
        source="test",
        date="2026-11-24",
    )
    place = msgspec.structs.replace(PLACE, price=price)
    flex, auto = chat(service_tier="flex"), chat(service_tier="auto")
    assert billing.most(flex, place) == billing.most(auto, place)


@pytest.mark.parametrize("asked", [-1_000_000_000, -1, 0])
def test_a_bound_below_one_is_no_bound(asked: int) -> None:
    assert billing.bounds(chat(max_tokens=asked), PLACE).output_tokens == PLACE.max_output_tokens


def test_runs_that_are_just_too_short_for_media_are_passed_over_once() -> None:
    # Without the look-behind every start inside a run is tried; the pattern then matches at the second.
    run = b"a" * 2000
    assert billing._BASE64_RUN.match(run, 1) is None
    assert re.fullmatch(billing._BASE64_RUN, run)
