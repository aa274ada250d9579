from __future__ import annotations

import json
from pathlib import Path

import pytest

from farthing.base.clock import SystemClock
from farthing.base.config.settings import Provider as Settings
from farthing.core.errors import ConfigError, UpstreamRejectedError
from farthing.core.protocols import Attempt
from farthing.providers.anthropic import AnthropicProvider
from farthing.providers.replay import RecordingProvider, ReplayProvider, request_hash
from farthing.testing.samples import SAMPLES
from farthing.testing.server import Peer, serving
from tests.providers.test_transport import DEPLOYMENT, KEYS, attempt, collect

SAMPLE = SAMPLES["anthropic-messages"]


async def vendor(peer: Peer) -> None:
    if "event-stream" in peer.asked.headers["accept"]:
        await peer.stream(*SAMPLE.stream)
    else:
        await peer.answer(SAMPLE.whole, more="request-id: req_1\r\n")


async def record(folder: Path, *, events: int | None = None) -> None:
    """Ask a real server whole and streamed; read `events` of each, or all."""
    async with serving(vendor) as server:
        settings = Settings(type="anthropic", base_url=server.url)
        inner = AnthropicProvider("anthropic", settings, KEYS, SystemClock())
        provider = RecordingProvider(inner, folder)
        for stream in (False, True):
            async with provider.open(attempt(stream=stream)) as answer:
                if events is None:
                    await collect(answer)
                for _ in range(events or 0):
                    await anext(answer.events)
        await provider.aclose()


def replaying(folder: Path) -> ReplayProvider:
    return ReplayProvider("old", Settings(type="replay", directory=str(folder)), {}, SystemClock())


async def test_what_was_recorded_is_repeated_byte_for_byte(tmp_path: Path) -> None:
    await record(tmp_path)
    provider = replaying(tmp_path)
    async with provider.open(attempt()) as answer:
        events = await collect(answer)
        assert events[0].wire == SAMPLE.whole
        assert answer.head.request_id == "req_1"
        assert answer.tally.usage is not None
    async with provider.open(attempt(stream=True, want_deltas=True)) as answer:
        events = await collect(answer)
        assert b"".join(event.wire for event in events) == b"".join(SAMPLE.stream)
        assert any(event.deltas for event in events)


async def test_its_deployments_are_the_recorded_models_and_are_labelled(tmp_path: Path) -> None:
    await record(tmp_path)
    provider = replaying(tmp_path)
    (deployment,) = provider.deployments()
    assert deployment.name == f"old/{DEPLOYMENT.model}"
    assert deployment.is_simulated
    assert provider.dialects(deployment, "chat") == ("anthropic-messages",)
    assert await provider.models() == (DEPLOYMENT.model,)


async def test_a_miss_says_hash_folder_and_how_to_record(tmp_path: Path) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"canary"}]}'
    other = Attempt(
        call_id="c", deployment=DEPLOYMENT, dialect="anthropic-messages", body=body, stream=False
    )
    with pytest.raises(UpstreamRejectedError) as caught:
        async with replaying(tmp_path).open(other):
            pass
    name = request_hash("anthropic-messages", body, model=DEPLOYMENT.model, stream=False)
    assert name in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "RecordingProvider" in str(caught.value)
    assert "canary" not in str(caught.value)


async def test_an_answer_that_was_not_read_to_its_end_is_not_recorded(tmp_path: Path) -> None:
    await record(tmp_path, events=0)
    assert list(tmp_path.iterdir()) == []


def test_the_hash_knows_meaning_not_spelling() -> None:
    def name(body: object, **more: object) -> str:
        fields: dict[str, object] = {"model": "m", "stream": False, **more}
        return request_hash("openai-chat", json.dumps(body).encode(), **fields)  # type: ignore[arg-type]

    assert name({"a": 1, "b": [1, 2]}) == name({"b": [1, 2], "a": 1, "model": "at-azure"})
    assert name({"a": 1}) == name({"a": 1, "stream_options": {"include_usage": True}})
    assert name({"a": 1}) != name({"a": 2})
    assert name({"a": 1}) != name({"a": 1}, model="n")
    assert name({"a": 1}) != name({"a": 1}, stream=True)


def test_a_folder_that_is_absent_or_broken_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        replaying(tmp_path / "none")
    with pytest.raises(ConfigError, match="directory is missing"):
        ReplayProvider("old", Settings(type="replay"), {}, SystemClock())
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ConfigError, match=r"x\.json"):
        replaying(tmp_path)
