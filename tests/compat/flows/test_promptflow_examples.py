"""Prompt flow's own flows, its examples and those of its tests, do here what the original was seen to do.

FARTHING_TEST_PROMPTFLOW names a checkout of microsoft/promptflow; FARTHING_TEST_PROMPTFLOW_PACKAGES, if set, a folder
of packages that examples import (`tools/record_promptflow.py CHECKOUT --packages FOLDER` makes it). What the original
did is in `expected.json`, which that program writes; FARTHING_TEST_PROMPTFLOW_RAW, a folder, gets our side in full.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compat.flows import cases, results

EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "expected.json").read_text())
DIFFERENCES: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent / "differences.json").read_text()
)
CHECKOUT = os.environ.get("FARTHING_TEST_PROMPTFLOW", "")
NAMES = cases.names(Path(CHECKOUT)) if CHECKOUT and Path(CHECKOUT).is_dir() else []
ROOT = Path(__file__).parents[3]
#: Seconds that one flow may take.
LIMIT_S = 60

pytestmark = [
    pytest.mark.compat,
    pytest.mark.skipif(
        not NAMES, reason="FARTHING_TEST_PROMPTFLOW names no checkout of microsoft/promptflow"
    ),
]


class Runner:
    """A process that runs one flow after another; it is started anew when a flow ends it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[str] | None = None

    def results(self, name: str) -> dict[str, Any]:
        """See `Ours.results`; `{"load": "died"}` when its process did."""
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if selector.select(LIMIT_S) else ""
        if not line:
            self.close()
            return {"load": "died"}
        told: dict[str, Any] = json.loads(line)
        return told

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        packages = os.environ.get("FARTHING_TEST_PROMPTFLOW_PACKAGES", "")
        path = [str(ROOT / "src"), str(ROOT), packages]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.compat.flows.ours", str(self._root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in path if each)},
        )


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    root = cases.copied(Path(CHECKOUT), tmp_path_factory.mktemp("flows") / "checkout").resolve()
    made = Runner(root)
    yield made
    made.close()


@pytest.mark.parametrize("name", NAMES or ["none"])
def test_a_flow_does_what_it_did(name: str, runner: Runner) -> None:
    told = runner.results(name)
    _keep(name, told)
    found = told.pop("findings", [])
    made, expected = results.digests(told), EXPECTED["flows"][name]
    has_run = expected.get("single", {}).get("error", "") is None
    if has_run and any(each.startswith("package:") for each in found):
        pytest.skip("It imports packages that are not here; see FARTHING_TEST_PROMPTFLOW_PACKAGES.")
    assert differing(made, expected) == set(DIFFERENCES.get(name, {}))


def differing(made: dict[str, Any], expected: dict[str, Any]) -> set[str]:
    """What was asked and the part of it that are not as the original had them."""
    if "load" in expected:
        return set() if expected == made else {"load"}
    return {
        f"{asked}.{part}"
        for asked, parts in expected.items()
        for part, value in parts.items()
        if value != "changing" and made.get(asked, {}).get(part) != value
    }


def _keep(name: str, told: dict[str, Any]) -> None:
    folder = os.environ.get("FARTHING_TEST_PROMPTFLOW_RAW")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        text = json.dumps(told, indent=1, default=str)
        (Path(folder) / f"{name.replace('/', '+')}.json").write_text(text)
