"""Walls that import-linter cannot draw: core's allow-list, and nobody imports the front door."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from tests.house.source import Module, modules

#: Standard library modules that bring input, output, time, randomness or concurrency with them.
IMPURE = {
    "asyncio", "concurrent", "ctypes", "http", "io", "logging", "multiprocessing", "os", "pathlib",
    "pickle", "platform", "queue", "random", "secrets", "select", "shutil", "signal", "socket",
    "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "tomllib", "urllib",
    "uuid", "warnings",
}  # fmt: skip


def test_core_imports_only_itself_msgspec_and_pure_parts_of_the_standard_library() -> None:
    allowed = (sys.stdlib_module_names - IMPURE) | {"msgspec"}
    strangers = [
        f"{module.name} imports {name}"
        for module in modules()
        if module.room == "core"
        for name in _imported(module)
        if name.partition(".")[0] not in allowed and not name.startswith("farthing.core")
    ]
    assert not strangers


def test_nobody_inside_imports_from_the_front_door() -> None:
    """That is how import knots begin. The version is the exception: it needs no room."""
    knots = [
        f"{module.name} imports {name}"
        for module in modules()
        if module.name != "farthing"
        for name in _imported(module)
        if name == "farthing" or _is_exported(name)
    ]
    assert not knots


def test_importing_farthing_imports_no_room() -> None:
    """The command starts in 0.15 s because the front door imports rooms only when asked."""
    source = next(module for module in modules() if module.name == "farthing")
    eager = [
        name
        for node in source.tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _names(node)
        if name.startswith("farthing.")
    ]
    assert not eager, "Export lazily, with a module-level __getattr__."


def _imported(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        yield from _names(node)


def _names(node: ast.AST) -> Iterator[str]:
    """`import a.b` → a.b; `from farthing import x` → farthing.x; `from a.b import x` → a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module == "farthing":
        yield from (f"farthing.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node.module or ""


def _is_exported(name: str) -> bool:
    package, _, rest = name.partition(".")
    rooms = {module.room for module in modules()}
    return package == "farthing" and "." not in rest and rest not in rooms | {"__version__"}
