"""The engine in process, behind the Provider socket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from farthing.base.clock import FakeClock
from farthing.base.config.settings import Provider as ProviderSettings
from farthing.core.calls import EventKind
from farthing.core.errors import (
    FarthingError,
    UpstreamProtocolError,
    UpstreamTimeoutError,
    UpstreamTruncatedError,
    UpstreamUnreachableError,
)
from farthing.core.protocols import Attempt, DescribesDeployments, Provider
from farthing.sim.provider import SimProvider, build

TOML = """
name = "test"
is_header_fault_allowed = true
[models.small]
price = { input = 1, output = 4 }
source = "test"
date = "2026-11-24"
[regions.here]
flavour = "anthropic"
latency = { first_token_p50_s = 2, first_token_p99_s = 2, per_token_s = 0.1 }
[regions.here.deployments.small]
model = "small"
quota = { tokens_per_minute = 100000 }
"""


@pytest.fixture
def provider(tmp_path: Path) -> SimProvider:
    path = tmp_path / "scenario.toml"
    path.write_text(TOML)
    return SimProvider("sim", ProviderSettings(type="sim", scenario=str(path)), FakeClock())


def _attempt(provider: SimProvider, *, stream: bool, fault: str = "") -> Attempt:
    body = {
        "model": "small",
        "max_tokens": 60,
        "stream": stream,
        "messages": [{"role": "user", "content": "one two three four"}],
    }
    return Attempt(
        call_id="call_1",
        deployment=provider.deployments()[0],
        dialect="anthropic-messages",
        body=json.dumps(body).encode(),
        stream=stream,
        headers=(("x-sim-fault", fault),) if fault else (),
        want_deltas=True,
    )


async def _read(provider: SimProvider, attempt: Attempt) -> list[EventKind]:
    """Read an answer to its end while the fake clock runs."""

    async def read() -> list[EventKind]:
        async with provider.open(attempt) as answer:
            return [event.kind async for event in answer.events]

    task = asyncio.create_task(read())
    clock = provider._clock
    assert isinstance(clock, FakeClock)
    while not task.done():
        await clock.advance(10)
    return await task


def test_it_fills_the_sockets_and_describes_simulated_deployments() -> None:
    provider = build("sim", ProviderSettings(type="sim"), {}, FakeClock())
    assert isinstance(provider, Provider)
    assert isinstance(provider, DescribesDeployments)
    found = {deployment.name: deployment for deployment in provider.deployments()}
    assert all(deployment.is_simulated for deployment in found.values())
    assert {d.model for d in found.values()} >= {"sim/small", "sim/large"}
    assert found["sim/large-ptu@eastus"].is_provisioned
    assert found["sim/large-ptu@eastus"].provisioned_hourly_nanodollars == 15_000_000_000
    assert provider.dialects(found["sim/embed@global"], "embed") == ("openai-embeddings",)
    assert provider.dialects(found["sim/embed@global"], "chat") == ()


async def test_a_whole_answer_carries_usage_and_is_invoiced(provider: SimProvider) -> None:
    assert await _read(provider, _attempt(provider, stream=False)) == [EventKind.WHOLE]
    row = provider.invoice.rows[0]
    assert row.outcome == "complete" and row.call_id == "call_1" and row.nanodollars > 0


async def test_a_stream_ends_with_its_end_mark(provider: SimProvider) -> None:
    kinds = await _read(provider, _attempt(provider, stream=True))
    assert EventKind.CONTENT in kinds and kinds[-1] is EventKind.END


@pytest.mark.parametrize(
    ("fault", "stream", "error"),
    [
        ("reset_before_headers", True, UpstreamUnreachableError),
        ("black_hole", True, UpstreamTimeoutError),
        ("silence", True, UpstreamTimeoutError),
        ("reset_mid_body", True, UpstreamTruncatedError),
        ("reset_mid_event", True, UpstreamTruncatedError),
        ("early_end", True, UpstreamTruncatedError),
        ("html_200", True, UpstreamProtocolError),
        ("gzip_bomb", False, UpstreamProtocolError),
        ("long_content_length", False, UpstreamTruncatedError),
        ("truncated_json_200", False, UpstreamProtocolError),
        ("status_500", True, FarthingError),
    ],
)
async def test_faults_raise_what_they_would_raise_over_http(
    provider: SimProvider, fault: str, stream: bool, error: type[FarthingError]
) -> None:
    with pytest.raises(error) as caught:
        await _read(provider, _attempt(provider, stream=stream, fault=fault))
    assert caught.value.provider == "sim"
    assert caught.value.deployment == "sim/small@here"


async def test_a_dead_region_was_never_sent_anything(provider: SimProvider) -> None:
    provider.regions["here"].is_alive = False
    with pytest.raises(UpstreamUnreachableError) as caught:
        await _read(provider, _attempt(provider, stream=True))
    assert not caught.value.was_sent


async def test_hanging_up_after_an_event_is_billed_until_there(provider: SimProvider) -> None:
    async def read_one() -> None:
        async with provider.open(_attempt(provider, stream=True)) as answer:
            async for event in answer.events:
                if event.kind is EventKind.CONTENT:
                    break

    clock = provider._clock
    assert isinstance(clock, FakeClock)
    task = asyncio.create_task(read_one())
    while not task.done():
        await clock.advance(0.05)
    await task
    row = provider.invoice.rows[0]
    assert row.is_aborted and row.usage.output_tokens == 1


async def test_hanging_up_before_a_whole_answer_is_billed_by_the_time_passed(
    provider: SimProvider,
) -> None:
    clock = provider._clock
    assert isinstance(clock, FakeClock)
    task = asyncio.create_task(_open(provider))
    await clock.advance(1.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    row = provider.invoice.rows[0]
    assert row.is_aborted and 0 < row.usage.output_tokens < 9


async def _open(provider: SimProvider) -> None:
    async with provider.open(_attempt(provider, stream=False)):
        pass
