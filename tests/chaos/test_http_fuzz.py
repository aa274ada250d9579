"""The edge draws the borders of requests where h11 and nginx draw them, or refuses.

`benchmarks/http_fuzz.py` reads hundreds of thousands of cases; here are the first few thousand, and the
numbers that once showed a difference.
"""

from __future__ import annotations

from time import monotonic

import pytest

from benchmarks._http_cases import requests
from benchmarks._http_readers import h11s, ours
from benchmarks.http_fuzz import Tally, against_h11, against_nginx

#: Several `Connection` lines, of which only the last was read; and one that ended in a bare LF, which was
#: waited for instead of refused.
ONCE_DIFFERENT = (1075, 1186, 76311)


def test_h11_sees_the_same_requests() -> None:
    tally = Tally()
    against_h11(range(3_000), tally, monotonic() + 120)
    assert tally.counts["cases_h11"] == 3_000
    assert tally.counts["splits"] > 2_000
    assert not tally.disagreements
    # What it refuses and we do not: empty lines before the first request, which RFC 9112 asks to ignore.
    assert tally.counts["refused_by_h11_only"] < 10


async def test_nginx_sees_the_same_requests() -> None:
    tally = Tally()
    if not await against_nginx(range(1_500), tally, monotonic() + 120):
        pytest.skip("there is no nginx here")
    assert tally.counts["cases_nginx"] == 1_500
    assert not tally.disagreements


@pytest.mark.parametrize("number", ONCE_DIFFERENT)
def test_what_was_read_differently_once_is_read_alike(number: int) -> None:
    data = requests(number)
    us = ours([data])
    assert us.is_refused or us.messages == h11s([data]).messages
