"""The examples of `docs/guide/connect.md` run against a real gateway."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.cli.test_up import CLEAN, up
from tests.house.source import ROOT

PAGE = (ROOT / "docs/guide/connect.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r'^=== "([\w -]+)"\n\n    ```python\n(.*?)^    ```', re.MULTILINE | re.DOTALL)
PACKAGES = {
    "openai": "openai",
    "AzureOpenAI": "openai",
    "anthropic": "anthropic",
    "google-genai": "google.genai",
    "langchain": "langchain_openai",
    "litellm": "litellm",
}


def test_the_guide_has_an_example_for_every_sdk() -> None:
    assert {name for name, _ in EXAMPLE.findall(PAGE)} == set(PACKAGES)


@pytest.mark.parametrize(("name", "program"), EXAMPLE.findall(PAGE), ids=list(PACKAGES))
def test_the_example_runs(
    name: str, program: str, tmp_path: Path, require_sdk: Callable[[str], ModuleType]
) -> None:
    require_sdk(PACKAGES[name])
    with up(tmp_path) as gateway:
        source = textwrap.dedent(program).replace("http://127.0.0.1:4000", gateway["url"])
        run = subprocess.run(
            [sys.executable, "-c", source.replace("fk-…", "any")],
            cwd=tmp_path,
            env={**CLEAN, "HOME": str(tmp_path), "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert run.returncode == 0, run.stderr
