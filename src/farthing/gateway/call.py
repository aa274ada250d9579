"""A call under way: what its steps share, and the events its reader iterates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol

import msgspec

from farthing.accounts.accounts import Reservation
from farthing.core.calls import (
    AttemptRecord,
    Caller,
    CallRecord,
    Event,
    EventKind,
    InputSize,
    Request,
)
from farthing.core.chat import Failed
from farthing.core.errors import FarthingError, UpstreamProtocolError, UpstreamServerError
from farthing.core.models import Plan, Route
from farthing.core.protocols import Take
from farthing.gateway import billing
from farthing.gateway.billing import Terms
from farthing.gateway.cache import Cached
from farthing.gateway.snapshot import Snapshot

#: The outcome of a call whose client left before the end, and its status (nginx's convention).
ABORTED = "aborted"
ABORTED_STATUS = 499


class Try(Protocol):
    """A try under way."""

    async def relay(self, take: Take) -> bool:
        """Hand plain content to `take` where it arrives. True: it has enough for now."""
        ...

    async def abort(self) -> None:
        """Stop it and record what it used. Nothing to do when it is over."""
        ...


class Source(Protocol):
    """The events of an answer, closed when nobody wants more of them."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def __anext__(self) -> Event: ...

    async def aclose(self) -> None:
        """Stop. Idempotent."""
        ...


class Ready:
    """A source whose events are all there. left: those that were not handed out yet."""

    __slots__ = ("left",)

    def __init__(self, events: Iterable[Event]) -> None:
        self.left = iter(events)

    def __aiter__(self) -> Ready:
        return self

    async def __anext__(self) -> Event:
        for event in self.left:
            return event
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Nothing to stop."""


class CallHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when the answer begins; faces send it as headers.

    nanodollars None: not known yet (a stream). cache: `hit`, `miss`, `off`, or `replayed` for a repeated
    idempotency key.
    """

    model: str
    deployment: str
    provider: str
    is_simulated: bool = False
    nanodollars: int | None = None
    cache: str = "off"
    dropped: tuple[str, ...] = ()


def failure_in(event: Event) -> FarthingError:
    """The error that an event of kind ERROR carries."""
    for delta in event.deltas or ():
        if isinstance(delta, Failed):
            return delta.error
    return UpstreamServerError("The provider reported an error inside its answer.")


