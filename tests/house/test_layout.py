"""What a newcomer can rely on when opening a file: size, name, first line, one screen."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, Module, modules

NAMELESS = {"common", "helper", "helpers", "misc", "util", "utils"}


def test_nine_modules_in_ten_have_at_most_350_lines() -> None:
    by_size = sorted(modules(), key=lambda module: module.line_count)
    ninth_decile = by_size[int(0.9 * (len(by_size) - 1))]
    assert ninth_decile.line_count <= 350, f"{ninth_decile.name}: {ninth_decile.line_count} lines"


def test_no_module_outgrows_450_lines() -> None:
    """A longer file contains two subjects."""
    too_long = {module.name: module.line_count for module in modules() if module.line_count > 450}
    assert not too_long


def test_every_module_opens_with_one_line_that_says_its_purpose() -> None:
    """The list of those lines is docs/reference/map.md."""
    nameless = []
    for module in modules():
        first_line = (ast.get_docstring(module.tree) or "").partition("\n")[0]
        if not first_line.endswith((".", "?", "!", ":")):
            nameless.append(f"{module.name}: {first_line!r}")
    assert not nameless


def test_no_module_is_named_after_nothing() -> None:
    assert not [m.name for m in modules() if NAMELESS & set(m.name.split("."))]


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {module.path.parent for module in modules()}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_the_pipeline_fits_on_one_screen() -> None:
    """`gateway/pipeline.py` shows the order of a call; its longest function is what one reads."""
    path = PACKAGE / "gateway" / "pipeline.py"
    if not path.exists():
        pytest.skip("There is no pipeline yet.")
    longest = max(_function_lengths(path).items(), key=lambda item: item[1])
    assert longest[1] <= 80, f"{longest[0]} has {longest[1]} lines"


def test_what_farthing_exports_is_sorted_documented_and_there() -> None:
    import farthing

    exported = list(getattr(farthing, "__all__", []))
    assert exported == sorted(exported)
    undocumented = [
        name
        for name in exported
        if not name.startswith("__") and not getattr(farthing, name).__doc__
    ]
    assert not undocumented


def test_broad_excepts_say_which_border_they_guard() -> None:
    """`except Exception` stands only at named borders, with the reason on its line or beside it."""
    silent = [
        f"{module.name}:{number}"
        for module in modules()
        for number, is_explained in _broad_excepts(module)
        if not is_explained
    ]
    assert not silent


def _broad_excepts(module: Module) -> list[tuple[int, bool]]:
    lines = module.text.splitlines()
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _reraises(node):
            near = lines[max(0, node.lineno - 2) : node.lineno + 1]
            found.append((node.lineno, any("#" in line for line in near)))
    return found


def _is_broad(caught: ast.expr | None) -> bool:
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(
        name is None or (isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"})
        for name in names
    )


def _reraises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))


def _function_lengths(path: Path) -> dict[str, int]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name: (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
