"""Calls: who asks, what the pipeline reads of a request, what is recorded of it."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import msgspec

from farthing.core.chat import Delta
from farthing.core.models import Kind
from farthing.core.private import PrivateStruct
from farthing.core.usage import Usage

#: What a key may do: call models, administer, read reports.
Role = Literal["caller", "viewer", "admin"]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, after authentication.

    key_id: public identifier of the key (never the key). models, faces: allow-lists with `*` wildcards,
    empty means all. is_local: no key needed, loopback only.
    """

    key_id: str
    name: str = ""
    team: str | None = None
    role: Role = "caller"
    models: tuple[str, ...] = ()
    faces: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    is_cache_allowed: bool = False
    is_local: bool = False


class InputSize(msgspec.Struct, frozen=True, kw_only=True):
    """How large a request's input is, as far as its body shows. No text.

    text_bytes: all that may be text. media_parts: images, whatever their size. is_open: the vendor adds
    input that the body does not show (a stored conversation, a file, what its own tools fetch).
    """

    text_bytes: int
    media_parts: int = 0
    is_open: bool = False


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The few fields of a request that routing, budgets and faces read. No text.

    max_output_tokens None: the caller set no bound. n: answers asked for. stream: answer piece by piece.
    include_usage: the client asked to see usage in its stream (OpenAI `stream_options`).
    input_bytes: size of the text-bearing body, for estimates. features: capabilities that the request
    needs (`tools`, `images`, `json_schema`, …), as far as one cheap pass can tell.
    input: None when the codec leaves it to whoever needs it. model_span: where the value of `model` stands
    in the body, when the codec is certain that it stands only there.
    """

    model: str
    kind: Kind = "chat"
    stream: bool = False
    include_usage: bool = False
    max_output_tokens: int | None = None
    n: int = 1
    service_tier: str | None = None
    temperature: float | None = None
    input_bytes: int = 0
    features: frozenset[str] = frozenset()
    input: InputSize | None = None
    model_span: tuple[int, int] | None = None


class Request(PrivateStruct, frozen=True, kw_only=True):
    """One call as it arrived: its dialect's name, its body untouched, and its head.

    dialect: name of a codec in `farthing.wire.dialects`; the answer comes back in the same dialect.
    headers: those of the client that the provider should see (`anthropic-beta`, …), lower-case names.
    tags: from `x-farthing-tags`, added to the caller's. session: conversation id, for sticky routing.
    use_cache: None leaves it to key and route. traceparent: W3C trace context of the client.
    """

    dialect: str
    body: bytes
    head: Head
    face: str = "python"
    headers: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    session: str | None = None
    idempotency_key: str | None = None
    use_cache: bool | None = None
    traceparent: str | None = None


class EventKind(IntEnum):
    """What an event is, told without building a Delta."""

    META = 0  #: framing, ids, roles, pings: nothing a reader would miss after a replay
    CONTENT = 1  #: text, tool call, reasoning: from here on a failure can't be hidden
    FINISH = 2  #: carries a finish reason (may carry content and usage too)
    USAGE = 3  #: carries usage and nothing else of interest
    ERROR = 4  #: the provider's error inside the stream
    END = 5  #: the protocol's own end mark (`[DONE]`, `message_stop`, `response.completed`)
    WHOLE = 6  #: a complete, unstreamed answer body


class Event(PrivateStruct, frozen=True, kw_only=True):
    """One piece of an answer: the bytes to send on, and, when somebody asked, their meaning.

    wire: complete SSE frame with its blank line, or a whole JSON body (kind WHOLE).
    deltas: None unless the reader was opened with `want_deltas`; an event of kind ERROR always carries
    its `Failed` delta.
    """

    wire: bytes
    kind: EventKind
    deltas: tuple[Delta, ...] | None = None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What accounting needs to know of an answer, read without its text.

    usage None: not reported. finish_reasons: one per finished choice. output_characters: visible output
    so far, for the estimate when no usage comes.
    """

    usage: Usage | None = None
    finish_reasons: tuple[str, ...] = ()
    model: str | None = None
    service_tier: str | None = None
    is_complete: bool = False
    output_characters: int = 0


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One try at one deployment. No text.

    outcome: `ok`, `aborted` (the client left), or an error code. usage and nanodollars: what the vendor
    bills for this try, zero when it bills nothing. was_sent: bytes reached the provider. tier: the
    service tier that was charged.
    """

    deployment: str
    provider: str
    model: str
    outcome: str
    status: int | None = None
    usage: Usage = Usage()
    nanodollars: int = 0
    tier: str = "standard"
    is_price_known: bool = True
    is_simulated: bool = False
    was_sent: bool = True
    started_s: float = 0.0
    latency_s: float = 0.0
    time_to_first_token_s: float | None = None
    upstream_request_id: str | None = None
    spilled_from: str | None = None


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is kept of one call: hashes, counts, names, money; no text field exists.

    at_s: unix seconds at arrival. model: what the caller asked for. outcome: `ok`, `aborted`, or an error
    code. cache: `hit`, `miss`, `off`. overhead_s: time spent in Farthing itself.
    """

    call_id: str
    at_s: float
    key_id: str
    face: str
    dialect: str
    model: str
    kind: Kind = "chat"
    team: str | None = None
    tags: tuple[str, ...] = ()
    is_stream: bool = False
    outcome: str = "ok"
    status: int = 200
    attempts: tuple[AttemptRecord, ...] = ()
    cache: Literal["hit", "miss", "off"] = "off"
    latency_s: float = 0.0
    time_to_first_token_s: float | None = None
    overhead_s: float = 0.0
    dropped: tuple[str, ...] = ()
    traceparent: str | None = None

    @property
    def nanodollars(self) -> int:
        """The call's charge: the sum over its attempts."""
        return sum(attempt.nanodollars for attempt in self.attempts)

    @property
    def usage(self) -> Usage:
        """Usage billed over all attempts."""
        total = Usage()
        for attempt in self.attempts:
            total += attempt.usage
        return total

    @property
    def served_by(self) -> AttemptRecord | None:
        """The attempt whose answer the client got: the last one."""
        return self.attempts[-1] if self.attempts else None
