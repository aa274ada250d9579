"""Looks at the Python files of a project without importing them: packages, parameters, connections."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farthing.core.errors import FlowFormatError, did_you_mean
from farthing.flows.check.findings import Finding, Known, at, is_installed, package_of
from farthing.flows.graph import Flow, Node


def check_python(flow: Flow, node: Node, known: Known) -> Iterator[Finding]:
    file = flow.folder / (node.source.path or "")
    tree = parsed(file)
    if tree is None:
        if not file.is_file() and flow.includes:
            return
        raise FlowFormatError("This is not Python that can be read.", path=str(file))
    yield from check_imports(file, tree, flow.folder, set())
    marked = [each for each in _functions(tree) if _is_tool(each)]
    if len(marked) != 1 and node.function is None:
        yield Finding(
            kind="broken",
            message=f"It has {len(marked) or 'no'} functions with @tool, and a node needs exactly one.",
            hint="Put @tool above the function that is the node, and only there.",
            path=str(file),
            line=marked[1].lineno if len(marked) > 1 else None,
            node=node.name,
        )
        return
    for function in marked:
        yield from _check_ports(file, node, function, _made_with(tree, function), known)


def _made_with(tree: ast.Module, method: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """What the class of a tool that is a method takes to be made; the node's inputs give that as well."""
    for each in ast.walk(tree):
        if isinstance(each, ast.ClassDef) and method in each.body:
            makers = [one for one in each.body if getattr(one, "name", "") == "__init__"]
            return [
                arg for one in makers if isinstance(one, ast.FunctionDef) for arg in one.args.args
            ]
    return []


def _check_ports(
    file: Path,
    node: Node,
    function: ast.FunctionDef | ast.AsyncFunctionDef,
    made_with: list[ast.arg],
    known: Known,
) -> Iterator[Finding]:
    arguments = function.args
    names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *made_with]
    by_name = {each.arg: each for each in names if each.arg != "self"}
    for port in node.inputs:
        if port.name not in by_name:
            if arguments.kwarg is None:
                yield Finding(
                    kind="broken",
                    message=f"'{node.name}' gives '{port.name}', which {function.name}() does not take.",
                    hint=did_you_mean(port.name, by_name) or f"See {file}:{function.lineno}.",
                    **at(port.span, node),
                )
            continue
        annotation = by_name[port.name].annotation
        wanted = ast.unparse(annotation) if annotation is not None else ""
        if "Connection" not in wanted or port.reference is not None or not port.value:
            continue
        if str(port.value) not in known.connections:
            yield Finding(
                kind="connection",
                subject=str(port.value),
                message=f"'{node.name}' needs the connection '{port.value}' ({wanted}).",
                hint=f"Create it: farthing pf connection create -f FILE --name {port.value}",
                **at(port.span, node),
            )
    positional = [*arguments.posonlyargs, *arguments.args]
    required = {each.arg for each in positional[: len(positional) - len(arguments.defaults)]}
    required |= {
        each.arg
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    }
    missing = sorted(required - {port.name for port in node.inputs} - {"self"})
    if missing:
        yield Finding(
            kind="broken",
            message=f"'{node.name}' leaves out {', '.join(missing)}, which {function.name}() needs.",
            hint="Add it to the node's inputs, or give the parameter a default.",
            path=node.span.path,
            line=node.span.line,
            node=node.name,
        )


def parsed(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise FlowFormatError(
            f"This is not Python: {error.msg}.", path=str(file), line=error.lineno
        ) from error
    except (OSError, ValueError):
        return None


def check_imports(file: Path, tree: ast.Module, folder: Path, seen: set[Path]) -> Iterator[Finding]:
    """What a file and the files beside it that it imports need. seen: those that were looked at."""
    seen.add(file)
    for module, line in _imports(tree):
        top = module.partition(".")[0]
        beside = [folder / f"{top}.py", folder / top, file.parent / f"{top}.py", file.parent / top]
        here = next((each for each in beside if each.exists()), None)
        if here is not None:
            if here.is_file() and here not in seen:
                inner = parsed(here)
                if inner is not None:
                    yield from check_imports(here, inner, folder, seen)
        elif top == "promptflow":
            yield from _check_shim(file, module, line)
        elif not is_installed(top):
            yield Finding(
                kind="package",
                message=f"It imports '{module}', which is not installed.",
                hint=f"pip install {package_of(top)}",
                path=str(file),
                line=line,
            )


def _check_shim(file: Path, module: str, line: int) -> Iterator[Finding]:
    from farthing.flows.shim import place_of

    place = place_of(module)
    if place.with_suffix(".py").is_file() or place.is_dir():
        return
    yield Finding(
        kind="adaptation",
        message=f"It imports '{module}', a part of prompt flow that is not there here.",
        hint="Use promptflow.core, promptflow.connections or promptflow.tracing in its place.",
        path=str(file),
        line=line,
    )


def _imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Modules that are imported for sure: those inside `try` or a type checker's `if` may be missing."""
    pending: list[Any] = list(tree.body)
    while pending:
        each = pending.pop(0)
        if isinstance(each, ast.Import):
            for alias in each.names:
                yield alias.name, each.lineno
        elif isinstance(each, ast.ImportFrom):
            if each.module and not each.level:
                yield each.module, each.lineno
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.With):
            pending += each.body


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _is_tool(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    for mark in function.decorator_list:
        called = mark.func if isinstance(mark, ast.Call) else mark
        if ast.unparse(called).rpartition(".")[2] in ("tool", "node"):
            return True
    return False
