"""The engine: determinism, answers, caching, money, retirement."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.prices import cost
from farthing.core.usage import Usage
from farthing.sim.draws import Draws
from farthing.sim.instance import minimal_json
from farthing.sim.invoice import charge
from farthing.sim.scenario import parse, price_of
from farthing.sim.text import count, pieces
from tests.sim.worlds import World, body, events, header, scenario, world

TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "minLength": 12}, "days": {"type": "integer", "minimum": 3}},
        "required": ["city", "days"],
    }}},
    {"type": "function", "function": {"name": "clock"}},
]  # fmt: skip


def test_the_same_seed_gives_the_same_bytes() -> None:
    def play(seed: int) -> list[bytes]:
        made = msgspec.structs.replace(scenario("azure"), seed=seed)
        here = World(made)
        asked = [here.ask(f"Question {i}", stream=i % 2 == 0, tools=TOOLS) for i in range(6)]
        return [repr(e.script.headers).encode() + e.script.body for e in asked]

    assert play(3) == play(3)
    assert play(3) != play(4)


def test_latency_is_lognormal_with_the_stated_median_and_tail() -> None:
    waits = sorted(Draws(1, i).lognormal("x", p50=0.4, p99=1.6) for i in range(4000))
    assert 0.38 < waits[2000] < 0.42
    assert 1.4 < waits[3960] < 1.9


@given(st.text(max_size=300))
def test_tokens_joined_are_the_text_again(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert count(text) == len(pieces(text))


def test_the_answer_is_an_extract_of_the_last_user_turn() -> None:
    assert body(world().ask("What is a farthing?"))["choices"][0]["message"]["content"] == (
        "[simulated] What is a farthing?"
    )


def test_usage_counts_what_the_stream_carries() -> None:
    exchange = world().ask("one two three", stream=True, stream_options={"include_usage": True})
    said = "".join(c["delta"].get("content") or "" for e in events(exchange) for c in e["choices"])
    assert events(exchange)[-1]["usage"]["completion_tokens"] == count(said)


def test_max_tokens_end_an_answer_with_length() -> None:
    choice = body(world().ask("sim:long=100", max_tokens=20))["choices"][0]
    assert choice["finish_reason"] == "length"
    assert count(choice["message"]["content"]) == 20


def test_stop_sequences_end_an_answer_before_themselves() -> None:
    choice = body(world().ask("alpha beta gamma", stop=["beta"]))["choices"][0]
    assert choice["message"]["content"] == "[simulated] alpha "
    assert choice["finish_reason"] == "stop"


def test_n_answers_are_numbered_and_all_billed() -> None:
    one, three = body(world().ask("Hello")), body(world().ask("Hello", n=3))
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert three["usage"]["completion_tokens"] > 2 * one["usage"]["completion_tokens"]


def test_a_required_tool_is_called_with_arguments_that_fit_its_schema() -> None:
    choice = body(world().ask("Hello", tools=TOOLS, tool_choice="required"))["choices"][0]
    call = choice["message"]["tool_calls"][0]["function"]
    assert choice["finish_reason"] == "tool_calls"
    assert call["name"] == "weather"
    assert json.loads(call["arguments"]) == {"city": "simulated---", "days": 3}


def test_tools_named_in_the_prompt_are_called_in_parallel_unless_forbidden() -> None:
    def names(**more: Any) -> list[str]:
        message = body(world().ask("weather and clock", tools=TOOLS, **more))["choices"][0][
            "message"
        ]
        return [call["function"]["name"] for call in message.get("tool_calls", ())]

    assert names() == ["weather", "clock"]
    assert names(parallel_tool_calls=False) == ["weather"]
    assert names(tool_choice="none") == []


def test_a_schema_is_answered_with_its_smallest_instance() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    message = body(world().ask("Hello", response_format=form))["choices"][0]["message"]
    assert json.loads(message["content"]) == {"ok": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, {}),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2}, [None, None]),
        ({"enum": ["b", "a"]}, "b"),
        ({"anyOf": [{"type": "integer", "exclusiveMinimum": 4}]}, 5),
        ({"type": "number", "maximum": -2}, -2),
        ({"$defs": {"x": {"const": 7}}, "$ref": "#/$defs/x"}, 7),
        ({"type": ["string", "null"], "format": "date"}, "2026-01-01"),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
    ],
)
def test_the_smallest_instance_of(schema: object, expected: object) -> None:
    assert json.loads(minimal_json(json.dumps(schema).encode())) == expected


def test_a_refusal_comes_in_the_vendors_own_member() -> None:
    message = body(world().ask("sim:refuse"))["choices"][0]["message"]
    assert message["content"] is None
    assert message["refusal"].startswith("[simulated]")


def test_images_count_as_tokens() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    asked = {"model": "small", "messages": [{"role": "user", "content": [part]}]}
    answer = body(world().send("/v1/chat/completions", asked))
    assert answer["usage"]["prompt_tokens"] > 255


def test_a_repeated_prefix_of_1024_tokens_is_cached_in_steps_of_128() -> None:
    here, prompt = world(), "word " * 1500
    assert body(here.ask(prompt))["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    cached = body(here.ask(prompt + "and more"))["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= 1024 and cached % 128 == 0


async def test_a_cached_prefix_is_forgotten_after_ten_minutes() -> None:
    here, prompt = world(), "word " * 1500
    here.ask(prompt)
    await here.clock.advance(601)
    assert body(here.ask(prompt))["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_anthropic_writes_the_cache_at_breakpoints_and_reads_it_next_time() -> None:
    here = world("anthropic")
    block = {
        "type": "text",
        "text": "word " * 1500,
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }
    asked = {
        "model": "small",
        "max_tokens": 50,
        "system": [block],
        "messages": [{"role": "user", "content": "Hello"}],
    }
    first = body(here.send("/v1/messages", asked))["usage"]
    second = body(here.send("/v1/messages", asked))["usage"]
    written = first["cache_creation_input_tokens"]
    assert written > 1024 and first["cache_creation"]["ephemeral_1h_input_tokens"] == written
    assert second["cache_read_input_tokens"] == written
    assert second["cache_creation_input_tokens"] == 0


def test_reasoning_tokens_are_billed_and_follow_the_effort() -> None:
    here = world(model="is_reasoning = true")
    used = [
        body(here.ask("Hello", reasoning_effort=effort))["usage"]["completion_tokens_details"][
            "reasoning_tokens"
        ]
        for effort in ("low", "high")
    ]
    assert used == [32, 128]


@pytest.mark.parametrize(
    ("flavour", "status"), [("azure", 410), ("openai", 404), ("anthropic", 404), ("google", 404)]
)
def test_a_retired_model_answers_as_its_vendor_does(flavour: str, status: int) -> None:
    here = world(flavour, model="is_retired = true")
    asked = {
        "model": "small",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "x"}],
        "contents": [{"parts": [{"text": "x"}]}],
    }
    path = {
        "azure": "/openai/v1/chat/completions",
        "openai": "/v1/chat/completions",
        "anthropic": "/v1/messages",
        "google": "/v1beta/models/small:generateContent",
    }[flavour]
    assert here.send(path, asked).script.status == status


def test_a_prompt_longer_than_the_context_is_a_400() -> None:
    refused = world(model="context_tokens = 50").ask("word " * 60)
    assert refused.script.status == 400
    assert body(refused)["error"]["code"] == "context_length_exceeded"


def test_a_wrong_key_is_a_401_without_echo() -> None:
    here = world(region='key = "right"')
    assert here.ask(headers={"authorization": "Bearer right"}).script.status == 200
    refused = here.ask(headers={"authorization": "Bearer wrong-one"})
    assert refused.script.status == 401
    assert b"wrong-one" not in refused.script.body


def test_scheduled_faults_strike_at_their_request_and_only_there() -> None:
    here = world(region='faults = [{ name = "status_503", requests = [2] }]')
    assert [here.ask().script.status for _ in range(3)] == [200, 503, 200]


async def test_scheduled_faults_strike_inside_their_span() -> None:
    here = world(region='faults = [{ name = "status_500", from_s = 10, until_s = 20 }]')
    seen = []
    for _ in range(3):
        seen.append(here.ask().script.status)
        await here.clock.advance(10)
    assert seen == [200, 500, 200]


def test_faults_strike_with_their_probability() -> None:
    here = world(region='faults = [{ name = "status_500", probability = 0.3 }]')
    failed = sum(here.ask().script.status == 500 for _ in range(400))
    assert 80 < failed < 160


def test_the_same_text_gets_the_same_unit_vector_in_both_encodings() -> None:
    import struct
    from base64 import b64decode

    deployments = """quota = { tokens_per_minute = 1000000 }
        [regions.here.deployments.embed]
        model = "embed"
        quota = { tokens_per_minute = 1000000 }"""
    here = world("openai", deployments)
    asked = {"model": "embed", "input": ["a", "b"], "dimensions": 8}
    floats = body(here.send("/v1/embeddings", asked))
    packed = body(here.send("/v1/embeddings", asked | {"encoding_format": "base64"}))
    vector = floats["data"][0]["embedding"]
    assert abs(sum(x * x for x in vector) - 1) < 1e-6
    assert list(struct.unpack("<8f", b64decode(packed["data"][0]["embedding"]))) == vector
    assert vector != floats["data"][1]["embedding"]
    for size in (0, 3073, 10**12):
        assert here.send("/v1/embeddings", asked | {"dimensions": size}).script.status == 400


# --- money --------------------------------------------------------------------------------------------

PRICED = parse("""
    name = "prices"
    [models.m]
    price = { input = 1.1, cached_input = 0.275, cache_write = 1.375, cache_write_1h = 2.2, output = 4.4 }
    source = "test"
    date = "2026-11-24"
    tiers = { flex = { input = 0.55, output = 2.2 } }
    long_context = { above_input_tokens = 5000, price = { input = 2.2, cached_input = 0.55, output = 6.6 } }
    [regions]
