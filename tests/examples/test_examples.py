"""Every file in `examples/` runs as its page says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from ruamel.yaml import YAML

from tests.cli.test_up import CLEAN, farthing, up
from tests.house.source import ROOT

EXAMPLES = ROOT / "examples"


def run(program: Path, *arguments: str, cwd: Path, **environ: str) -> str:
    """What an example prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        cwd=cwd,
        env={**CLEAN, "HOME": str(cwd), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.compat
def test_openais_sdk_answers_streams_and_calls_a_tool(
    tmp_path: Path, require_sdk: Callable[[str], ModuleType]
) -> None:
    require_sdk("openai")
    with up(tmp_path) as gateway:
        said = run(EXAMPLES / "openai_sdk.py", cwd=tmp_path, FARTHING_URL=gateway["url"])
    assert "[simulated] What is a farthing?" in said
    assert re.search(r"answered by sim/small@\w+ for \$0\.0000072", said)
    assert "[simulated] Count to three\n5 tokens in, 7 out" in said
    assert 'wants weather {"city":"simulated"}' in said


def test_each_customer_has_a_key_and_a_budget_that_holds(tmp_path: Path) -> None:
    with up(tmp_path) as gateway:
        said = run(EXAMPLES / "budget_per_key.py", cwd=tmp_path, FARTHING_URL=gateway["url"])
    assert "acme gets: [simulated] Hello from acme" in said
    assert "globex 402 Budget 'globex' has $0.00099505 left of $0.001 today" in said
    assert "acme: 1 call, 4950 nanodollars" in said


def test_recordings_answer_what_was_recorded_and_nothing_else(tmp_path: Path) -> None:
    assert "4 recordings" in run(EXAMPLES / "replay/record.py", "recordings", cwd=tmp_path)
    shutil.copy(EXAMPLES / "replay/farthing.toml", tmp_path)
    answer = farthing("ask", "What is a farthing?", "-m", "assistant", cwd=tmp_path)
    assert answer.stdout == "[simulated] What is a farthing?\n"
    miss = farthing("ask", "What is a penny?", "-m", "assistant", cwd=tmp_path)
    assert miss.returncode == 1
    assert "No recording " in miss.stderr


def test_the_monitoring_files_are_whole_and_the_rules_are_where_they_are_said_to_be() -> None:
    wanted = YAML(typ="safe").load((EXAMPLES / "monitoring/prometheus.yml").read_text())
    assert wanted["scrape_configs"][0]["metrics_path"] == "/metrics"
    templates = ROOT / "src/farthing/templates/telemetry"
    assert [(templates / name).is_file() for name in wanted["rule_files"]] == [True]
    assert (templates / "dashboard.json").is_file()


def test_the_page_of_examples_names_every_example() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    unnamed = [
        path.name
        for path in EXAMPLES.iterdir()
        if path.name not in {"README.md", "__pycache__"} and path.name not in page
    ]
    assert not unnamed
