"""The content filter's answers, and what Azure writes beside them."""

from __future__ import annotations

import pytest

from tests.sim.worlds import body, events, world


def test_a_blocked_prompt_is_a_400_with_an_inner_error() -> None:
    refused = world("azure").ask("sim:block_prompt=violence")
    error = body(refused)["error"]
    assert refused.script.status == 400
    assert error["code"] == "content_filter"
    assert error["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    result = error["innererror"]["content_filter_result"]
    assert result["violence"] == {"filtered": True, "severity": "medium"}
    assert result["hate"] == {"filtered": False, "severity": "safe"}


def test_a_jailbreak_is_detected_and_filtered() -> None:
    refused = world("azure").ask("sim:jailbreak")
    result = body(refused)["error"]["innererror"]["content_filter_result"]
    assert result["jailbreak"] == {"filtered": True, "detected": True}


def test_a_blocked_prompt_is_not_invoiced() -> None:
    here = world("azure")
    here.ask("sim:block_prompt").settle()
    assert here.invoice.rows == []


def test_a_blocked_completion_is_a_200_that_ends_with_content_filter() -> None:
    exchange = world("azure").ask("sim:block_completion=sexual and some words to cut")
    choice = body(exchange)["choices"][0]
    assert exchange.script.status == 200
    assert choice["finish_reason"] == "content_filter"
    assert choice["content_filter_results"]["sexual"]["filtered"] is True


@pytest.mark.parametrize("name", ["protected_material_text", "protected_material_code"])
def test_protected_material_is_detected_not_graded(name: str) -> None:
    choice = body(world("azure").ask(f"sim:block_completion={name}"))["choices"][0]
    assert choice["content_filter_results"][name] == {"filtered": True, "detected": True}


def test_a_filter_outage_is_a_200_with_content_filter_error() -> None:
    exchange = world("azure").ask("sim:filter_outage")
    choice = body(exchange)["choices"][0]
    assert exchange.script.status == 200
    assert choice["content_filter_result"]["error"]["code"] == "content_filter_error"
    assert choice["finish_reason"] == "stop"


def test_annotations_stand_with_the_prompt_and_with_each_choice() -> None:
    answer = body(world("azure").ask(n=2))
    assert answer["prompt_filter_results"][0]["prompt_index"] == 0
    assert all("content_filter_results" in choice for choice in answer["choices"])


def test_the_first_event_of_a_stream_has_no_choices_and_only_prompt_results() -> None:
    first = events(world("azure").ask(stream=True))[0]
    assert first["choices"] == []
    assert "prompt_filter_results" in first


def test_other_vendors_write_no_annotations() -> None:
    answer = body(world("openai").ask())
    assert "prompt_filter_results" not in answer
    assert "content_filter_results" not in answer["choices"][0]


def test_anthropic_calls_a_filtered_answer_a_refusal() -> None:
    answer = body(world("anthropic").ask("sim:block_completion and more words", max_tokens=50))
    assert answer["stop_reason"] == "refusal"


def test_google_blocks_a_prompt_inside_a_200_without_candidates() -> None:
    asked = {"contents": [{"role": "user", "parts": [{"text": "sim:block_prompt"}]}]}
    exchange = world("google").send("/v1beta/models/small:generateContent", asked)
    answer = body(exchange)
    assert exchange.script.status == 200
    assert answer["promptFeedback"]["blockReason"] == "SAFETY"
    assert "candidates" not in answer
