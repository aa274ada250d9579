"""The sockets: what a plug-in must offer. Each has a conformance test class in `farthing.testing`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from farthing.core.calls import CallRecord, Event, Head, Tally
from farthing.core.models import Deployment, Kind, Offer, Plan, Route, Timeouts
from farthing.core.private import PrivateStruct


class Attempt(PrivateStruct, frozen=True, kw_only=True):
    """One try: this body, in this dialect, at this deployment.

    body: already in `dialect`, with `model` as the provider names it. headers: the client's, to pass on.
    want_deltas: the reader's events shall carry deltas.
    """

    call_id: str
    deployment: Deployment
    dialect: str
    body: bytes
    stream: bool
    timeouts: Timeouts = Timeouts()
    headers: tuple[tuple[str, str], ...] = ()
    want_deltas: bool = False


class AnswerHead:
    """What is known once the provider's status line and headers are in (status is 2xx).

    headers: lower-case names; only those that accounting or quota read and those worth passing on. Most
    calls ask for one or two of them by `header`: a derived class need not look for all.
    """

    __slots__ = ("_headers", "request_id", "status")

    def __init__(
        self,
        *,
        status: int = 200,
        request_id: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.status = status
        self.request_id = request_id
        self._headers = headers

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """All that are kept."""
        return self._headers

    def header(self, name: str) -> str | None:
        """The last of the kept headers with this lower-case name."""
        return dict(self._headers).get(name)


class Answer(Protocol):
    """A provider's answer under way. Iterate `events` once, to the end or to an error.

    `events` raises the UpstreamError tree. A stream that stops before its protocol's end mark raises
    UpstreamTruncatedError; it never ends quietly. `tally` is right at every moment for what was read.
    """

    @property
    def head(self) -> AnswerHead: ...

    @property
    def tally(self) -> Tally: ...

    @property
    def events(self) -> AsyncIterator[Event]: ...


#: Takes bytes for the client. False: it has enough for now.
Take = Callable[[bytes], bool]


#: Takes events that came together. None: more, please; else those that it leaves for later, maybe none.
TakeEvents = Callable[[list[Event]], list[Event] | None]


@runtime_checkable
class Relays(Protocol):
    """What an Answer may offer besides: plain content handed on at the moment it arrives."""

    async def relay(self, take: Take) -> bool:
        """Give whole events of visible text to `take` as they come, without a turn of this task for each.

        Returns at the first bytes that are anything else, at the end, at a failure, or when `take` has
        enough (then True); `events` goes on from exactly there and raises what is to be raised. Returns
        at once while `events` has something that it has not handed out.
        """
        ...

    async def relay_events(self, take: TakeEvents) -> None:
        """Give what arrives to `take` as events, under the same conditions, until it leaves some."""
        ...


@runtime_checkable
class ComesWhole(Protocol):
    """What an Answer may offer besides: its one event without iterating, when all of it is there."""

    def whole(self) -> Event | None:
        """The event of kind WHOLE, after which `events` has none. None: iterate. Raises as `events` does."""
        ...


@runtime_checkable
class Provider(Protocol):
    """Somebody who answers model calls. One instance per configured provider (connection)."""

    def dialects(self, deployment: Deployment, kind: Kind) -> tuple[str, ...]:
        """The codecs it speaks natively for this deployment, the preferred one first; empty: none."""
        ...

    def open(self, attempt: Attempt) -> AbstractAsyncContextManager[Answer]:
        """Send the attempt. Entering waits for the answer's head; leaving early cancels upstream.

        Raises the UpstreamError tree (and ContentFilteredError, ContextTooLongError) when entered.
        """
        ...

    async def models(self) -> tuple[str, ...]:
        """The names it offers now, without a paid call. Raises UpstreamError; may be empty."""
        ...

    async def aclose(self) -> None:
        """Release connections. Idempotent."""
        ...


@runtime_checkable
class DescribesDeployments(Protocol):
    """What a Provider may offer besides: it knows which deployments it has (simulator, recordings)."""

    def deployments(self) -> tuple[Deployment, ...]:
        """Its deployments, with `provider` set to its own configured name. No input or output."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Chooses where a call goes. Pure: the same head, route and offers give the same plan."""

    def plan(self, head: Head, route: Route, offers: Sequence[Offer], *, draw: float) -> Plan:
        """Order the offers. draw: a uniform random number in [0, 1) from the clock, for weights."""
        ...


@runtime_checkable
class CallSink(Protocol):
    """Receives the record of every finished call (metrics, traces, access log). Must not block or raise."""

    def record(self, call: CallRecord) -> None:
        """Take the record. Called once per call, after settlement."""
        ...
