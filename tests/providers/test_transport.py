from __future__ import annotations

import asyncio
import gc
import gzip
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from farthing.base.clock import SystemClock
from farthing.base.config.settings import Provider as Settings
from farthing.core.calls import Event, EventKind
from farthing.core.errors import (
    BadRequestError,
    ConfigError,
    FarthingError,
    UpstreamAuthError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRateLimitedError,
    UpstreamServerError,
    UpstreamTimeoutError,
    UpstreamTruncatedError,
    UpstreamUnreachableError,
)
from farthing.core.models import Deployment, Timeouts
from farthing.core.protocols import Answer, AnswerHead, Attempt
from farthing.providers.anthropic import AnthropicProvider
from farthing.providers.transport import Target
from farthing.testing.server import Peer, Script, Scripted, serving
from tests.providers.anthropic_answers import ERROR, OPEN, REQUEST, START, STREAM, TEXT, WHOLE

DEPLOYMENT = Deployment(
    name="claude", provider="anthropic", model="claude-opus-5-5", remote_name="claude-opus-5-5"
)
KEYS = {"ANTHROPIC_API_KEY": "sk-canary-key"}
SHORT = Timeouts(connect_s=2, first_byte_s=0.15, between_bytes_s=0.15, total_s=5)


def attempt(*, stream: bool = False, timeouts: Timeouts | None = None, **more: object) -> Attempt:
    return Attempt(
        call_id="call_1",
        deployment=DEPLOYMENT,
        dialect="anthropic-messages",
        body=REQUEST,
        stream=stream,
        timeouts=timeouts or Timeouts(),
        **more,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def reached(
    script: Script, *, environ: dict[str, str] | None = None, **settings: object
) -> AsyncIterator[tuple[AnthropicProvider, Scripted]]:
    """A provider whose vendor is the script."""
    async with serving(script) as server:
        provider = AnthropicProvider(
            "anthropic",
            Settings(type="anthropic", base_url=server.url, **settings),  # type: ignore[arg-type]
            environ or KEYS,
            SystemClock(),
        )
        try:
            yield provider, server
        finally:
            await provider.aclose()


async def collect(answer: Answer) -> list[Event]:
    return [event async for event in answer.events]


async def failing(provider: AnthropicProvider, asked: Attempt) -> FarthingError:
    """The error of an attempt that is read to its end."""
    with pytest.raises(FarthingError) as caught:
        async with provider.open(asked) as answer:
            await collect(answer)
    error = caught.value
    assert error.provider == "anthropic"
    assert error.deployment == "claude"
    assert "canary" not in str(error)
    return error


# --- answers ---


async def test_a_whole_answer_is_one_event_with_its_bytes_and_its_usage() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(
            WHOLE,
            more="request-id: req_7\r\nanthropic-ratelimit-tokens-remaining: 5\r\nset-cookie: a=b\r\n",
        )

    async with reached(script) as (provider, server):
        async with provider.open(attempt()) as answer:
            assert answer.head.request_id == "req_7"
            assert dict(answer.head.headers) == {
                "request-id": "req_7",
                "anthropic-ratelimit-tokens-remaining": "5",
            }
            events = await collect(answer)
            assert [event.kind for event in events] == [EventKind.WHOLE]
            assert events[0].wire == WHOLE
            assert answer.tally.usage is not None
            assert answer.tally.usage.input_tokens == 10
        asked = server.asked[0]
        assert asked.line == "POST /v1/messages HTTP/1.1"
        assert asked.body == REQUEST
        assert asked.headers["x-api-key"] == "sk-canary-key"
        assert asked.headers["accept-encoding"] == "identity"
        assert "cookie" not in asked.headers


async def test_a_header_is_found_by_its_name_if_it_is_one_that_is_kept() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(WHOLE, more="x-ms-region: a\r\nX-MS-Region: B\r\nset-cookie: a=b\r\n")

    async with reached(script) as (provider, _), provider.open(attempt()) as answer:
        assert answer.head.header("x-ms-region") == dict(answer.head.headers)["x-ms-region"] == "B"
        assert answer.head.header("set-cookie") is None
        assert answer.head.header("retry-after") is None
        given = AnswerHead(headers=(("a", "1"), ("a", "2")))
        assert given.header("a") == "2"
        assert given.header("b") is None


async def test_a_stream_gives_its_events_byte_for_byte_across_any_chunks() -> None:
    wire = b"".join(STREAM)

    async def script(peer: Peer) -> None:
        await peer.stream(*(wire[i : i + 7] for i in range(0, len(wire), 7)))

    async with reached(script) as (provider, _), provider.open(attempt(stream=True)) as answer:
        events = await collect(answer)
        assert b"".join(event.wire for event in events) == wire
        assert answer.tally.is_complete
        assert len(answer.tally.finish_reasons) == 1


async def test_the_connection_is_used_again_after_a_complete_answer() -> None:
    async def script(peer: Peer) -> None:
        if b"stream" in peer.asked.headers["accept"].encode():
            await peer.stream(*STREAM)
        else:
            await peer.answer(WHOLE)

    async with reached(script) as (provider, server):
        for stream in (False, True, False, True):
            async with provider.open(attempt(stream=stream)) as answer:
                await collect(answer)
        assert server.connections == 1


async def test_an_error_event_inside_a_stream_is_an_event_and_not_an_exception() -> None:
    async def script(peer: Peer) -> None:
        await peer.stream(START, OPEN, TEXT, ERROR)

    async with reached(script) as (provider, _), provider.open(attempt(stream=True)) as answer:
        kinds = []
        with pytest.raises(UpstreamTruncatedError):
            async for event in answer.events:
                kinds.append(event.kind)  # noqa: PERF401 -- it ends in an error
        assert kinds[-1] is EventKind.ERROR


async def test_a_gzipped_answer_is_unpacked_although_none_was_asked_for() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(gzip.compress(WHOLE), more="Content-Encoding: gzip\r\n")

    async with reached(script) as (provider, _), provider.open(attempt()) as answer:
        assert (await collect(answer))[0].wire == WHOLE


async def test_client_headers_pass_only_when_the_vendor_wants_them() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(WHOLE)

    headers = (("anthropic-beta", "x"), ("authorization", "Bearer client"), ("cookie", "c"))
    async with reached(
        script, headers={"X-Team": "env:TEAM"}, environ={**KEYS, "TEAM": "sales"}
    ) as (
        provider,
        server,
    ):
        async with provider.open(attempt(headers=headers)) as answer:
            await collect(answer)
        asked = server.asked[0].headers
        assert asked["anthropic-beta"] == "x"
        assert asked["x-team"] == "sales"
        assert "authorization" not in asked
        assert "cookie" not in asked


async def test_a_header_with_a_line_break_never_leaves() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(WHOLE)

    async with reached(script) as (provider, server):
        with pytest.raises(BadRequestError, match="line break"):
            async with provider.open(attempt(headers=(("anthropic-beta", "a\r\nx-api-key: b"),))):
                pass
        assert server.asked == []


# --- failures before the answer ---


async def test_a_refused_connection_is_unreachable_and_nothing_was_sent() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    settings = Settings(type="anthropic", base_url=f"http://127.0.0.1:{port}")
    provider = AnthropicProvider("anthropic", settings, KEYS, SystemClock())
    error = await failing(provider, attempt())
    await provider.aclose()
    assert isinstance(error, UpstreamUnreachableError)
    assert not error.was_sent
    assert "providers.anthropic.base_url" in str(error)


async def test_a_reset_before_the_head_is_unreachable_but_was_sent() -> None:
    async def script(peer: Peer) -> None:
        peer.reset()

    async with reached(script) as (provider, _):
        error = await failing(provider, attempt())
        assert isinstance(error, UpstreamUnreachableError)
        assert error.was_sent


async def test_silence_before_the_head_is_a_timeout_that_names_its_setting() -> None:
    async def script(peer: Peer) -> None:
        await peer.hung_up()

    async with reached(script) as (provider, _):
        error = await failing(provider, attempt(timeouts=SHORT))
        assert isinstance(error, UpstreamTimeoutError)
        assert "timeouts.first_byte_s" in str(error)


async def test_an_answer_that_is_not_http_is_a_protocol_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"canary canary canary\r\n\r\n")

    async with reached(script) as (provider, _):
        error = await failing(provider, attempt())
        assert isinstance(error, UpstreamProtocolError)
        assert "canary" not in repr(error.__cause__)


