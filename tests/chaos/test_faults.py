"""The gateway never lies: a broken provider is an error or another deployment's answer, and never a `stop`.

The whole menu in every position is `benchmarks/faults.py`; here each fault runs once per shape.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks._faultworld import Lane, lanes, truth
from benchmarks._speakers import CHAT, GENERATE, MESSAGES, RESPONSES, SPEAKERS, Seen, read
from benchmarks.faults import BOMB_PEAK_MB, Case, Outcome, Setup, bomb_megabytes, judge, measure
from farthing.sim.faults import MENU
from farthing.sim.scenario import Flavour, Where
from farthing.sim.script import Script, Step

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

_HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
_STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("clients", "flavour"),
    [((CHAT, MESSAGES), "openai"), ((CHAT, GENERATE), "anthropic"), ((RESPONSES,), "google")],
)
async def test_no_fault_becomes_an_answer_a_leak_or_a_second_charge(
    clients: tuple[str, ...], flavour: Flavour
) -> None:
    chosen = lanes(clients, [flavour])
    faults = [name for name in MENU if name != "gzip_bomb"]
    figures, outcomes = await measure(chosen, faults, ("middle",))
    assert len(outcomes) == len(chosen) * len(faults) * 8
    assert not [f"{judge(outcome)}: {outcome.case}" for outcome in outcomes if judge(outcome)]
    for name in ("leaked_calls", "leaked_tasks", "leaked_connections", "unsettled_calls"):
        assert figures[name] == 0, name
    assert figures["failovers"] > 40 * len(chosen)


async def test_a_bomb_is_refused_in_every_dialect() -> None:
    figures, outcomes = await measure(lanes(SPEAKERS, ["openai"]), ["gzip_bomb"], ("middle",))
    assert not [f"{judge(outcome)}: {outcome.case}" for outcome in outcomes if judge(outcome)]
    assert figures["leaked_calls"] == figures["unsettled_calls"] == 0


async def test_a_bomb_is_told_before_it_is_unpacked() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux shows a process's peak")
    assert await bomb_megabytes(Lane(CHAT, "openai")) < BOMB_PEAK_MB


@pytest.mark.parametrize("where", ["first", "last"])
async def test_a_stream_that_is_cut_at_its_ends_is_reported(where: Where) -> None:
    faults = ("reset_mid_body", "reset_mid_event", "close_mid_body", "early_end", "missing_done")
    figures, outcomes = await measure(lanes([CHAT, MESSAGES], ["azure"]), faults, (where,))
    assert not [outcome.case for outcome in outcomes if judge(outcome)]
    assert figures["unsettled_calls"] == 0


class TestTheJudge:
    """It finds the lies that it is there to find."""

    def outcome(self, body: bytes, sent: bytes, *, setup: Setup = "alone") -> list[str]:
        case = Case(
            lane=Lane(CHAT, "openai"),
            fault="early_end",
            where="middle",
            stream=True,
            setup=setup,
        )
        headers = (("content-type", "text/event-stream"),)
        script = Script(status=200, headers=headers, steps=(Step(data=sent),), is_stream=True)
        return judge(
            Outcome(
                case=case,
                status=200,
                seen=read(CHAT, body, stream=True),
                call_id="call_1",
                broken=[truth("/v1/chat/completions", script)],
            )
        )

    def test_a_stop_that_nobody_sent_is_fabricated(self) -> None:
        assert self.outcome(_HELLO + _STOP, _HELLO) == ["fabricated_stops"]

    def test_a_stop_beside_an_error_is_fabricated_as_well(self) -> None:
        error = b'data: {"error":{"message":"broken"}}\n\n'
        assert self.outcome(_HELLO + _STOP + error, _HELLO) == ["fabricated_stops"]

    def test_a_shorter_text_is_truncated(self) -> None:
        assert self.outcome(_HELLO + _STOP, _HELLO + _HELLO + _STOP) == ["truncated_as_complete"]

    def test_a_quiet_end_is_truncated(self) -> None:
        assert self.outcome(_HELLO, _HELLO) == ["truncated_as_complete"]

    def test_a_lost_call_with_a_healthy_deployment_is_a_failed_failover(self) -> None:
        error = b'data: {"error":{"message":"broken"}}\n\n'
        assert self.outcome(error, b"", setup="pair") == ["failovers_failed"]

    def test_the_truth_passes(self) -> None:
        assert self.outcome(_HELLO + _STOP, _HELLO + _STOP) == []

    def test_what_lies_behind_a_cut_or_a_declared_length_was_not_sent(self) -> None:
        headers = (("content-type", "text/event-stream"),)
        steps = (Step(data=_HELLO, act="reset"), Step(data=_STOP))
        cut = Script(status=200, headers=headers, steps=steps, is_stream=True)
        assert truth("/v1/chat/completions", cut) == Seen(text="Hello")
        short = Script(status=200, headers=headers, steps=(Step(data=_STOP),), length=20)
        assert truth("/v1/chat/completions", short).finish is None
