"""The repository as data: its modules, their lines and their syntax trees."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "farthing"


@dataclass(frozen=True, kw_only=True)
class Module:
    """One source file. `name` is dotted (`farthing.core.errors`); `room` is its second part."""

    path: Path
    name: str
    text: str

    @property
    def room(self) -> str:
        return self.name.partition("farthing.")[2].partition(".")[0]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def line_count(self) -> int:
        return self.text.count("\n")


@cache
def modules() -> tuple[Module, ...]:
    """Every Python module of the product, sorted by name. The templates of flows are data."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        if PACKAGE / "templates" / "flows" in path.parents:
            continue
        parts = ("farthing", *path.relative_to(PACKAGE).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(path=path, name=name, text=path.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda module: module.name))


@cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that git tracks. Skips the test outside a git checkout (a source archive)."""
    if not (ROOT / ".git").exists():
        pytest.skip("Not a git checkout.")
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    paths = (ROOT / name for name in listing.split("\0") if name)
    return tuple(path for path in paths if path.is_file())
