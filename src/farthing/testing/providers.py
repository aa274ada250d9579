"""`ProviderConformance`: what every provider behind HTTP must do, whoever wrote it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from farthing.base.clock import Clock, SystemClock
from farthing.base.config.settings import Provider as ProviderSettings
from farthing.core.calls import Event, EventKind
from farthing.core.errors import (
    FarthingError,
    UpstreamAuthError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
    UpstreamTruncatedError,
    UpstreamUnreachableError,
)
from farthing.core.models import Deployment, Kind, Timeouts
from farthing.core.protocols import Attempt, Provider
from farthing.testing.samples import MODEL, SAMPLES, Sample
from farthing.testing.server import Peer, Script, serving

#: Stands in every text of the vendor's and in the key; it may not come back in an error.
CANARY = "canary-7b1f"

Factory = Callable[[str, ProviderSettings, Mapping[str, str], Clock], Provider]


class ProviderConformance:
    """Subclass it as `TestMine`, set `factory`, and override what differs.

    The class starts a real HTTP server on loopback and gives its address as `base_url`; the server plays
    a vendor who answers well, badly and not at all. Override `sample` for a dialect that has none in
    `farthing.testing.samples`, `settings` for a provider that needs more of them, and `environ` for its key.
    """

    factory: ClassVar[Factory]
    environ: ClassVar[Mapping[str, str]] = {}
    kind: ClassVar[Kind] = "chat"

    def settings(self, base_url: str) -> ProviderSettings:
        """The provider's table."""
        return ProviderSettings(type="under-test", base_url=base_url)

    def sample(self, dialect: str) -> Sample:
        """What is asked and answered."""
        return SAMPLES[dialect]

    # --- what it says of itself ---

    def test_speaks_at_least_one_dialect(self) -> None:
        async def check(provider: Provider, dialect: str) -> None:
            assert dialect in provider.dialects(self.deployment, self.kind)

        self._run(_silent, check)

    def test_lists_models_or_none(self) -> None:
        async def vendor(peer: Peer) -> None:
            await peer.answer(b'{"object":"list","data":[{"id":"one"}]}')

        async def check(provider: Provider, dialect: str) -> None:
            assert all(isinstance(name, str) for name in await provider.models())

        self._run(vendor, check)

    # --- good answers ---

    def test_a_whole_answer_is_one_event_with_the_vendors_bytes(self) -> None:
        async def check(provider: Provider, dialect: str) -> None:
            events = await self._read(provider, dialect, stream=False)
            assert [event.kind for event in events] == [EventKind.WHOLE]
            assert events[0].wire == self.sample(dialect).whole

        self._run(self._well, check)

    def test_a_stream_is_passed_on_byte_for_byte(self) -> None:
        async def check(provider: Provider, dialect: str) -> None:
            events = await self._read(provider, dialect, stream=True)
            assert b"".join(event.wire for event in events) == b"".join(self.sample(dialect).stream)

        self._run(self._well, check)

    def test_deltas_come_only_when_asked_for(self) -> None:
        async def check(provider: Provider, dialect: str) -> None:
            plain = await self._read(provider, dialect, stream=True)
            assert all(event.deltas is None for event in plain)
            parsed = await self._read(provider, dialect, stream=True, want_deltas=True)
            assert any(event.deltas for event in parsed)

        self._run(self._well, check)

    def test_usage_is_told_by_the_tally(self) -> None:
        async def check(provider: Provider, dialect: str) -> None:
            for stream in (False, True):
                async with provider.open(self._attempt(dialect, stream=stream)) as answer:
                    async for _ in answer.events:
                        pass
                    assert answer.tally.usage is not None
                    assert answer.tally.usage.total_tokens == 12
                    assert answer.tally.is_complete

        self._run(self._well, check)

    # --- bad answers ---

    def test_a_stream_cut_after_any_frame_is_never_a_quiet_end(self) -> None:
        for count in range(len(SAMPLES["openai-chat"].stream)):

            async def vendor(peer: Peer, count: int = count) -> None:
                frames = self.sample(self.dialect).stream
                await peer.stream(*frames[: min(count, len(frames) - 1)], ends=False)
                peer.writer.close()

            async def check(provider: Provider, dialect: str) -> None:
                with pytest.raises((UpstreamTruncatedError, UpstreamUnreachableError)):
                    await self._read(provider, dialect, stream=True)

            self._run(vendor, check)

    def test_a_rate_limit_says_when_to_come_back(self) -> None:
        async def vendor(peer: Peer) -> None:
            body = b'{"error":{"message":"' + CANARY.encode() + b'"}}'
            await peer.answer(body, status="429 Too Many Requests", more="Retry-After: 7\r\n")

        error = self._failure(vendor)
        assert isinstance(error, UpstreamRateLimitedError)
        assert error.retry_after_s == 7

    def test_a_refused_key_is_ours_not_the_callers(self) -> None:
        async def vendor(peer: Peer) -> None:
            await peer.answer(b"{}", status="401 Unauthorized")

        assert isinstance(self._failure(vendor), UpstreamAuthError)

    def test_html_is_a_protocol_error(self) -> None:
        async def vendor(peer: Peer) -> None:
            await peer.answer(f"<html>{CANARY}</html>".encode(), kind="text/html")

        assert isinstance(self._failure(vendor), UpstreamProtocolError)

    def test_silence_is_a_timeout(self) -> None:
        assert isinstance(self._failure(_silent), UpstreamTimeoutError)

    def test_a_connection_that_breaks_before_the_answer_is_unreachable(self) -> None:
        async def vendor(peer: Peer) -> None:
            peer.reset()

        assert isinstance(self._failure(vendor), UpstreamUnreachableError)

    def test_leaving_early_hangs_up(self) -> None:
        async def check(provider: Provider, dialect: str) -> None:
            async with provider.open(self._attempt(dialect, stream=True)) as answer:
                await anext(answer.events)
            async with asyncio.timeout(2):
                await gone.wait()

        gone = asyncio.Event()

        async def vendor(peer: Peer) -> None:
            await peer.stream(self.sample(self.dialect).stream[0], ends=False)
            await peer.hung_up()
            gone.set()

        self._run(vendor, check)

    def test_closing_twice_is_harmless(self) -> None:
        async def check(provider: Provider, dialect: str) -> None:
            await self._read(provider, dialect, stream=False)
            await provider.aclose()
            await provider.aclose()

        self._run(self._well, check)

    # --- machinery ---

    @property
    def deployment(self) -> Deployment:
        """What is called."""
        return Deployment(name="d", provider="p", model=MODEL, remote_name=MODEL, kind=self.kind)

    @property
    def dialect(self) -> str:
        """The dialect that the provider prefers."""
        return self._provider("http://127.0.0.1:1").dialects(self.deployment, self.kind)[0]

    def _provider(self, base_url: str) -> Provider:
        factory = type(self).factory
        return factory("p", self.settings(base_url), self.environ, SystemClock())

    async def _well(self, peer: Peer) -> None:
        sample = self.sample(self.dialect)
        if (
            "event-stream" in peer.asked.headers.get("accept", "")
            or b'"stream":true' in peer.asked.body
        ):
            await peer.stream(*sample.stream)
        else:
            await peer.answer(sample.whole)

    def _run(self, vendor: Script, check: Callable[[Provider, str], Awaitable[None]]) -> None:
        async def run() -> None:
            async with self._reached(vendor) as provider:
                await check(provider, provider.dialects(self.deployment, self.kind)[0])

        asyncio.run(run())

    @asynccontextmanager
    async def _reached(self, vendor: Script) -> AsyncIterator[Provider]:
        async with serving(vendor) as server:
            provider = self._provider(server.url)
            try:
                yield provider
            finally:
                await provider.aclose()

    def _attempt(self, dialect: str, *, stream: bool, want_deltas: bool = False) -> Attempt:
        return Attempt(
            call_id="call_1",
            deployment=self.deployment,
            dialect=dialect,
            body=self.sample(dialect).request,
            stream=stream,
            want_deltas=want_deltas,
            timeouts=Timeouts(connect_s=2, first_byte_s=0.3, between_bytes_s=0.3, total_s=5),
        )

    async def _read(
        self, provider: Provider, dialect: str, *, stream: bool, want_deltas: bool = False
    ) -> list[Event]:
        attempt = self._attempt(dialect, stream=stream, want_deltas=want_deltas)
        async with provider.open(attempt) as answer:
            return [event async for event in answer.events]

    def _failure(self, vendor: Script) -> FarthingError:
        """The error that a reader of a whole answer gets. It names its place and echoes nothing."""
        errors: list[FarthingError] = []

        async def check(provider: Provider, dialect: str) -> None:
            with pytest.raises(UpstreamError) as caught:
                await self._read(provider, dialect, stream=False)
            errors.append(caught.value)

        self._run(vendor, check)
        assert errors[0].provider == "p"
        assert errors[0].deployment == "d"
        assert CANARY not in str(errors[0])
        return errors[0]


async def _silent(peer: Peer) -> None:
    await peer.hung_up()