async def test_html_under_status_200_is_a_protocol_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"<html>canary</html>", kind="text/html; charset=utf-8")

    async with reached(script) as (provider, _):
        for stream in (False, True):
            error = await failing(provider, attempt(stream=stream))
            assert isinstance(error, UpstreamProtocolError)
            assert "text/html" in str(error)


async def test_a_redirect_is_not_followed() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"", status="302 Found", more="Location: http://127.0.0.1:1/\r\n")

    async with reached(script) as (provider, server):
        error = await failing(provider, attempt())
        assert isinstance(error, UpstreamProtocolError)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("429 Too Many Requests", UpstreamRateLimitedError),
        ("401 Unauthorized", UpstreamAuthError),
        ("500 Internal Server Error", UpstreamServerError),
        ("529 Overloaded", UpstreamServerError),
    ],
)
async def test_an_error_status_is_the_codecs_error_with_its_place(
    status: str, kind: type[UpstreamError]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(
            b'{"type":"error","error":{"type":"x","message":"canary"}}',
            status=status,
            more="request-id: req_9\r\nretry-after: 7\r\n",
        )

    async with reached(script) as (provider, _):
        error = await failing(provider, attempt())
        assert isinstance(error, kind)
        assert error.request_id == "req_9"
        assert error.upstream_status == int(status[:3])
        if kind is UpstreamRateLimitedError:
            assert error.retry_after_s == 7


async def test_a_html_error_page_is_judged_by_its_status() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"<html>canary" * 20_000, status="502 Bad Gateway", kind="text/html")

    async with reached(script) as (provider, _):
        assert isinstance(await failing(provider, attempt()), UpstreamServerError)


