"""The profile by stage names every room on a call's path, also the rooms that are built after it."""

from __future__ import annotations

from benchmarks.profile_stages import STAGES, stage_of
from tests.house.source import modules

#: Off the path of a call, or spread over it in pieces too small to name.
ELSEWHERE = {"__main__", "base", "cli", "flows", "sim", "templates", "testing"}
REST = "the rest of Farthing"


def test_every_room_on_the_path_of_a_call_belongs_to_a_stage() -> None:
    lost = [
        module.name
        for module in modules()
        if module.room and module.room not in ELSEWHERE and stage_of(module.name) == REST
    ]
    assert not lost


def test_the_longest_beginning_of_a_name_decides() -> None:
    assert stage_of("farthing.server.faces.openai").startswith("faces")
    assert stage_of("farthing.server.listener").startswith("edge")
    assert stage_of("farthing.wire.upstream.pool").startswith("upstream")
    assert stage_of("farthing.wire.sse").startswith("codecs")
    assert stage_of("farthing.servers") == REST


def test_no_beginning_stands_in_two_stages() -> None:
    beginnings = [each for stage in STAGES.values() for each in stage]
    assert len(beginnings) == len(set(beginnings))
