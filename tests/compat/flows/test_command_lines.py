"""The command lines of prompt flow's READMEs, guides and notebooks are kept, and typed here they end as they did there.

FARTHING_TEST_PROMPTFLOW names a checkout of microsoft/promptflow. The exit codes of the original are in
`sessions.json`, which `tools/record_promptflow.py CHECKOUT --sessions` writes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.compat.flows import cases
from tests.compat.flows.commands import KEPT, commands, normalised
from tests.compat.flows.sessions import sessions, typed

CHECKOUT = Path(os.environ.get("FARTHING_TEST_PROMPTFLOW") or "nowhere")
EXPECTED: dict[str, dict[str, int]] = json.loads(
    (Path(__file__).parent / "sessions.json").read_text(encoding="utf-8")
)
#: Lines that end in another way here, and why that is right.
_BLANK = "pf connection create -f custom.yml --set 'configs.key1=<your_api_key>'"
_UNFILLED = "A secret that the file leaves blank is asked for; where nobody can be asked, prompt flow keeps the blank."
DIFFERENCES: dict[tuple[str, str], str] = {
    ("examples/connections", _BLANK): _UNFILLED,
    ("examples/connections", "pf connection show --name custom_connection"): _UNFILLED,
}

pytestmark = [
    pytest.mark.compat,
    pytest.mark.skipif(
        not CHECKOUT.is_dir(),
        reason="FARTHING_TEST_PROMPTFLOW names no checkout of microsoft/promptflow",
    ),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases.copied(CHECKOUT, tmp_path_factory.mktemp("typed") / "checkout").resolve()


def test_every_line_of_the_checkout_is_kept() -> None:
    found = {normalised(each.line) for each in commands(CHECKOUT)}
    assert len(found) >= 150
    assert found <= set(KEPT.read_text(encoding="utf-8").splitlines())


def test_sixty_lines_are_compared() -> None:
    assert sum(len(lines) for lines in EXPECTED.values()) >= 60
    assert {folder: list(lines) for folder, lines in EXPECTED.items()} == sessions(CHECKOUT)


@pytest.mark.skipif(
    not os.environ.get("FARTHING_TEST_PROMPTFLOW_PACKAGES"),
    reason="FARTHING_TEST_PROMPTFLOW_PACKAGES names no folder of what the examples import",
)
@pytest.mark.parametrize("folder", EXPECTED)
def test_a_readme_typed_here_ends_as_it_ended_there(
    folder: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(__file__).parents[3]
    path = (str(here / "src"), str(here), os.environ["FARTHING_TEST_PROMPTFLOW_PACKAGES"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    codes = typed("farthing", root, folder, list(EXPECTED[folder]))
    differing = {line: code for line, code in codes.items() if code != EXPECTED[folder][line]}
    assert set(differing) == {line for place, line in DIFFERENCES if place == folder}
