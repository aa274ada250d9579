"""One try at one deployment: its request out, its events to the client, its record in the call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import cast

import msgspec

from farthing.core.calls import AttemptRecord, Event, EventKind, Tally
from farthing.core.errors import (
    FarthingError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
)
from farthing.core.models import Deployment, Timeouts
from farthing.core.protocols import Answer, AnswerHead, Attempt, Relays, Take
from farthing.gateway import billing, retry
from farthing.gateway.call import ABORTED, Call, CallHead, Ready, Source, failure_in
from farthing.gateway.settlement import book
from farthing.gateway.snapshot import can_be_priced
from farthing.gateway.translate import AnswerTranslator, Prepared, prepare

#: Events that may still be taken back when the answer turns out incomplete: they wait for its end.
_CLOSING = (EventKind.FINISH, EventKind.USAGE, EventKind.END)
#: Headers by which Azure says that a provisioned deployment passed the call on, and a simulator what it is.
_SPILLED_FROM = "x-ms-spillover-from-deployment"
_SIMULATED = "x-farthing-simulated"


class Running:
    """One try at one deployment, from its first byte out to its record in the call."""

    # What most tries never change stands in the class.
    _opened: AbstractAsyncContextManager[Answer] | None = None
    _answer: Answer | None = None
    _translator: AnswerTranslator | None = None
    _iterator: AsyncIterator[Event]
    _relay: Callable[[Take], Awaitable[bool]] | None = None
    _is_closing = False
    _at_most = 0
    _is_started = False
    _is_probe = False
    _is_recorded = False
    _is_simulated = False
    _spilled_from: str | None = None
    _first_content_s: float | None = None

    def __init__(self, call: Call, deployment: Deployment) -> None:
        snapshot = call.snapshot
        self._call = call
        self._deployment = deployment
        self._place = snapshot.place(deployment)
        self._clock = snapshot.shared.clock
        self._started_s = self._clock.monotonic()
        self._primed: list[Event] = []

    @property
    def is_over(self) -> bool:
        """Recorded, and its connection given back."""
        return self._is_recorded and self._opened is None

    async def open(self) -> None:
        """Send the request and read until content (or the end) is certain.

        A whole answer is translated and settled here, so that a broken one can be replayed elsewhere and
        its cost is known before its first byte. Raises FarthingError.
        """
        call, deployment = self._call, self._deployment
        request = call.request
        provider = call.snapshot.directory.providers[deployment.provider]
        prepared = prepare(request, deployment, provider.dialects(deployment, request.head.kind))
        attempt = self._attempt(prepared)
        self._at_most = call.most(self._place.terms)
        missing = call.unconfirmed + call.spent() + self._at_most - call.reserved
        if missing > 0 and call.reservation is not None:
            await self._hold(missing)
        self._is_probe = self._place.breaker.start()
        self._is_started = True
        self._started_s = self._clock.monotonic()
        self._translator = AnswerTranslator(
            request, prepared, call_id=call.call_id, created=int(call.at_s)
        )
        opening = provider.open(attempt)
        self._answer = await opening.__aenter__()
        self._opened = opening
        self._read_head(self._answer.head)
        if attempt.stream:
            # Asked by name: `isinstance` of a protocol looks at every attribute, for each call anew.
            if not prepared.is_translated:
                self._relay = getattr(self._answer, "relay", None)
            elif hasattr(self._answer, "relay_events"):
                self._relay = self._relay_translated
        call.dropped = prepared.dropped
        await self._prime()

    def source(self) -> Source:
        """The answer for the client: all there already, or as it comes."""
        if not self._is_recorded:
            return self.events()
        call = self._call
        if call.is_collecting:
            for event in self._primed:
                call.keep(event)
        call.is_complete = True
        return Ready(self._primed)

    async def events(self) -> AsyncGenerator[Event, None]:
        """The answer for the client. A failure becomes an in-stream error; finish marks wait for the end."""
        assert self._translator is not None
        call = self._call
        held: list[Event] = []
        try:
            async for event in self._translated():
                if event.kind in _CLOSING or (held and event.kind is EventKind.META):
                    held.append(event)
                    self._is_closing = True
                    continue
                for earlier in held:
                    yield call.keep(earlier)
                held.clear()
                self._is_closing = False
                yield call.keep(event)
            await self._succeed()
        except FarthingError as error:
            error.call_id = call.call_id
            error.request_id = error.request_id or call.call_id  # what the client can quote
            await self.fail(error)
            call.outcome, call.status = error.code, error.status
            await book(call)
            yield self._translator.failure(error)
            return
        # Border: plug-in providers. The reader's own failures do not pass here; the pipeline sees those.
        except Exception:
            call.outcome, call.status = "internal_error", 500
            raise
        finally:
            await self.abort()
        await book(call)
        # Kept before the first is handed out: a reader who leaves now must not leave half an answer behind.
        closing = [call.keep(event) for event in held]
        call.is_complete = True
        for event in closing:
            yield event

    async def relay(self, take: Take) -> bool:
        """Hand plain content to `take` where it arrives, beside `events`. See `core.protocols.Relays`."""
        relay = self._relay
        if relay is None or self._primed or self._is_closing or self._is_recorded:
            return False
        if self._call.is_collecting:
            return False
        return await relay(take)

    async def _relay_translated(self, take: Take) -> bool:
        """As `relay`, for a client of another dialect: what came together goes out together."""
        translator, has_enough = self._translator, False
        assert translator is not None

        def hand_on(events: list[Event]) -> list[Event] | None:
            nonlocal has_enough
            wires, count = [], 0
            for event in events:
                if event.kind > EventKind.CONTENT:  # may be taken back, or is the end
                    break
                count += 1
                translated = translator.translate(event)
                if translated is not None:
                    wires.append(translated.wire)
            has_enough = bool(wires) and not take(b"".join(wires))
            return events[count:] if has_enough or count < len(events) else None

        await cast(Relays, self._answer).relay_events(hand_on)
        return has_enough

    async def fail(self, error: FarthingError) -> None:
        """Record a try that ended in an error, tell the breaker, give the connection back."""
        if self._is_recorded:
            return
        error.deployment = error.deployment or self._deployment.name
        error.provider = error.provider or self._deployment.provider
        breaker = self._place.breaker
        if isinstance(error, UpstreamRateLimitedError):
            breaker.rest(error.retry_after_s or 1.0, error.code)
        elif self._is_started and retry.is_fault_of_place(error):
            breaker.fail(error.code)
        self._record(error.code, self._charge_of(error), status=error.upstream_status)
        await self._close()

    async def abort(self) -> None:
        """Record a try that the client did not wait for. Nothing to do when it is recorded already."""
        if not self._is_recorded:
            tally = self._tally()
            charge = billing.nothing()
            if self._is_started:
                charge = self._estimate(tally) if self._answer else self._unknown()
            if tally.is_complete and tally.usage is not None:
                charge = self._confirmed(tally)
            self._record(ABORTED, charge)
        await self._close()

    async def _succeed(self) -> None:
        tally = self._tally()
        self._place.breaker.succeed()
        charge = self._confirmed(tally) if tally.usage is not None else self._estimate(tally)
        self._record("ok", charge, status=200)
        self._call.outcome = "ok"
        await self._close()

    async def _prime(self) -> None:
        """Read up to the first content. A whole answer is settled here, before anything of it is sent."""
        answer = self._answer
        assert answer is not None
        whole = getattr(answer, "whole", None)
        event: Event | None = None if whole is None else whole()
        is_all = event is not None
        if event is not None:
            self._accept(event)
        else:
            self._iterator = aiter(answer.events)
            async for event in self._iterator:
                self._accept(event)
                if event.kind is not EventKind.META:
                    break
        if event is not None and event.kind is EventKind.WHOLE:
            await self._finish_whole(is_all=is_all)
        self._publish_head()

    def _accept(self, event: Event) -> None:
        translated = self._translate(event)
        if translated is not None:
            self._primed.append(translated)

    async def _finish_whole(self, *, is_all: bool) -> None:
        """Settle a whole answer. is_all: nothing of its body can be missing."""
        assert self._translator is not None
        self._note_first_content()
        self._call.dropped += self._translator.dropped
        if not is_all:
            async for _ in self._iterator:
                pass
        await self._succeed()
        await book(self._call)

    async def _translated(self) -> AsyncGenerator[Event, None]:
        assert self._translator is not None
        while self._primed:
            yield self._primed.pop(0)
        async for event in self._iterator:
            translated = self._translate(event)
            if translated is not None:
                yield translated
        end = self._translator.end()
        if end is not None:
            yield end

    def _translate(self, event: Event) -> Event | None:
        """The client's form of an event, or None. Raises what an event of kind ERROR carries."""
        if event.kind is EventKind.ERROR:
            raise failure_in(event)
        if event.kind is EventKind.CONTENT:
            self._note_first_content()
        assert self._translator is not None
        return self._translator.translate(event)

    async def _hold(self, missing: int) -> None:
        """Make the reservation cover this try beside what earlier tries may still cost."""
        call, accounts = self._call, self._call.snapshot.shared.accounts
        assert call.reservation is not None, "asked before"
        if not accounts.extend_now(call.reservation, missing):
            await accounts.extend(call.reservation, missing)
        call.reserved += missing

    def _read_head(self, head: AnswerHead) -> None:
        """A simulator behind HTTP says so itself, whatever type of provider it is configured as."""
        if self._deployment.is_provisioned:
            self._spilled_from = head.header(_SPILLED_FROM)
        self._is_simulated = self._deployment.is_simulated or head.header(_SIMULATED) == "true"

    def _attempt(self, prepared: Prepared) -> Attempt:
        return Attempt(
            call_id=self._call.call_id,
            deployment=self._deployment,
            dialect=prepared.dialect,
            body=prepared.body,
            stream=self._call.request.head.stream,
            timeouts=self._timeouts(),
            headers=() if prepared.is_translated else self._call.request.headers,
            want_deltas=prepared.is_translated,
        )

    def _timeouts(self) -> Timeouts:
        """The try's timeouts, cut to what is left of the call's. Raises UpstreamTimeoutError at zero."""
        settings = self._call.snapshot.settings.timeouts
        left = settings.call_s - (self._clock.monotonic() - self._call.started_s)
        if left <= 0:
            raise UpstreamTimeoutError(
                f"The call took longer than timeouts.call_s = {settings.call_s:g} s over all its tries.",
                hint="Raise it, or shorten the timeouts of one try.",
                retryable=False,
            )
        own = self._place.timeouts
        return own if left >= own.total_s else msgspec.structs.replace(own, total_s=left)

    def _note_first_content(self) -> None:
        if self._first_content_s is None:
            now = self._clock.monotonic()
            self._first_content_s = now - self._started_s
            self._call.time_to_first_token_s = now - self._call.started_s

    def _publish_head(self) -> None:
        deployment = self._deployment
        whole = self._is_recorded
        self._call.head = CallHead(
            model=deployment.model,
            deployment=deployment.name,
            provider=deployment.provider,
            is_simulated=self._is_simulated,
            nanodollars=self._call.spent() if whole else None,
            cache=self._call.cache,
            dropped=self._call.dropped,
        )

    def _record(self, outcome: str, charge: billing.Charge, *, status: int | None = None) -> None:
        self._is_recorded = True
        call, deployment, answer = self._call, self._deployment, self._answer
        if self._is_started:
            self._place.breaker.leave(was_probe=self._is_probe)
        call.unconfirmed += charge.unconfirmed_nanodollars
        call.attempts.append(
            AttemptRecord(
                deployment=deployment.name,
                provider=deployment.provider,
                model=deployment.model,
                outcome=outcome,
                status=status,
                usage=charge.usage,
                nanodollars=charge.nanodollars,
                tier=charge.tier,
                is_price_known=can_be_priced(deployment),
                is_simulated=self._is_simulated or deployment.is_simulated,
                was_sent=self._is_started,
                started_s=call.at_s + (self._started_s - call.started_s),
                latency_s=self._clock.monotonic() - self._started_s,
                time_to_first_token_s=self._first_content_s,
                upstream_request_id=answer.head.request_id if answer is not None else None,
                spilled_from=self._spilled_from,
            )
        )

    def _charge_of(self, error: FarthingError) -> billing.Charge:
        """What a failed try costs: nothing when the vendor refused or never saw it, else by what was seen."""
        tally = self._tally()
        if not self._is_started:
            return billing.nothing()
        if self._answer is None:
            if not isinstance(error, UpstreamError):
                return billing.nothing()
            refused = error.upstream_status is not None and error.upstream_status >= 400
            never_billed = refused or not error.was_sent
            return billing.nothing() if never_billed else self._unknown()
        if tally.is_complete and tally.usage is not None:
            return self._confirmed(tally)
        return self._estimate(tally)

    def _tally(self) -> Tally:
        tally = self._answer.tally if self._answer else Tally()
        if tally.usage is not None and not billing.is_plausible(tally.usage):
            return msgspec.structs.replace(tally, usage=None)
        return tally

    def _confirmed(self, tally: Tally) -> billing.Charge:
        return billing.confirmed(
            self._call.request,
            self._deployment,
            tally,
            has_spilled=self._spilled_from is not None,
        )

    def _estimate(self, tally: Tally) -> billing.Charge:
        return billing.estimated(
            self._call.request,
            self._deployment,
            tally,
            at_most=self._at_most,
            has_spilled=self._spilled_from is not None,
        )

    def _unknown(self) -> billing.Charge:
        # Without a head nobody knows whether a provisioned deployment has spilled over to paid capacity.
        return billing.unknown(at_most=self._at_most)

    async def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.__aexit__(None, None, None)
