"""The contract of a codec: one dialect, both directions, whole and streamed."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from farthing.core.calls import Event, Head, Tally
from farthing.core.chat import ChatRequest, Completion, Delta
from farthing.core.errors import FarthingError
from farthing.core.models import Kind


class Encoded(msgspec.Struct, frozen=True):
    """A body, and the fields of the source that this dialect could not say (`messages[0].cache_control`).

    A field whose loss would change the meaning is not listed here: it raises UntranslatableError.
    """

    body: bytes
    dropped: tuple[str, ...] = ()


@runtime_checkable
class Skims(Protocol):
    """What a StreamReader may offer besides: to tell plain content by comparing bytes, without reading it."""

    def skim(self, piece: bytes, position: int = 0) -> int:
        """Where the whole events of visible text that begin at `position` end (as `feed` would find).

        They are in the tally then, and are not to be fed. `position` itself whenever that is not certain.
        """
        ...


class StreamReader(Protocol):
    """Reads a provider's stream: raw chunks in, complete events out, across any split of the bytes."""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes, each with its frame's exact bytes.

        Raises UpstreamProtocolError for bytes that are no events of the dialect. An error event of the
        vendor is returned as an event of kind ERROR (with a Failed delta), not raised.
        """
        ...

    def eof(self) -> list[Event]:
        """The connection closed. Raises UpstreamTruncatedError unless the answer was complete.

        Complete means: the dialect's end mark was seen, or (dialects and vendors without a dependable
        mark) every choice has a finish reason.
        """
        ...

    @property
    def tally(self) -> Tally:
        """Usage, finish reasons and size so far."""
        ...


class StreamWriter(Protocol):
    """Writes a stream for a client of this dialect out of deltas."""

    def write(self, delta: Delta) -> bytes:
        """The frames for one delta; may be empty when the dialect holds it back."""
        ...

    def error(self, error: FarthingError) -> bytes:
        """The frames that tell the client, inside the stream, that the answer is incomplete."""
        ...

    def end(self) -> bytes:
        """Usage, final events and the end mark, after the last delta of a complete answer."""
        ...


class Codec(Protocol):
    """One dialect. Stateless; readers and writers hold the state of one stream."""

    name: str
    kind: Kind

    def head(self, body: bytes) -> Head:
        """The routed fields in one typed pass. Raises BadRequestError with the field at fault.

        Dialects that keep model and stream flag in the path (Google, Azure classic) leave `model` empty
        when absent from the body; the face fills them in.
        """
        ...

    def with_model(self, body: bytes, model: str) -> bytes:
        """The same bytes with only the value of the top-level `model` replaced, found by its span.

        Unchanged where the dialect does not keep the model in the body.
        """
        ...

    def decode_request(self, body: bytes) -> ChatRequest:
        """The whole request in core words. Raises BadRequestError (message names the path)."""
        ...

    def encode_request(self, request: ChatRequest) -> Encoded:
        """A body for a provider of this dialect. Raises UntranslatableError (400)."""
        ...

    def decode_response(self, body: bytes) -> Completion:
        """A provider's whole answer. Raises UpstreamProtocolError."""
        ...

    def tally(self, body: bytes) -> Tally:
        """What accounting needs of a whole answer, in one cheap pass. Raises UpstreamProtocolError."""
        ...

    def encode_response(self, completion: Completion) -> Encoded:
        """A body for a client of this dialect."""
        ...

    def reader(self, *, want_deltas: bool) -> StreamReader:
        """A reader for one provider's stream."""
        ...

    def writer(self, head: Head, *, call_id: str, created: int) -> StreamWriter:
        """A writer for one client's stream. created: unix seconds to state in the events."""
        ...

    def encode_error(self, error: FarthingError) -> bytes:
        """The body of an error answer for a client of this dialect."""
        ...

    def decode_error(self, status: int, headers: dict[str, str], body: bytes) -> FarthingError:
        """A provider's error answer (status ≥ 400) as one of ours; never echoes the body's text.

        headers: lower-case names. Retry-After, retry-after-ms and the vendors' variants are read here.
        """
        ...
