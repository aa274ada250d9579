"""The generated reference pages say what the code says."""

from __future__ import annotations

import subprocess
import sys

from tests.house.source import ROOT


def test_the_reference_is_what_the_code_says() -> None:
    run = subprocess.run(
        [sys.executable, "tools/generate_reference.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