async def test_an_error_body_under_status_200_is_that_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b'{"error": {"code": 429, "message": "canary"}}')

    async with reached(script) as (provider, _):
        for stream in (False, True):
            error = await failing(provider, attempt(stream=stream))
            assert isinstance(error, UpstreamRateLimitedError)


async def test_one_json_body_where_a_stream_was_asked_for_is_a_protocol_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(WHOLE)

    async with reached(script) as (provider, _):
        assert isinstance(await failing(provider, attempt(stream=True)), UpstreamProtocolError)


# --- failures inside the answer ---


async def test_a_reset_in_the_middle_of_a_whole_answer_is_truncated() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"
        )
        peer.reset()

    async with reached(script) as (provider, _):
        assert isinstance(await failing(provider, attempt()), UpstreamTruncatedError)


async def test_fewer_bytes_than_promised_are_truncated() -> None:
    async def script(peer: Peer) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(WHOLE) + 9}\r\n\r\n"
        await peer.say(head.encode() + WHOLE)
        peer.writer.close()

    async with reached(script) as (provider, _):
        assert isinstance(await failing(provider, attempt()), UpstreamTruncatedError)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("way", ["reset", "close", "proper end", "half a frame"])
async def test_a_stream_that_stops_before_its_end_is_truncated(count: int, way: str) -> None:
    async def script(peer: Peer) -> None:
        frames = list(STREAM[:count])
        if way == "half a frame":
            frames.append(STREAM[count][:9])
        await peer.stream(*frames, ends=way in ("proper end", "half a frame"))
        if way == "reset":
            peer.reset()
        elif way == "close":
            peer.writer.close()

    async with reached(script) as (provider, _):
        error = await failing(provider, attempt(stream=True))
        # A reset right after the head may overtake it.
        assert isinstance(error, UpstreamTruncatedError | UpstreamUnreachableError)


async def test_silence_inside_a_stream_is_a_timeout_that_names_its_setting() -> None:
    async def script(peer: Peer) -> None:
        await peer.stream(START, OPEN, TEXT, ends=False)
        await peer.hung_up()

    async with reached(script) as (provider, _):
        error = await failing(provider, attempt(stream=True, timeouts=SHORT))
        assert isinstance(error, UpstreamTimeoutError)
        assert "timeouts.between_bytes_s" in str(error)


