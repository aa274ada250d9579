"""Skimming tells of a stream what reading it tells, and leaves what it is not certain of to be read."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.calls import EventKind
from farthing.wire.codec import Skims, StreamReader
from farthing.wire.dialects import codec

TEXT = st.text(st.characters(codec="utf-8"), min_size=0, max_size=20)
TRICKY = st.sampled_from(
    [
        '"',
        "\\",
        '\\"',
        "\n",
        "\r\n\r\n",
        '"}}]}',
        "é",
        "😀",
        "data: [DONE]",
        '","finish_reason":"stop"',
    ]
)


def chat(text: str, *, more: dict[str, object] | None = None, end: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": end}
    fields = {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return b"data: " + msgspec.json.encode({**fields, **(more or {})}) + b"\n\n"


def anthropic(text: str) -> bytes:
    delta = {"type": "text_delta", "text": text}
    data = {"type": "content_block_delta", "index": 0, "delta": delta}
    return b"event: content_block_delta\ndata: " + msgspec.json.encode(data) + b"\n\n"


def taught(dialect: str, first: bytes) -> StreamReader:
    reader = codec(dialect).reader(want_deltas=False)
    reader.feed(first)
    assert isinstance(reader, Skims)
    return reader


@given(st.lists(TEXT | TRICKY, max_size=6), st.booleans(), st.data())
def test_a_skimmed_stream_counts_what_a_read_one_counts(
    texts: list[str], has_padding: bool, data: st.DataObject
) -> None:
    events = [
        chat(
            text,
            more={"obfuscation": data.draw(st.text("abcXYZ09", max_size=8))}
            if has_padding
            else None,
        )
        for text in ["first", *texts]
    ]
    skimming = taught("openai-chat", events[0])
    reading = taught("openai-chat", events[0])
    piece = b"".join(events[1:])
    taken = skimming.skim(piece)  # type: ignore[attr-defined]
    assert piece[:taken] == b"".join(events[1:])[:taken]
    assert taken in {sum(map(len, events[1 : n + 1])) for n in range(len(events))}
    found = reading.feed(piece[:taken])
    assert all(event.kind is EventKind.CONTENT for event in found)
    assert skimming.tally == reading.tally
    skimming.feed(piece[taken:])
    reading.feed(piece[taken:])
    assert skimming.tally == reading.tally


@pytest.mark.parametrize("text", ["plain", "tab\\t", "é", "日本", "a" * 5000])
def test_plain_text_is_taken_in_both_dialects(text: str) -> None:
    for dialect, event in (("openai-chat", chat), ("anthropic-messages", anthropic)):
        reader = taught(dialect, event("first"))
        assert reader.skim(event(text) * 3) == len(event(text)) * 3  # type: ignore[attr-defined]
        assert reader.tally.output_characters == len("first") + 3 * len(text)


@pytest.mark.parametrize(
    "piece",
    [
        chat("bye", end="stop"),
        chat("x", more={"usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
        chat("x", more={"error": {"message": "no"}}),
        chat(""),
        chat("x")[:-1],
        chat("x")[1:],
        b": ping\n\n",
        b"data: [DONE]\n\n",
        chat("ends in a backslash\\"),
        chat("x").replace(b"x", b"x\n\ndata: y"),
        chat("x").replace(b"x", b"\xff"),
        chat("x").replace(b'"c"', b'"d"'),
    ],
)
def test_whatever_is_not_plain_content_is_left_to_be_read(piece: bytes) -> None:
    reader = taught("openai-chat", chat("first"))
    assert reader.skim(piece) == 0  # type: ignore[attr-defined]
    assert reader.tally.output_characters == len("first")
    good = chat("good")
    assert reader.skim(good + piece) == len(good)  # type: ignore[attr-defined]


def test_nothing_is_skimmed_inside_an_event_or_after_the_end() -> None:
    reader = taught("openai-chat", chat("first"))
    event = chat("more")
    reader.feed(event[:20])
    assert reader.skim(event[20:]) == 0  # type: ignore[attr-defined]
    reader.feed(event[20:])
    reader.feed(chat("", end="stop") + b"data: [DONE]\n\n")
    assert reader.skim(event) == 0  # type: ignore[attr-defined]
