"""Frames of server-sent events: exact bytes under any split, any kind of line end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.wire.retry_after import duration_s, retry_after_s
from farthing.wire.spans import with_model
from farthing.wire.sse import SseSplitter

LINES = st.lists(st.sampled_from([b"data: a", b"data:b", b": ping", b"event: x", b""]), max_size=20)


class TestFrames:
    @given(
        LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 200), max_size=6)
    )
    def test_frames_and_the_pending_rest_are_the_stream(
        self, lines: list[bytes], end: bytes, cuts: list[int]
    ) -> None:
        stream = end.join(lines)
        splitter = SseSplitter()
        wires, start = [], 0
        for cut in sorted(cut % (len(stream) + 1) for cut in [*cuts, len(stream)]):
            wires += [frame.wire for frame in splitter.feed(stream[start:cut])]
            start = max(start, cut)
        wires += [frame.wire for frame in splitter.feed(stream[start:])]
        assert b"".join(wires) + splitter.pending == stream

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
    def test_a_frame_is_read_a_byte_at_a_time(self, end: bytes) -> None:
        splitter = SseSplitter()
        stream = end.join([b"event: x", b"data: a", b"data:b", b"", b"data: c", b"", b""])
        frames = [frame for byte in stream for frame in splitter.feed(bytes([byte]))]
        told = [(frame.event, frame.data) for frame in frames if frame.data is not None]
        assert told == [("x", b"a\nb"), (None, b"c")]

    def test_a_comment_is_a_frame_without_data(self) -> None:
        (frame,) = SseSplitter().feed(b": OPENROUTER PROCESSING\n\n")
        assert frame.data is None


class TestModelSpan:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b'{"model":"a"}', b'{"model":"new"}'),
            (b'{"x":{"model":"a"},"model" : "b\\"c", "y":"model"}', None),
            (b'{"messages":["model"]}', b'{"messages":["model"]}'),
            (b'{"a":"\\\\","model":"\xc3\xa9"}', b'{"a":"\\\\","model":"new"}'),
        ],
    )
    def test_only_the_top_level_value_changes(self, body: bytes, expected: bytes | None) -> None:
        expected = expected or b'{"x":{"model":"a"},"model" : "new", "y":"model"}'
        assert with_model(body, "new") == expected


class TestWaits:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, None),
            ({"retry-after": "12"}, 12.0),
            ({"retry-after": "1", "retry-after-ms": "250"}, 0.25),
            ({"retry-after": "Tue, 24 Nov 2026 07:28:00 GMT"}, None),
            ({"retry-after": "-1"}, None),
            ({"retry-after": "nan"}, None),
        ],
    )
    def test_headers(self, headers: dict[str, str], seconds: float | None) -> None:
        assert retry_after_s(headers) == seconds

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("12s", 12.0), ("1.5s", 1.5), ("6m0s", 360.0), ("20ms", 0.02), ("", None)],
    )
    def test_durations(self, text: str, seconds: float | None) -> None:
        assert duration_s(text) == seconds