async def test_a_slow_drip_ends_at_the_total_timeout() -> None:
    async def script(peer: Peer) -> None:
        await peer.stream(START, OPEN, ends=False)
        while not peer.writer.transport.is_closing():
            await peer.say(f"{len(TEXT):x}\r\n".encode() + TEXT + b"\r\n")
            await asyncio.sleep(0.01)

    timeouts = Timeouts(connect_s=2, first_byte_s=2, between_bytes_s=2, total_s=0.2)
    async with reached(script) as (provider, _):
        error = await failing(provider, attempt(stream=True, timeouts=timeouts))
        assert isinstance(error, UpstreamTimeoutError)
        assert "timeouts.total_s" in str(error)


async def test_a_complete_stream_whose_server_keeps_the_connection_open_is_complete() -> None:
    async def script(peer: Peer) -> None:
        await peer.stream(*STREAM, ends=False)
        await peer.hung_up()

    async with reached(script) as (provider, _), provider.open(attempt(stream=True)) as answer:
        assert b"".join(event.wire for event in await collect(answer)) == b"".join(STREAM)


@pytest.mark.parametrize("encoding", ["br", "zstd"])
async def test_a_compression_that_was_not_asked_for_is_refused(encoding: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"\x00\x01", more=f"Content-Encoding: {encoding}\r\n")

    async with reached(script) as (provider, _):
        assert isinstance(await failing(provider, attempt()), UpstreamProtocolError)


async def test_broken_and_unfinished_gzip_are_errors() -> None:
    bodies = [b"not gzip at all", gzip.compress(WHOLE)[:-12]]

    async def script(peer: Peer) -> None:
        await peer.answer(bodies.pop(0), more="Content-Encoding: gzip\r\n")

    async with reached(script) as (provider, _):
        assert isinstance(await failing(provider, attempt()), UpstreamProtocolError)
        assert isinstance(await failing(provider, attempt()), UpstreamTruncatedError)


async def test_a_gzip_bomb_is_told_by_its_swelling_long_before_the_size_limit() -> None:
    bomb = gzip.compress(b" " * 100_000_000, compresslevel=1)

    async def script(peer: Peer) -> None:
        await peer.answer(bomb, more="Content-Encoding: gzip\r\n")

    async with reached(script) as (provider, _):
        error = await failing(provider, attempt())
        assert isinstance(error, UpstreamProtocolError)
        assert "swells" in str(error)


async def test_well_compressed_text_is_no_bomb() -> None:
    padded = WHOLE[:-1] + b" " * 3_000_000 + WHOLE[-1:]

    async def script(peer: Peer) -> None:
        await peer.answer(gzip.compress(padded), more="Content-Encoding: gzip\r\n")

    async with reached(script) as (provider, _), provider.open(attempt()) as answer:
        assert (await collect(answer))[0].wire == padded


async def test_a_gzip_bomb_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farthing.providers.transport.MAX_ANSWER_BYTES", 3_000_000)
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(b" " * 20_000_000) + packer.flush()

    async def script(peer: Peer) -> None:
        await peer.answer(bomb, more="Content-Encoding: gzip\r\n")

    async with reached(script) as (provider, _):
        error = await failing(provider, attempt())
        assert isinstance(error, UpstreamProtocolError)
        assert "cut off" in str(error)


# --- leaving early, and leaks ---


@pytest.mark.parametrize("count", range(len(STREAM)))
async def test_leaving_after_any_event_hangs_up_at_once(count: int) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.stream(*STREAM[:-1], ends=False)
        if await peer.hung_up():
            gone.set()

    async with reached(script) as (provider, _):
        async with provider.open(attempt(stream=True)) as answer:
            seen = 0
            while seen < count:
                await anext(answer.events)
                seen += 1
        async with asyncio.timeout(2):
            await gone.wait()


