"""Finds data sets that are too large for the repository, or skips the test that wants them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared"


def shared_data(*parts: str) -> Path:
    """The file or folder `parts` below FARTHING_SHARED, or below `shared` beside the repository.

    Skips the running test when it is not there: the data is optional, in CI as well.
    """
    path = shared_path(*parts)
    if path is None:
        pytest.skip(f"Shared data {'/'.join(parts)} is absent; FARTHING_SHARED names its folder.")
    return path


def shared_path(*parts: str) -> Path | None:
    """The same file or folder for a benchmark, which decides itself what its absence means."""
    root = Path(os.environ.get("FARTHING_SHARED") or _BESIDE_THE_REPOSITORY)
    path = root.joinpath(*parts)
    return path if path.exists() else None
