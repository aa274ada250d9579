"""Faults on real sockets: what a client really sees, and what it is billed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from farthing.sim.http import Simulator
from tests.sim.worlds import scenario

CHAT = "/v1/chat/completions"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(scenario()) as simulator:
        yield simulator


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


def _request(path: str, body: object = None, method: str = "POST", fault: str = "") -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n"
    if fault:
        head += f"x-sim-fault: {fault}\r\n"
    return f"{head}connection: close\r\n\r\n".encode() + data


def _chat(*, stream: bool, text: str = "one two three four five six") -> dict[str, object]:
    return {
        "model": "small",
        "messages": [{"role": "user", "content": text}],
        "stream": stream,
        "stream_options": {"include_usage": True} if stream else None,
    }


async def _raw(sim: Simulator, fault: str, *, stream: bool) -> tuple[bytes, bool]:
    """All bytes that arrive, and whether the end was a reset."""
    reader, writer = await _connect(sim.url("here"))
    writer.write(_request(CHAT, _chat(stream=stream), fault=fault))
    received, is_reset = b"", False
    try:
        while chunk := await reader.read(65536):
            received += chunk
    except ConnectionResetError:
        is_reset = True
    writer.close()
    return received, is_reset


async def _get(url: str, path: str) -> bytes:
    reader, writer = await _connect(url)
    writer.write(_request(path, method="GET"))
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


async def test_a_healthy_stream_ends_with_usage_done_and_the_last_chunk(sim: Simulator) -> None:
    received, is_reset = await _raw(sim, "", stream=True)
    assert not is_reset
    assert received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert received.count(b'"usage":{') == 1


async def test_every_answer_says_that_it_is_simulated(sim: Simulator) -> None:
    received, _ = await _raw(sim, "", stream=False)
    assert b"x-farthing-simulated: true\r\n" in received
    assert b'"content":"[simulated] ' in received
    assert b'"system_fingerprint":"farthing-sim"' in received


async def test_a_killed_region_refuses_and_a_revived_one_keeps_its_port(sim: Simulator) -> None:
    url = sim.url("here")
    await sim.set_alive("here", False)
    with pytest.raises(ConnectionRefusedError):
        await _connect(url)
    await sim.set_alive("here", True)
    assert b'"small"' in await _get(url, "/v1/models")


async def test_killing_a_region_cuts_its_open_connections(sim: Simulator) -> None:
    reader, writer = await _connect(sim.url("here"))
    writer.write(_request(CHAT, _chat(stream=True), fault="silence"))
    await reader.readuntil(b"\r\n\r\n")
    await sim.set_alive("here", False)
    with pytest.raises(ConnectionResetError):
        while await reader.read(65536):
            pass
    writer.close()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["reset_before_headers", "refused"])
async def test_a_reset_before_headers_sends_nothing_and_bills_nothing(
    sim: Simulator, fault: str, stream: bool
) -> None:
    assert await _raw(sim, fault, stream=stream) == (b"", True)
    assert sim.invoice.rows == []


@pytest.mark.parametrize("stream", [True, False])
async def test_a_reset_after_headers_sends_the_head_only(sim: Simulator, stream: bool) -> None:
    received, is_reset = await _raw(sim, "reset_after_headers", stream=stream)
    assert is_reset
    assert received.startswith(b"HTTP/1.1 200") and received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("where", ["first", "middle", "last"])
async def test_a_reset_between_events_leaves_whole_events(sim: Simulator, where: str) -> None:
    received, is_reset = await _raw(sim, f"reset_mid_body@{where}", stream=True)
    assert is_reset
    assert received.endswith(b"\n\n\r\n")
    assert b'"finish_reason":"stop"' not in received
    contents = received.count(b'"delta":{"content":"')
    assert (contents == 0) == (where == "first")
    assert sim.invoice.rows[0].usage.output_tokens == contents


@pytest.mark.parametrize("where", ["first", "middle", "last"])
async def test_a_reset_inside_an_event_leaves_a_torn_one(sim: Simulator, where: str) -> None:
    received, is_reset = await _raw(sim, f"reset_mid_event@{where}", stream=True)
    assert is_reset
    assert not received.endswith(b"\n\n\r\n")


@pytest.mark.parametrize("where", ["first", "middle", "last"])
async def test_a_reset_inside_a_whole_body_leaves_it_short_and_bills_it(
    sim: Simulator, where: str
) -> None:
    received, is_reset = await _raw(sim, f"reset_mid_body@{where}", stream=False)
    head, _, body = received.partition(b"\r\n\r\n")
    declared = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert is_reset and 0 < len(body) < declared
    assert sim.invoice.rows[0].usage.output_tokens > 0


async def test_a_clean_close_leaves_the_chunked_body_open(sim: Simulator) -> None:
    received, is_reset = await _raw(sim, "close_mid_body", stream=True)
    assert not is_reset
    assert not received.endswith(b"0\r\n\r\n")


async def test_an_early_end_looks_complete_to_http_only(sim: Simulator) -> None:
    received, _ = await _raw(sim, "early_end", stream=True)
    assert received.endswith(b"\r\n0\r\n\r\n")
    assert b"[DONE]" not in received


@pytest.mark.parametrize("fault", ["black_hole", "silence@first", "silence@middle"])
async def test_silence_lasts_until_the_client_leaves(sim: Simulator, fault: str) -> None:
    reader, writer = await _connect(sim.url("here"))
    writer.write(_request(CHAT, _chat(stream=True), fault=fault))
    if fault != "black_hole":
        await reader.readuntil(b"\r\n\r\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            while await reader.read(65536):
                pass
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(("fault", "status"), [("html_502", 502), ("html_200", 200)])
async def test_html_comes_where_json_was_asked(sim: Simulator, fault: str, status: int) -> None:
    received, _ = await _raw(sim, fault, stream=True)
    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"content-type: text/html\r\n" in received and b"<!DOCTYPE html>" in received


@pytest.mark.parametrize(
    "fault", ["truncated_json_400", "truncated_json_500", "truncated_json_200"]
)
async def test_truncated_json_has_the_right_length_and_no_end(sim: Simulator, fault: str) -> None:
    received, _ = await _raw(sim, fault, stream=False)
    with pytest.raises(json.JSONDecodeError):
        json.loads(received.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    ("fault", "difference"), [("long_content_length", 64), ("short_content_length", -16)]
)
async def test_a_wrong_content_length_is_off_by_what_the_menu_says(
    sim: Simulator, fault: str, difference: int
) -> None:
    head, _, body = (await _raw(sim, fault, stream=False))[0].partition(b"\r\n\r\n")
    declared = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert declared - len(body) == difference


@pytest.mark.slow
async def test_a_gzip_bomb_is_small_on_the_wire(sim: Simulator) -> None:
    received, _ = await _raw(sim, "gzip_bomb", stream=False)
    assert b"content-encoding: gzip\r\n" in received
    assert len(received) < 200_000


@pytest.mark.parametrize(("fault", "times"), [("duplicate_done", 2), ("missing_done", 0)])
async def test_the_end_mark_comes_twice_or_never(sim: Simulator, fault: str, times: int) -> None:
    received, _ = await _raw(sim, fault, stream=True)
    assert received.count(b"data: [DONE]\n\n") == times


@pytest.mark.parametrize("stream", [True, False])
async def test_missing_usage_is_missing_from_the_answer_and_stands_on_the_invoice(
    sim: Simulator, stream: bool
) -> None:
    received, _ = await _raw(sim, "missing_usage", stream=stream)
    assert b'"usage"' not in received
    assert sim.invoice.rows[0].usage.output_tokens > 0


async def test_an_error_inside_the_stream_comes_under_status_200(sim: Simulator) -> None:
    received, _ = await _raw(sim, "error_in_stream", stream=True)
    assert received.startswith(b"HTTP/1.1 200")
    assert b'data: {"error":' in received and b"[DONE]" not in received


async def test_an_unknown_fault_is_refused(sim: Simulator) -> None:
    received, _ = await _raw(sim, "gremlins", stream=False)
    assert received.startswith(b"HTTP/1.1 400") and b"farthing sim faults" in received


async def test_a_client_that_leaves_is_billed_input_and_what_was_generated(sim: Simulator) -> None:
    reader, writer = await _connect(sim.url("here"))
    writer.write(_request(CHAT, _chat(stream=True, text="sim:long=200"), fault="slow_drip@middle"))
    await reader.readuntil(b'"content":"')
    writer.transport.abort()
    while not sim.invoice.rows:
        await asyncio.sleep(0.001)
    row = sim.invoice.rows[0]
    assert row.is_aborted and row.outcome == "aborted"
    assert row.usage.input_tokens > 0 and 0 < row.usage.output_tokens < 200


async def test_connections_are_kept_and_requests_in_one_packet_answered_in_order(
    sim: Simulator,
) -> None:
    reader, writer = await _connect(sim.url("here"))
    one = _request("/v1/models", method="GET").replace(b"connection: close\r\n", b"")
    writer.write(one + _request("/v1/models/small", method="GET"))
    received = await reader.read()
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.index(b'"list"') < received.rindex(b'"id":"small"')
    writer.close()


async def test_bytes_that_are_no_http_get_a_400(sim: Simulator) -> None:
    reader, writer = await _connect(sim.url("here"))
    writer.write(b"\x16\x03\x01 not http\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()


async def test_the_control_port_shows_state_and_invoice(sim: Simulator) -> None:
    await _raw(sim, "", stream=False)
    state = json.loads(await _get(sim.control_url, "/_sim/state"))
    assert state["regions"]["here"]["served"] == 1
    rows = (await _get(sim.control_url, "/_sim/invoice")).splitlines()
    assert [json.loads(row)["outcome"] for row in rows] == ["complete"]


async def test_the_control_port_sets_faults_and_names_near_ones(sim: Simulator) -> None:
    async def post(path: str, body: object) -> bytes:
        reader, writer = await _connect(sim.control_url)
        writer.write(_request(path, body))
        answer = await reader.read()
        writer.close()
        return answer

    assert b"Did you mean 'html_502'" in await post(
        "/_sim/faults", {"faults": [{"name": "html_52"}]}
    )
    assert b"200 OK" in await post("/_sim/faults", {"faults": [{"name": "html_502"}]})
    assert (await _raw(sim, "", stream=False))[0].startswith(b"HTTP/1.1 502")
    assert b"404" in await post("/_sim/regions/hear", {"is_alive": False})
    await post("/_sim/regions/here", {"is_alive": False})
    while sim.regions["here"].is_alive:
        await asyncio.sleep(0)
