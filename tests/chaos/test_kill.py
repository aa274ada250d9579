"""kill -9 under load: no complete call is lost, none is booked twice, and nothing billed is uncovered."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks._kills import Outcome, run

KILLS = 10


def check(outcome: Outcome) -> None:
    """The laws, and that there was something to judge."""
    assert outcome.calls_complete > 100
    assert outcome.missing == 0
    assert outcome.doubled == 0
    assert outcome.uncovered == 0
    assert outcome.wrong == 0
    assert outcome.budget_difference == 0
    assert outcome.difference == 0


def test_nothing_is_lost_on_sqlite(tmp_path: Path) -> None:
    check(run(f"sqlite:{tmp_path / 'kills.db'}", tmp_path, kills=KILLS))


def test_nothing_is_lost_by_two_workers_on_sqlite(tmp_path: Path) -> None:
    check(run(f"sqlite:{tmp_path / 'kills.db'}", tmp_path, kills=KILLS, workers=2))


@pytest.mark.service
def test_nothing_is_lost_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    check(run(postgres_url, tmp_path, kills=KILLS))