class Call:
    """One call. Iterate it once for its events; `head` is set when it is handed out, `record` at the end.

    is_complete: every event of a good answer has been kept, whether or not the reader stayed to take it.
    cache: as in `CallHead`.

    The events' `wire` is in the request's dialect. The last one (the end mark, or the whole body) comes
    only after the settlement is durable.
    """

    # What most calls never change stands in the class.
    outcome: str | None = None
    status = 200
    route: Route | None = None
    plan = Plan(steps=())
    recalled: Cached | None = None
    cache = "off"
    cache_key: bytes | None = None
    fingerprint: bytes | None = None
    reservation: Reservation | None = None
    reserved = 0
    unconfirmed = 0
    time_to_first_token_s: float | None = None
    dropped: tuple[str, ...] = ()
    head: CallHead
    source: Source | None = None
    running: Try | None = None
    is_settled = False
    is_complete = False
    _size: InputSize | None = None
    _most_output = 0
    _record: CallRecord | None = None
    _collected: list[Event] | None = None
    _collected_size = 0

    def __init__(self, snapshot: Snapshot, request: Request, caller: Caller) -> None:
        clock = snapshot.shared.clock
        self.snapshot = snapshot
        self.request = request
        self.caller = caller
        self.call_id = clock.new_id("call")
        self.at_s = clock.now()
        self.started_s = clock.monotonic()
        self.tags = caller.tags
        if request.tags:
            self.tags = tuple(dict.fromkeys((*caller.tags, *request.tags)))
        self.attempts: list[AttemptRecord] = []
        self._bounds: dict[Terms, int] = {}

    def __aiter__(self) -> AsyncIterator[Event]:
        assert self.source is not None, "the pipeline hands a call out only with its answer"
        return self.source

    def most(self, terms: Terms) -> int:
        """The most nanodollars that a try on these terms can cost."""
        most = self._bounds.get(terms)
        if most is None:
            head, size = self.request.head, self._input_size()
            outputs = terms.output_tokens(head)
            most = self._bounds[terms] = terms.dearest(head, terms.input_tokens(size), outputs)
            self._most_output = max(self._most_output, outputs)
        return most

    def likely_tokens(self) -> int:
        """What a try takes of a rate at first: the input by its size, the output at its bound.

        The usage corrects it when the call is settled. After the bounds of all tries were asked for.
        """
        if not self._bounds:
            return 0
        size = self._input_size()
        media = billing.MEDIA_TOKENS * size.media_parts
        return size.text_bytes // billing.BYTES_PER_TOKEN + media + self._most_output

    def spent(self) -> int:
        """Nanodollars that the tries so far have cost."""
        spent = 0
        for attempt in self.attempts:
            spent += attempt.nanodollars
        return spent

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to close, to settle or to free."""
        return self.is_settled and self.running is None and self.fingerprint is None

    def _input_size(self) -> InputSize:
        size = self._size
        if size is None:
            size = self._size = billing.input_size(self.request)
        return size

    @property
    def record(self) -> CallRecord:
        """What is kept of the call; final once it is settled."""
        kept = self._record
        if kept is None or kept.outcome != self.outcome or kept.status != self.status:
            kept = self._recorded()
            self._record = kept if self.is_settled else None
        return kept

    def _recorded(self) -> CallRecord:
        latency_s = self.snapshot.shared.clock.monotonic() - self.started_s
        overhead_s = latency_s
        for attempt in self.attempts:
            overhead_s -= attempt.latency_s
        request, caller, cache = self.request, self.caller, self.cache
        head = request.head
        return CallRecord(
            call_id=self.call_id,
            at_s=self.at_s,
            key_id=caller.key_id,
            team=caller.team,
            tags=self.tags,
            face=request.face,
            dialect=request.dialect,
            model=head.model,
            kind=head.kind,
            is_stream=head.stream,
            outcome=self.outcome or ABORTED,
            status=self.status,
            attempts=tuple(self.attempts),
            cache="hit" if cache == "hit" else "miss" if cache == "miss" else "off",
            latency_s=latency_s,
            time_to_first_token_s=self.time_to_first_token_s,
            overhead_s=max(0.0, overhead_s),
            dropped=self.dropped,
            traceparent=request.traceparent,
        )

    async def whole(self) -> bytes:
        """The body of an unstreamed answer, in place of iterating.

        Raises what an event of kind ERROR carries, and UpstreamProtocolError when there is no body.
        """
        source = self.source
        if isinstance(source, Ready):  # nearly always: it is settled before it is handed out
            events = list(source.left)
        else:
            events = [event async for event in self]
        if not events:
            raise UpstreamProtocolError("The provider's answer is empty.")
        if events[-1].kind is EventKind.ERROR:
            raise failure_in(events[-1])
        return events[-1].wire

    async def forward(self, take: Take, wait: Callable[[], Awaitable[None]]) -> None:
        """Hand the bytes of all events to `take`, in place of iterating. `wait`: until it wants more."""
        async for event in self:
            has_enough = not take(event.wire)
            running = self.running
            while has_enough or (running is not None and await running.relay(take)):
                await wait()
                has_enough = False

    @property
    def is_collecting(self) -> bool:
        """Whether each event is kept on its way to the reader."""
        return self._collected is not None

    def collect(self) -> None:
        """Keep the events that are handed out, for the cache or the idempotency key."""
        self._collected = []

    def keep(self, event: Event) -> Event:
        """Note an event on its way to the reader."""
        if self._collected is not None:
            self._collected_size += len(event.wire)
            self._collected.append(Event(wire=event.wire, kind=event.kind))
            if self._collected_size > self.snapshot.settings.cache.max_entry_kb * 1024:
                self._collected = None
        return event

    def collected(self) -> Cached | None:
        """The complete answer, or None when it was not kept or not complete."""
        served = self.attempts[-1] if self.attempts else None
        if self._collected is None or not self.is_complete or served is None:
            return None
        return Cached(
            events=tuple(self._collected),
            model=self.head.model,
            deployment=served.deployment,
            provider=served.provider,
            is_simulated=served.is_simulated,
            stored_at_s=self.snapshot.shared.clock.now(),
        )