async def test_cancelling_a_reader_hangs_up_and_leaves_no_task() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.stream(START, ends=False)
        if await peer.hung_up():
            gone.set()

    async def read(provider: AnthropicProvider, started: asyncio.Event) -> None:
        async with provider.open(attempt(stream=True)) as answer:
            async for _ in answer.events:
                started.set()

    async with reached(script) as (provider, _):
        started = asyncio.Event()
        task = asyncio.create_task(read(provider, started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(2):
            await gone.wait()


async def test_no_connection_and_no_task_outlives_the_provider() -> None:
    async def script(peer: Peer) -> None:
        await peer.stream(*STREAM)

    before = asyncio.all_tasks()
    async with serving(script) as server:
        settings = Settings(type="anthropic", base_url=server.url)
        provider = AnthropicProvider("anthropic", settings, KEYS, SystemClock())

        async def one() -> None:
            async with provider.open(attempt(stream=True)) as answer:
                await collect(answer)

        await asyncio.gather(*(one() for _ in range(20)))
        await provider.aclose()
        await provider.aclose()
        async with asyncio.timeout(2):
            while server.open_now:
                await asyncio.sleep(0)
    gc.collect()  # an unclosed transport would warn here, and warnings are errors
    assert {task for task in asyncio.all_tasks() - before if "serv" not in repr(task)} == set()


async def test_calls_beyond_max_connections_wait_and_then_say_which_setting_to_raise() -> None:
    release = asyncio.Event()

    async def script(peer: Peer) -> None:
        await release.wait()
        await peer.answer(WHOLE)

    async with reached(script, max_connections=1) as (provider, server):

        async def first() -> None:
            async with provider.open(attempt()) as answer:
                await collect(answer)

        running = asyncio.create_task(first())
        while not server.asked:
            await asyncio.sleep(0)
        error = await failing(provider, attempt(timeouts=SHORT))
        assert isinstance(error, UpstreamTimeoutError)
        assert not error.was_sent
        assert "max_connections" in str(error)
        release.set()
        await running


# --- keys and addresses ---


async def test_a_missing_key_names_its_variable_and_sends_nothing() -> None:
    settings = Settings(type="anthropic", base_url="http://127.0.0.1:1")
    provider = AnthropicProvider("anthropic", settings, {}, SystemClock())
    with pytest.raises(UpstreamAuthError, match="ANTHROPIC_API_KEY is not set") as caught:
        async with provider.open(attempt()):
            pass
    assert not caught.value.was_sent


async def test_a_rejected_key_is_looked_up_again(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "key"
    file.write_text("old\n")

    async def script(peer: Peer) -> None:
        if peer.asked.headers["x-api-key"] == "new":
            await peer.answer(WHOLE)
        else:
            await peer.answer(b"{}", status="401 Unauthorized")

    async with reached(script, key=f"file:{file}") as (provider, _):
        assert isinstance(await failing(provider, attempt()), UpstreamAuthError)
        file.write_text("new\n")
        async with provider.open(attempt()) as answer:
            await collect(answer)


@pytest.mark.parametrize("is_lasting", [True, False])
async def test_a_target_is_asked_for_again_unless_it_lasts(is_lasting: bool) -> None:
    asked: list[str] = []

    class Counting(AnthropicProvider):
        async def target(self, attempt: Attempt) -> Target:
            asked.append(attempt.dialect)
            headers = {"x-api-key": f"key {len(asked)}"}
            return Target(url=f"{self.base_url}/m", headers=headers, is_lasting=is_lasting)

    async def script(peer: Peer) -> None:
        await peer.answer(WHOLE)

    async with serving(script) as server:
        settings = Settings(type="anthropic", base_url=server.url)
        provider = Counting("anthropic", settings, KEYS, SystemClock())
        for _ in range(3):
            async with provider.open(attempt()) as answer:
                await collect(answer)
        provider.auth_rejected()
        async with provider.open(attempt()) as answer:
            await collect(answer)
        await provider.aclose()
        keys = [one.headers["x-api-key"] for one in server.asked]
    assert keys == [f"key {n}" for n in ([1, 1, 1, 2] if is_lasting else [1, 2, 3, 4])]


@pytest.mark.parametrize(
    "address",
    ["ftp://x", "api.example.com", "https://user:pw@example.com", "https://x.example/v1?a=b"],
)
def test_an_unusable_address_is_a_config_error(address: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        AnthropicProvider("a", Settings(type="anthropic", base_url=address), {}, SystemClock())


async def test_the_vendors_list_of_models_is_read() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b'{"data": [{"id": "b"}, {"id": "a"}]}')

    async with reached(script) as (provider, server):
        assert await provider.models() == ("a", "b")
        assert server.asked[0].line.startswith("GET /v1/models?")
