"""The vendors' wire shapes, event by event."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.worlds import body, events, header, world

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def _anthropic(text: str = "one two", **more: Any) -> dict[str, Any]:
    return {
        "model": "small",
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": text}],
        **more,
    }


def test_an_openai_stream_opens_with_the_role_and_ends_with_usage_without_choices() -> None:
    exchange = world().ask("one", stream=True, stream_options={"include_usage": True})
    seen = events(exchange)
    assert seen[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all(event["object"] == "chat.completion.chunk" for event in seen)
    assert seen[-2]["choices"][0]["finish_reason"] == "stop"
    assert seen[-1]["choices"] == []
    assert exchange.script.body.endswith(b"data: [DONE]\n\n")


def test_an_openai_stream_tells_usage_only_when_asked() -> None:
    assert all("usage" not in event for event in events(world().ask(stream=True)))


def test_an_openai_tool_call_streams_its_name_first_and_then_its_arguments() -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
    exchange = world().ask("weather", tools=[tool], stream=True)
    deltas = [c["delta"] for e in events(exchange) for c in e["choices"]]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["id"].startswith("call_") and calls[0]["function"]["name"] == "weather"
    assert "".join(c["function"]["arguments"] for c in calls) == '{"city":"simulated"}'


def test_an_anthropic_stream_has_its_events_in_order() -> None:
    exchange = world("anthropic").send("/v1/messages", _anthropic(stream=True))
    kinds = [event["type"] for event in events(exchange)]
    assert kinds[:3] == ["message_start", "ping", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[3:-3]) == {"content_block_delta"}


def test_an_anthropic_stream_names_each_event_as_its_type() -> None:
    exchange = world("anthropic").send("/v1/messages", _anthropic(stream=True))
    frames = exchange.script.body.decode().strip().split("\n\n")
    assert all(f.startswith("event: ") and f.split("\n")[0][7:] in f.split("\n")[1] for f in frames)


def test_anthropic_thinks_in_a_sealed_block_of_its_own() -> None:
    asked = _anthropic(thinking={"type": "enabled", "budget_tokens": 1024})
    blocks = body(world("anthropic").send("/v1/messages", asked))["content"]
    assert [block["type"] for block in blocks] == ["thinking", "text"]
    assert blocks[0]["signature"]


def test_anthropic_calls_tools_with_an_object_and_stops_for_tool_use() -> None:
    asked = _anthropic("weather", tools=[{"name": "weather", "input_schema": PARAMETERS}])
    answer = body(world("anthropic").send("/v1/messages", asked))
    assert answer["stop_reason"] == "tool_use"
    assert answer["content"][0]["input"] == {"city": "simulated"}
    assert answer["content"][0]["id"].startswith("toolu_")


def test_anthropic_names_the_stop_sequence_that_was_hit() -> None:
    asked = _anthropic("alpha beta gamma", stop_sequences=["beta"])
    answer = body(world("anthropic").send("/v1/messages", asked))
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "beta")


def test_anthropic_requires_max_tokens_but_not_to_count() -> None:
    asked = {"model": "small", "messages": [{"role": "user", "content": "one two"}]}
    here = world("anthropic")
    refused = here.send("/v1/messages", asked)
    assert (
        refused.script.status == 400 and body(refused)["error"]["type"] == "invalid_request_error"
    )
    assert body(here.send("/v1/messages/count_tokens", asked))["input_tokens"] == 4


def test_anthropic_requires_its_version_header_and_states_its_request_id() -> None:
    here = world("anthropic")
    assert header(here.send("/v1/messages", _anthropic()), "request-id") is not None
    refused = here.send("/v1/messages", _anthropic(), headers={"anthropic-version": ""})
    assert refused.script.status == 400


def test_google_puts_finish_reason_and_usage_on_the_last_event() -> None:
    asked = {"contents": [{"role": "user", "parts": [{"text": "one two"}]}]}
    path = "/v1beta/models/small:streamGenerateContent"
    seen = events(world("google").send(path, asked, query={"alt": "sse"}))
    assert "finishReason" not in seen[0]["candidates"][0]
    assert seen[-1]["candidates"][0]["finishReason"] == "STOP"
    assert seen[-1]["usageMetadata"]["candidatesTokenCount"] > 0


def test_google_reads_names_in_snake_case_and_leaves_a_callers_schema_alone() -> None:
    schema = {"type": "object", "properties": {"a_b": {"type": "string"}}, "required": ["a_b"]}
    declared = {"name": "weather", "parameters_json_schema": schema}
    asked = {
        "contents": [{"parts": [{"text": "weather"}]}],
        "tools": [{"function_declarations": [declared]}],
    }
    answer = body(world("google").send("/v1beta/models/small:generateContent", asked))
    call = answer["candidates"][0]["content"]["parts"][0]["functionCall"]
    assert call["args"] == {"a_b": "simulated"}


def test_anthropic_counts_thoughts_within_its_output() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    usage = body(world("anthropic").send("/v1/messages", _anthropic(thinking=thinking)))["usage"]
    assert 0 < usage["output_tokens_details"]["thinking_tokens"] < usage["output_tokens"]


def test_google_counts_thoughts_apart_from_the_candidates() -> None:
    asked = {
        "contents": [{"parts": [{"text": "one two"}]}],
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 10, "includeThoughts": True}},
    }
    answer = body(world("google").send("/v1beta/models/small:generateContent", asked))
    usage = answer["usageMetadata"]
    assert usage["thoughtsTokenCount"] == 10
    parts = answer["candidates"][0]["content"]["parts"]
    assert parts[0]["thought"] is True and "thought" not in parts[1]
    total = usage["promptTokenCount"] + usage["candidatesTokenCount"] + 10
    assert usage["totalTokenCount"] == total


def test_responses_number_their_events_and_end_with_the_whole_response() -> None:
    seen = events(world().send("/v1/responses", {"model": "small", "input": "one", "stream": True}))
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    assert [seen[0]["type"], seen[-1]["type"]] == ["response.created", "response.completed"]
    said = "".join(e["delta"] for e in seen if e["type"] == "response.output_text.delta")
    assert seen[-1]["response"]["output"][0]["content"][0]["text"] == said


def test_a_response_cut_by_its_length_is_incomplete() -> None:
    asked = {"model": "small", "input": "sim:long=90", "max_output_tokens": 16}
    answer = body(world().send("/v1/responses", asked))
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}


def test_legacy_completions_echo_the_prompt_when_asked() -> None:
    asked = {"model": "small", "prompt": "alpha beta", "echo": True, "max_tokens": 50}
    choice = body(world().send("/v1/completions", asked))["choices"][0]
    assert choice["text"].startswith("alpha beta[simulated]")


def test_azure_classic_takes_the_deployment_from_the_path_and_needs_an_api_version() -> None:
    here, path = world("azure"), "/openai/deployments/small/chat/completions"
    asked = {"messages": [{"role": "user", "content": "one"}]}
    query = {"api-version": "2024-10-21"}
    assert here.send(path, asked, query=query).script.status == 200
    assert here.send(path, asked).script.status == 404


@pytest.mark.parametrize(
    ("flavour", "path", "code"),
    [
        ("openai", "/v1/chat/completions", "model_not_found"),
        ("azure", "/openai/v1/chat/completions", "DeploymentNotFound"),
    ],
)
def test_an_unknown_model_is_a_404_in_the_vendors_words(flavour: str, path: str, code: str) -> None:
    asked = {"model": "none", "messages": [{"role": "user", "content": "one"}]}
    refused = world(flavour).send(path, asked)
    assert refused.script.status == 404
    assert body(refused)["error"]["code"] == code


@pytest.mark.parametrize(
    "broken",
    [{"messages": "x"}, {}, {"model": 1}, {"model": "small", "messages": []}],
)
def test_a_malformed_request_is_a_400_that_names_the_place(broken: dict[str, Any]) -> None:
    refused = world().send("/v1/chat/completions", broken)
    assert refused.script.status == 400
    assert body(refused)["error"]["type"] == "invalid_request_error"


def test_a_path_of_another_vendor_is_a_404() -> None:
    assert world("openai").send("/v1/messages", _anthropic()).script.status == 404
