"""Each mistake in a settings file or command: its exit code, and a message that says what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.mistaken_commands import TABLE, Slip, run
from tests.mistakes import PAGE, is_on_page, masked, row
from tests.server import mistaken_requests


@pytest.mark.parametrize("slip", TABLE, ids=lambda slip: slip.did)
def test_a_mistake_is_told_with_what_to_do_next(slip: Slip, tmp_path: Path) -> None:
    if "/proc/" in (slip.toml or "") and not Path("/proc/self").exists():
        pytest.skip("This system has no /proc, a folder where nobody may write.")
    code, printed = run(slip, tmp_path)
    message = masked(printed, tmp_path)
    missing = [part for part in slip.parts if part not in message]
    assert not missing, message
    assert code == slip.code
    assert "Traceback" not in printed
    assert is_on_page(line(slip, message)), "run tools/generate_mistakes.py"


def test_the_page_has_a_line_for_each_mistake_and_no_other() -> None:
    rows = PAGE.read_text(encoding="utf-8").count("\n| A caller ")
    assert rows == len(mistaken_requests.TABLE)
    assert PAGE.read_text(encoding="utf-8").count("\n| Somebody ") == len(TABLE)


def line(slip: Slip, message: str) -> str:
    """The mistake's line on the page."""
    return row(f"Somebody {slip.did}", f"exit {slip.code}", message)


def lines(folder: Path) -> list[str]:
    """All lines of the page that this table writes."""
    written = []
    for number, slip in enumerate(TABLE):
        here = folder / str(number)
        here.mkdir()
        written.append(line(slip, masked(run(slip, here)[1], here)))
    return written