""").models["m"]

SIZES = st.integers(0, 10_000)


@given(SIZES, SIZES, SIZES, SIZES, SIZES, SIZES, st.sampled_from([None, "flex", "default"]))
def test_the_own_invoice_agrees_with_the_gateways_formula(
    fresh: int, cached: int, short: int, long: int, said: int, thought: int, tier: str | None
) -> None:
    usage = Usage(
        input_tokens=fresh + cached + short + long,
        cached_input_tokens=cached,
        cache_write_tokens=short + long,
        cache_write_1h_tokens=long,
        output_tokens=said + thought,
        reasoning_tokens=thought,
    )
    assert charge(usage, PRICED, tier) == cost(usage, price_of(PRICED), tier=tier)


def test_half_a_nanodollar_is_rounded_up() -> None:
    made = msgspec.structs.replace(
        PRICED, price=msgspec.structs.replace(PRICED.price, input=0.0005)
    )
    assert charge(Usage(input_tokens=1), made) == 1


def test_a_client_that_leaves_a_whole_answer_pays_what_was_generated() -> None:
    here = world()
    exchange = here.ask("sim:long=100")
    exchange.settle(tokens=40, is_aborted=True)
    row = here.invoice.rows[0]
    assert row.usage.output_tokens == 40
    assert row.nanodollars == row.usage.input_tokens * 1000 + 40 * 4000


def test_a_request_is_invoiced_once_under_the_id_in_its_header() -> None:
    here = world()
    exchange = here.ask()
    exchange.settle()
    exchange.settle(is_aborted=True)
    assert [row.request_id for row in here.invoice.rows] == [header(exchange, "x-request-id")]


def test_refusals_are_not_invoiced() -> None:
    here = world()
    here.ask(to="nothing").settle()
    here.ask(headers={"x-sim-fault": "status_500"}).settle()
    assert here.invoice.rows == []
