from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.providers.usage_option import with_usage

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), VALUES, max_size=5),
    st.none() | st.dictionaries(st.sampled_from(["include_usage", "other"]), st.booleans()),
    st.sampled_from([None, 2]),
)
def test_only_include_usage_changes(
    body: dict[str, Any], options: dict[str, bool] | None, indent: int | None
) -> None:
    if options is not None:
        body["stream_options"] = options
    else:
        body.pop("stream_options", None)
    wire = json.dumps(body, indent=indent).encode()
    changed = json.loads(with_usage(wire, "openai-chat"))
    assert changed.pop("stream_options") == {**(options or {}), "include_usage": True}
    body.pop("stream_options", None)
    assert changed == body


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_asking_twice_is_asking_once(body: dict[str, Any]) -> None:
    once = with_usage(json.dumps(body).encode(), "openai-chat")
    assert with_usage(once, "openai-chat") == once


def test_the_rest_keeps_its_bytes() -> None:
    body = b'{ "model" : "m",\n "messages":[1.50, "\\u00e9" ] }'
    assert with_usage(body, "openai-chat") == (
        b'{"stream_options":{"include_usage":true}, "model" : "m",\n "messages":[1.50, "\\u00e9" ] }'
    )


def test_null_is_replaced() -> None:
    body = b'{"a": {"stream_options": 1}, "stream_options": null, "b": 1}'
    assert json.loads(with_usage(body, "openai-chat")) == {
        "a": {"stream_options": 1},
        "stream_options": {"include_usage": True},
        "b": 1,
    }


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'"text"', b'{"stream_options": 3}'])
def test_what_is_no_request_is_left_to_the_vendor(body: bytes) -> None:
    assert with_usage(body, "openai-chat") == body


def test_other_dialects_are_left_alone() -> None:
    assert with_usage(b"{}", "anthropic-messages") == b"{}"
    assert with_usage(b"{}", "openai-responses") == b"{}"


def test_a_long_text_before_the_option_takes_no_memory_of_its_own() -> None:
    body = json.dumps({"x": "A" * 2_000_000, "stream_options": {"include_usage": False}}).encode()
    tracemalloc.start()
    asked = with_usage(body, "openai-chat")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert json.loads(asked)["stream_options"] == {"include_usage": True}
    assert peak < 5 * len(body)
