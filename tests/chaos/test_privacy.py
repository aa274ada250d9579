"""Nothing private is kept. Twenty thousand requests are `benchmarks/privacy.py`; here are a few hundred."""

from __future__ import annotations

import base64
from collections import Counter

import pytest

from benchmarks._canaries import KINDS, Marker, Writer
from benchmarks.privacy import Findings, Search, measure

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

WORD = "cnry0123abcd"


async def test_no_text_and_no_key_is_kept_or_told_to_others() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the otel extra is absent")
    findings = await measure(300, concurrency=8, seed=2)
    assert not findings.canaries, findings.examples
    assert not findings.keys
    assert findings.done["core_files"] == 0
    assert findings.statuses[200] > 150, findings.statuses
    assert not {500, 501} & set(findings.statuses)
    for searched in ("otlp_exports", "access_lines", "hang_ups"):
        assert findings.done[searched], searched


class TestTheSearch:
    """It finds what it is there to find."""

    @pytest.mark.parametrize("padding", range(3))
    def test_a_canary_is_found_in_base64_at_every_alignment(self, padding: int) -> None:
        data = base64.b64encode(b"." * padding + f"{WORD}000001s and more".encode())
        assert Marker(WORD).count(data) == 1

    @pytest.mark.parametrize(
        "data",
        [
            f'{{"a":"{WORD}000001s"}}'.encode(),
            f"{WORD}000001s".upper().encode(),
            f"{WORD}000001s".encode().hex().encode(),
            f"{WORD}000001s".encode("utf-16-le"),
            f"a=%22{WORD}000001s%22".encode(),
        ],
    )
    def test_a_canary_is_found_as_text_writes_it(self, data: bytes) -> None:
        assert Marker(WORD).count(data) == 1

    def test_only_other_requests_canaries_are_strangers(self) -> None:
        said = f"{WORD}000001s {WORD}000002s".encode()
        assert Marker(WORD).strangers(said, 1) == 1

    def test_a_find_names_its_place_and_shows_its_surroundings(self) -> None:
        search = Search(Marker(WORD), Findings())
        search.look("the log", f"saw {WORD}000001u today".encode())
        assert search.findings.canaries == Counter({"the log": 1})
        assert "today" in search.findings.examples[0]


def test_every_kind_of_request_carries_canaries_in_body_or_path() -> None:
    marker = Marker(WORD)
    writer = Writer(marker, {"chat": ("m",), "embed": ("e",)}, ("fk-key",), seed=1)
    written = [writer.request(number) for number in range(300)]
    assert len({each.path.partition("?")[0] for each in written}) >= len(KINDS)
    for each in written:
        said = each.path.encode() + each.body + repr(each.headers).encode()
        assert marker.count(said), each.path
