"""Documentation holds: links lead somewhere, and examples marked runnable run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT

PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("examples/**/*.md"),
]
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")
FENCE = re.compile(r"^```\w+[^\n]*\n.*?^```", re.MULTILINE | re.DOTALL)
RUNNABLE = re.compile(r"^<!-- runnable -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _runnable() -> list[object]:
    """Python below `<!-- runnable -->`: each block is a program that needs nothing but farthing."""
    return [
        pytest.param(match[1], id=f"{page.relative_to(ROOT)}:{number}")
        for page in PAGES
        for number, match in enumerate(RUNNABLE.finditer(page.read_text(encoding="utf-8")))
    ]


def test_every_link_between_pages_leads_to_a_file() -> None:
    dead = [
        f"{page.relative_to(ROOT)} → {target}"
        for page in PAGES
        for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
        if not (page.parent / target).exists()
    ]
    assert not dead


@pytest.mark.parametrize("program", _runnable())
def test_runnable_examples_run(program: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
