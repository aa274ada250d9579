"""Accounts on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database's storage.url; each test runs on SQLite and on Postgres."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'farthing.db'}"
    return str(request.getfixturevalue("postgres_url"))
