"""The guide's provider, taken from the guide's own code blocks, works and passes the conformance class."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "contribute.md"


def block(title: str) -> str:
    """The code block of that title."""
    found = re.search(rf'```\w+ title="{re.escape(title)}"\n(.*?)```', GUIDE.read_text(), re.DOTALL)
    assert found is not None, f"the guide has no block {title}"
    return found[1]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as pip would leave it: one module and its metadata with the entry-point line."""
    (tmp_path / "acme.py").write_text(block("acme.py"))
    (tmp_path / "test_acme.py").write_text(block("test_acme.py"))
    (tmp_path / "farthing.toml").write_text(block("farthing.toml"))
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    entry = re.search(r"^acme = \"(.*)\"$", block("pyproject.toml"), re.MULTILINE)
    assert entry is not None
    (info / "entry_points.txt").write_text(f"[farthing.providers]\nacme = {entry[1]}\n")
    return tmp_path


def python(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=site,
        env={**os.environ, "PYTHONPATH": str(site), "ACME_API_KEY": "any"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_guides_provider_passes_the_conformance_class(site: Path) -> None:
    done = python(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_acme.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_guides_entry_point_and_settings_make_it_callable(site: Path) -> None:
    program = """
import os
from farthing.base.clock import SystemClock
from farthing.base.config.loader import load
from farthing.providers.catalogue import Catalogue
from farthing.providers.directory import build_directory
from pathlib import Path
loaded = load(Path("farthing.toml"), environ=os.environ)
settings = getattr(loaded, "settings", loaded)
directory = build_directory(
    settings, catalogue=Catalogue.load(), clock=SystemClock(), environ=os.environ
)
deployment = directory.route("acme-large").groups[0][0]
print(type(directory.providers["acme"]).__name__, deployment.name, deployment.price.standard.input)
"""
    done = python(site, "-c", program)
    assert done.stdout.split() == ["AcmeProvider", "acme-large", "1000000"], done.stderr
