"""Makes a DAG of one node around a Python function that is there: `pf flow init --entry`."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from farthing.core.errors import FlowError, did_you_mean

_TYPES = {"int": "int", "float": "double", "bool": "bool", "list": "list", "dict": "object"}


def write_around(folder: Path, entry: str, function: str, templates: dict[str, str]) -> list[Path]:
    """Write flow.dag.yaml and the tool's file. templates: parameter by prompt file. Raises FlowError."""
    source = folder / entry
    if not source.is_file():
        raise FlowError(f"There is no {source}.", hint="--entry is meant from the flow's folder.")
    tool, dag = folder / f"{function}_tool.py", folder / "flow.dag.yaml"
    taken = next((file for file in (tool, dag) if file.exists()), None)
    if taken is not None:
        raise FlowError(f"{taken} is there already.", hint="Nothing was written.")
    arguments = _arguments(source, function)
    names = [each.arg for each in arguments]
    for parameter, file in templates.items():
        if parameter not in names:
            hint = did_you_mean(parameter, names) or f"It has: {', '.join(names)}."
            raise FlowError(f"{function}() has no parameter '{parameter}'.", hint=hint)
        if not (folder / file).is_file():
            raise FlowError(f"There is no {folder / file}.", hint="Name the prompt's file.")
    given = [each for each in arguments if each.arg not in templates]
    tool.write_text(_tool(source.stem, function, given, templates), encoding="utf-8")
    dag.write_text(_dag(tool.name, function, given), encoding="utf-8")
    return [tool, dag]


def _arguments(source: Path, function: str) -> list[ast.arg]:
    try:
        tree = ast.parse(source.read_bytes())
    except SyntaxError as error:
        raise FlowError(
            f"{source}:{error.lineno}: This is not Python: {error.msg}.", hint="Correct it first."
        ) from None
    found = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}
    if function not in found:
        hint = did_you_mean(function, found) or "Name a function of that file."
        raise FlowError(f"{source} has no function '{function}'.", hint=hint)
    arguments = found[function].args
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _tool(module: str, function: str, given: list[ast.arg], templates: dict[str, str]) -> str:
    parameters = ", ".join(ast.unparse(each) for each in given)
    lines = ["from pathlib import Path", ""] if templates else []
    lines += ["from promptflow.core import tool", "", f"from {module} import {function}", "", ""]
    lines += ["@tool", f"def {function}_tool({parameters}):"]
    passed = [f"{each.arg}={each.arg}" for each in given]
    for parameter, file in templates.items():
        lines.append(f"    {parameter} = (Path(__file__).parent / {json.dumps(file)}).read_text()")
        passed.append(f"{parameter}={parameter}")
    lines.append(f"    return {function}({', '.join(passed)})")
    return "\n".join(lines) + "\n"


def _dag(tool: str, function: str, given: list[ast.arg]) -> str:
    lines = ["inputs:" if given else "inputs: {}"]
    for each in given:
        annotation = ast.unparse(each.annotation) if each.annotation is not None else "str"
        lines += [f"  {each.arg}:", f"    type: {_TYPES.get(annotation, 'string')}"]
    lines += ["outputs:", "  output:", "    type: string", f"    reference: ${{{function}.output}}"]
    lines += ["nodes:", f"- name: {function}", "  type: python", "  source:"]
    lines += ["    type: code", f"    path: {tool}", "  inputs:" if given else "  inputs: {}"]
    lines += [f"    {each.arg}: ${{inputs.{each.arg}}}" for each in given]
    return "\n".join(lines) + "\n"
