"""Prompt flow's own experiment files load here or are refused for a stated reason; those that need no model run.

FARTHING_TEST_PROMPTFLOW names a checkout of microsoft/promptflow; without one nothing here runs.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from farthing.cli.pf import pf
from farthing.core.errors import FlowFormatError
from farthing.flows.experiment.file import load

CONFIGS = Path(os.environ.get("FARTHING_TEST_PROMPTFLOW", "") or "no checkout")
CONFIGS /= "src/promptflow/tests/test_configs"
FILES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.glob("experiments/**/*exp.yaml"))
REFUSALS = ("is not a mapping of keys to values",)

pytestmark = [
    pytest.mark.compat,
    pytest.mark.skipif(
        not FILES, reason="FARTHING_TEST_PROMPTFLOW names no checkout of microsoft/promptflow"
    ),
]


@pytest.mark.parametrize("name", FILES or ["none"])
def test_a_file_loads_or_is_refused_for_a_reason(name: str) -> None:
    try:
        found = load(CONFIGS / name)
    except FlowFormatError as error:
        assert any(reason in error.message for reason in REFUSALS), str(error)
        assert error.hint
    else:
        assert found.nodes


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("eager-flow-exp-template/flow.exp.yaml", ()),
        ("class-based-eager-flow-exp-template/flow.exp.yaml", ()),
        ("command-node-exp-template/basic-command.exp.yaml", ("--inputs", "sleep_time=0")),
    ],
)
def test_what_needs_no_model_runs(
    name: str, inputs: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("experiments", "eager_flows", "flows/web_classification"):
        shutil.copytree(CONFIGS / part, tmp_path / part)
    (tmp_path / "farthing.toml").write_text("[server]\ndetect = false\n")
    monkeypatch.chdir(tmp_path)
    words = ["experiment", "start", "--template", f"experiments/{name}", *inputs]
    result = CliRunner().invoke(pf, words)
    assert result.exit_code == 0, result.exception or result.output
    shown = json.loads(result.stdout)
    assert shown["status"] == "Completed"
    assert {each["status"] for (each,) in shown["node_runs"].values()} == {"Completed"}
