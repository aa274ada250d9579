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
    InputSize,
    Request,
)
from farthing.core.models import Deployment, Plan, Route
from farthing.core.protocols import Take
from farthing.gateway import billing
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
    """A source whose events are all there."""

    __slots__ = ("_events",)

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = iter(events)

    def __aiter__(self) -> Ready:
        return self

    async def __anext__(self) -> Event:
        for event in self._events:
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


class Call:
    """One call. Iterate it once for its events; `head` is set when it is handed out, `record` at the end.

    is_complete: every event of a good answer has been kept, whether or not the reader stayed to take it.

    The events' `wire` is in the request's dialect. The last one (the end mark, or the whole body) comes
    only after the settlement is durable.
    """

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
        self.outcome: str | None = None
        self.status = 200
        self.route: Route | None = None
        self.plan = Plan(steps=())
        self.recalled: Cached | None = None
        self.cache_key: bytes | None = None
        self.fingerprint: bytes | None = None
        self.reservation: Reservation | None = None
        self.reserved = 0
        self.unconfirmed = 0
        self.attempts: list[AttemptRecord] = []
        self.time_to_first_token_s: float | None = None
        self.dropped: tuple[str, ...] = ()
        self.head = CallHead(model=request.head.model, deployment="", provider="")
        self.source: Source | None = None
        self.running: Try | None = None
        self.is_settled = False
        self.is_complete = False
        self._size: InputSize | None = None
        self._bounds: dict[str, int] = {}
        self._record: CallRecord | None = None
        self._collected: list[Event] | None = None
        self._collected_size = 0

    def __aiter__(self) -> AsyncIterator[Event]:
        assert self.source is not None, "the pipeline hands a call out only with its answer"
        return self.source

    def most(self, deployment: Deployment) -> int:
        """The most nanodollars that a try there can cost."""
        bounds = self._bounds
        most = bounds.get(deployment.name)
        if most is None:
            most = self.snapshot.terms(deployment).most(self.request.head, self._input_size)
            bounds[deployment.name] = most
        return most

    def likely_tokens(self) -> int:
        """What a try takes of a rate at first: the input by its size, the output at its bound.

        The usage corrects it when the call is settled.
        """
        if not self.plan.steps:
            return 0
        terms, head, size = self.snapshot.terms, self.request.head, self._input_size
        output = max([terms(each).output_tokens(head) for each in self.plan.steps])
        media = billing.MEDIA_TOKENS * size.media_parts
        return size.text_bytes // billing.BYTES_PER_TOKEN + media + output

    @property
    def _input_size(self) -> InputSize:
        if self._size is None:
            self._size = billing.input_size(self.request)
        return self._size

    @property
    def record(self) -> CallRecord:
        """What is kept of the call; final once it is settled."""
        kept = self._record
        if kept is None or (kept.outcome, kept.status) != (self.outcome, self.status):
            kept = self._recorded()
            self._record = kept if self.is_settled else None
        return kept

    def _recorded(self) -> CallRecord:
        latency_s = self.snapshot.shared.clock.monotonic() - self.started_s
        upstream_s = sum([attempt.latency_s for attempt in self.attempts])
        cache = self.head.cache if self.head.cache in ("hit", "miss") else "off"
        return CallRecord(
            call_id=self.call_id,
            at_s=self.at_s,
            key_id=self.caller.key_id,
            team=self.caller.team,
            tags=self.tags,
            face=self.request.face,
            dialect=self.request.dialect,
            model=self.request.head.model,
            kind=self.request.head.kind,
            is_stream=self.request.head.stream,
            outcome=self.outcome or ABORTED,
            status=self.status,
            attempts=tuple(self.attempts),
            cache="hit" if cache == "hit" else "miss" if cache == "miss" else "off",
            latency_s=latency_s,
            time_to_first_token_s=self.time_to_first_token_s,
            overhead_s=max(0.0, latency_s - upstream_s),
            dropped=self.dropped,
            traceparent=self.request.traceparent,
        )

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
