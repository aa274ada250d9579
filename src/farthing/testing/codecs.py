"""`CodecConformance`: what every dialect must do, in both directions, whole and streamed."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import pytest

from farthing.core.calls import Event, EventKind
from farthing.core.errors import (
    BadRequestError,
    FarthingError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRateLimitedError,
    UpstreamServerError,
    UpstreamTruncatedError,
)
from farthing.testing.samples import SAMPLES, Sample
from farthing.wire.codec import Codec

#: Stands where a vendor's error quotes text; it may not come back in ours.
CANARY = "canary-7b1f"


class CodecConformance:
    """Subclass it as `TestMine` and set `codec`; override `sample` for a dialect of your own."""

    codec: ClassVar[Codec]

    @property
    def sample(self) -> Sample:
        """What is asked and answered in this dialect."""
        return SAMPLES[self.codec.name]

    # --- requests ---

    def test_the_head_agrees_with_the_whole_request(self) -> None:
        head, request = (
            self.codec.head(self.sample.request),
            self.codec.decode_request(self.sample.request),
        )
        assert (head.model, head.stream) == (request.model, request.stream)
        assert head.max_output_tokens == request.max_output_tokens

    def test_a_request_survives_core_and_back(self) -> None:
        request = self.codec.decode_request(self.sample.request)
        encoded = self.codec.encode_request(request)
        assert encoded.dropped == ()
        assert self.codec.decode_request(encoded.body) == request

    def test_with_model_changes_the_model_and_nothing_else(self) -> None:
        body = self.codec.with_model(self.sample.request, "another")
        before, after = (msgspec.json.decode(each) for each in (self.sample.request, body))
        if "model" in before:
            before["model"] = "another"
        assert after == before

    def test_a_request_that_is_no_json_is_the_callers_mistake(self) -> None:
        for body in (b"", b"{", b"[]", b'"text"', b"\xff"):
            with pytest.raises(BadRequestError):
                self.codec.head(body)

    # --- answers ---

    def test_a_whole_answer_survives_core_and_back(self) -> None:
        completion = self.codec.decode_response(self.sample.whole)
        encoded = self.codec.encode_response(completion)
        assert self.codec.decode_response(encoded.body) == completion

    def test_the_tally_of_a_whole_answer_agrees_with_its_meaning(self) -> None:
        tally, completion = (
            self.codec.tally(self.sample.whole),
            self.codec.decode_response(self.sample.whole),
        )
        assert tally.usage == completion.usage
        assert tally.is_complete

    def test_an_answer_that_is_no_answer_is_a_protocol_error(self) -> None:
        for body in (b"", b"{", b"<html>", b"[]"):
            with pytest.raises(UpstreamProtocolError):
                self.codec.tally(body)

    # --- streams ---

    def test_any_split_of_a_stream_gives_the_same_events(self) -> None:
        wire = b"".join(self.sample.stream)
        whole = self._read([wire])
        assert b"".join(event.wire for event in whole) == wire
        for size in (1, 2, 3, 7, 64):
            assert self._read([wire[i : i + size] for i in range(0, len(wire), size)]) == whole

    def test_a_stream_cut_anywhere_before_its_end_is_truncated(self) -> None:
        wire = b"".join(self.sample.stream[:-1])
        for length in range(0, len(wire), 5):
            reader = self.codec.reader(want_deltas=False)
            reader.feed(wire[:length])
            if reader.tally.is_complete:
                continue
            with pytest.raises(UpstreamTruncatedError):
                reader.eof()

    def test_a_streams_tally_agrees_with_the_whole_answers(self) -> None:
        reader = self.codec.reader(want_deltas=False)
        reader.feed(b"".join(self.sample.stream))
        reader.eof()
        assert reader.tally.usage == self.codec.tally(self.sample.whole).usage
        assert reader.tally.is_complete

    def test_content_is_told_from_framing(self) -> None:
        events = self._read([b"".join(self.sample.stream)])
        kinds = {event.kind for event in events}
        assert kinds & {EventKind.CONTENT, EventKind.FINISH}

    # --- errors ---

    def test_a_vendors_error_is_told_by_its_status_and_never_quoted(self) -> None:
        body = b'{"type":"error","error":{"message":"' + CANARY.encode() + b'","status":"X"}}'
        for status, kind in ((429, UpstreamRateLimitedError), (500, UpstreamServerError)):
            error = self.codec.decode_error(status, {}, body)
            assert isinstance(error, kind)
            assert CANARY not in str(error)
        for junk in (b"", b"<html>" + CANARY.encode(), b"\xff"):
            assert isinstance(self.codec.decode_error(502, {}, junk), UpstreamError)

    def test_an_error_for_a_client_is_json_with_the_message(self) -> None:
        body = self.codec.encode_error(FarthingError("What happened."))
        assert "What happened." in str(msgspec.json.decode(body))

    def _read(self, chunks: list[bytes]) -> list[Event]:
        reader = self.codec.reader(want_deltas=False)
        events = [event for chunk in chunks for event in reader.feed(chunk)]
        return [*events, *reader.eof()]
