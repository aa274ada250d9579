"""Prompt flow's own examples run here unchanged, and do what the original was seen to do.

FARTHING_TEST_PROMPTFLOW names a checkout of microsoft/promptflow; FARTHING_TEST_PROMPTFLOW_PACKAGES, if set, a folder
of packages that examples import. What the original did is in `expected.json`, which
`tools/record_promptflow.py` writes; FARTHING_TEST_PROMPTFLOW_RAW, a folder, gets our side in full, to compare.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compat.flows import cases
from tests.compat.flows.endpoint import Endpoint
from tests.compat.flows.ours import Ours

EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "expected.json").read_text())
DIFFERENCES: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent / "differences.json").read_text()
)
CHECKOUT = os.environ.get("FARTHING_TEST_PROMPTFLOW", "")
EXAMPLES = Path(CHECKOUT) / "examples"
NAMES = cases.names(EXAMPLES) if CHECKOUT and EXAMPLES.is_dir() else []

pytestmark = [
    pytest.mark.compat,
    pytest.mark.skipif(
        not NAMES, reason="FARTHING_TEST_PROMPTFLOW names no checkout of microsoft/promptflow"
    ),
    # The examples' own code warns; it is run, not judged.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases.copied(EXAMPLES, tmp_path_factory.mktemp("flows") / "examples").resolve()


@pytest.fixture
def clean() -> Iterator[None]:
    """What examples change in the process is put back."""
    environment, folder, path = dict(os.environ), Path.cwd(), list(sys.path)
    packages = os.environ.get("FARTHING_TEST_PROMPTFLOW_PACKAGES")
    if packages:
        sys.path.append(packages)
    yield
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:] = path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()  # their open files are closed now, not in a test that forbids it


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("name", NAMES or ["none"])
async def test_an_example_does_what_it_did(name: str, root: Path, tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        ours = Ours(root, name, endpoint, tmp_path)
        told = await ours.results()
        found = ours.findings()
    _keep(name, {**told, "findings": found})
    made, expected = cases.digests(told), EXPECTED["flows"][name]
    excused = DIFFERENCES.get(name, {})
    has_run = expected.get("single", {}).get("error") is None
    if has_run and any(each.startswith("package:") for each in found):
        pytest.skip("It imports packages that are not here; see FARTHING_TEST_PROMPTFLOW_PACKAGES.")
    differing = {
        f"{asked}.{part}"
        for asked, parts in expected.items()
        for part, value in parts.items()
        if value != "changing" and made.get(asked, {}).get(part) != value
    }
    assert differing == set(excused)
    if has_run:
        assert found == []


def _keep(name: str, told: dict[str, Any]) -> None:
    folder = os.environ.get("FARTHING_TEST_PROMPTFLOW_RAW")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        text = json.dumps(told, indent=1, default=str)
        (Path(folder) / f"{name.replace('/', '+')}.json").write_text(text)
