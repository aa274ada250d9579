"""Tools for `farthing pf tool`: written, listed, checked."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from farthing.core.errors import FarthingError, FlowError

_TOOL = """from promptflow.core import tool


@tool{told}
def {name}(input_text: str) -> str:
    return f"Hello {{input_text}}"
"""
_LISTING = """from promptflow.core import tool  # noqa: F401 -- what makes a function a tool


def list_package_tools() -> dict:
    return {{
        "{package}.{name}.{name}": {{
            "name": "{name}",
            "type": "python",
            "module": "{package}.{name}",
            "function": "{name}",
            "inputs": {{"input_text": {{"type": ["string"]}}}},
        }}
    }}
"""
_PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{package}"
version = "0.0.1"

[project.entry-points.package_tools]
{name} = "{package}.listing:list_package_tools"
"""


def write_tool(folder: Path, package: str | None, name: str, told: dict[str, str]) -> list[Path]:
    """Write a tool's file, with `package` a package around it. Raises FlowError rather than overwrite."""
    for each in (package, name):
        if each is not None and not each.isidentifier():
            raise FlowError(f"'{each}' is no name in Python.", hint="Use letters, digits and _.")
    words = ", ".join(f"{key}={value!r}" for key, value in told.items())
    code = _TOOL.format(name=name, told=f"({words})" if words else "")
    files = {folder / f"{name}.py": code}
    if package is not None:
        inner = folder / package / package
        files = {
            folder / package / "pyproject.toml": _PROJECT.format(package=package, name=name),
            inner / "__init__.py": "",
            inner / f"{name}.py": code,
            inner / "listing.py": _LISTING.format(package=package, name=name),
        }
    taken = next((file for file in files if file.exists()), None)
    if taken is not None:
        raise FlowError(
            f"{taken} is there already.", hint="Nothing was written; choose another name."
        )
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return list(files)


def package_tools() -> dict[str, Any]:
    """The tools of installed packages, by id. Raises FlowError for a package whose listing fails."""
    from farthing.flows.code.packages import listed_tools

    return dict(listed_tools())


def code_tools(folder: Path) -> dict[str, Any]:
    """The tools that a DAG's nodes name, by file. Raises FlowFormatError."""
    from farthing.flows.dag import format as dag

    nodes = dag.load(folder).nodes
    return {
        node.source.path: {"name": node.source.path, "type": node.kind, "source": node.source.path}
        for node in nodes
        if node.source.path
    }


def faults_of(source: str) -> list[str]:
    """What keeps a tool from being used; empty when nothing does. Of a file, nothing is run but its import."""
    from farthing.flows.code.source import load_function

    file = Path(source)
    if file.suffix == ".py":
        if not file.is_file():
            return [f"There is no file {file}."]
        try:
            load_function(file.parent, file.name)
        except FarthingError as error:
            return [str(error)]
        return []
    parts = source.split(".")
    for end in range(len(parts), 0, -1):
        found = _source_of(".".join(parts[:end]))
        if found is None:
            continue
        wanted = parts[end:]
        if not wanted:
            return []
        names = {
            each.name
            for each in ast.parse(found.read_bytes()).body
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        return [] if wanted[0] in names else [f"{found} has no '{wanted[0]}'."]
    return [f"'{source}' is neither a file nor an installed package or function."]


def _source_of(module: str) -> Path | None:
    import importlib.util

    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None
