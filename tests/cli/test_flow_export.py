"""`farthing flow export`: a flow as a Python module, which the other commands take as the flow that it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from farthing.cli.flow import flow
from farthing.core.errors import FarthingError, FlowFormatError, FlowInputError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "farthing.toml").write_text(
        '[server]\ndetect = false\n[providers.sim]\ntype = "sim"\nscenario = "demo"\n'
    )
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(flow, arguments)
    if isinstance(result.exception, FarthingError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def test_an_exported_flow_is_tried_and_run_as_the_flow_was() -> None:
    run("new", "shop", "--template", "triage")
    assert run("export", "shop", "--to", "python").stdout == "shop.py\n"
    told = [
        json.loads(run("test", path, "--inputs", "shop/data.jsonl", "--json").stdout)
        for path in ("shop", "shop.py", "shop.py:shop")
    ]
    for each in told:
        assert each["outputs"] == told[0]["outputs"]
        assert each["metrics"] == told[0]["metrics"]
        assert each["cost_dollars"] == told[0]["cost_dollars"]
    runs = [
        json.loads(run("run", path, "--data", "shop/data.jsonl", "--name", name, "--json").stdout)
        for path, name in (("shop", "graph"), ("shop.py", "module"))
    ]
    for key in ("metrics", "completed", "failed", "status"):
        assert runs[0][key] == runs[1][key], runs


def test_a_module_runs_by_itself(tmp_path: Path) -> None:
    """Python alone imports it and runs it: no package of prompt flow, no runner of flows."""
    run("new", "shop", "--template", "hub-chain")
    run("export", "shop", "--to", "python", "--output", "mine.py")
    code = (
        "import mine, sys\nmade = mine.shop.run(product='A lamp', facts='It is red.')\n"
        "print(made.outputs['text'])\nassert not [n for n in sys.modules if n.startswith('promptflow')]"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[simulated]")


def test_a_prompty_becomes_a_function_that_asks_with_it() -> None:
    run("new", "mine", "--kind", "prompty")
    made = json.loads(run("export", "mine/ask.prompty", "--to", "python", "--json").stdout)
    assert made == {"file": "ask.py"}
    told = [
        json.loads(run("test", path, "--inputs", "mine/data.jsonl", "--json").stdout)["outputs"]
        for path in ("mine/ask.prompty", "ask.py")
    ]
    assert told[0] == told[1]


def test_what_is_wrong_is_said_and_no_file_is_left() -> None:
    run("new", "shop", "--template", "triage")
    with pytest.raises(FlowFormatError, match="has no variants"):
        run("export", "shop", "--to", "python", "--variant", "${facts.short}")
    with pytest.raises(FlowFormatError, match="no such file or folder"):
        run("export", "shopp", "--to", "python")
    assert "Missing option '--to'" in run("export", "shop", code=2).output
    run("new", "flex", "--kind", "flex")
    with pytest.raises(FlowFormatError, match="is Python already"):
        run("export", "flex", "--to", "python")
    assert not list(Path().glob("*.py"))
    Path("shop.py").write_text("mine")
    with pytest.raises(FlowInputError, match="is there already"):
        run("export", "shop", "--to", "python")
    run("export", "shop", "--to", "python", "--force")
    assert Path("shop.py").read_text() != "mine"
