"""Looks at a whole project without running any of it: what will run, and what it needs first."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec

from farthing.core.errors import FlowError, FlowFormatError, did_you_mean
from farthing.flows.check.findings import Finding, Known, at, check_model, is_installed
from farthing.flows.check.packages import check_package_tool
from farthing.flows.check.source import check_imports, check_python, parsed
from farthing.flows.graph import Flow, Node
from farthing.flows.open import is_flex

#: Folders in which no flow of the project lives.
_SKIPPED = {"node_modules", "__pycache__", "dist", "build", "venv", "site-packages"}
_DAG, _FLEX = "flow.dag.yaml", "flow.flex.yaml"


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One flow of the project. kind: `dag`, `flex` or `prompty`."""

    path: str
    kind: str
    findings: tuple[Finding, ...]

    @property
    def runs(self) -> bool:
        """Whether it runs here as it is."""
        return all(each.kind == "note" for each in self.findings)


def find_flows(folder: Path) -> list[Path]:
    """The flow files at or below a folder, sorted; a file stands for itself. Raises FlowFormatError."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise FlowFormatError(
            "There is no such file or folder.", hint=_near(folder), path=str(folder)
        )
    found = [
        path
        for path in folder.rglob("*")
        if (path.name in (_DAG, _FLEX) or path.suffix == ".prompty")
        and not any(
            part in _SKIPPED or part.startswith(".") for part in path.relative_to(folder).parts[:-1]
        )
    ]
    return sorted(found)


def kind_of(file: Path) -> str:
    """`dag`, `flex` or `prompty`."""
    if file.suffix == ".prompty":
        return "prompty"
    return "flex" if is_flex(file) else "dag"


def check(file: Path, known: Known) -> Checked:
    """Look at one flow file and what it names. Reads files only; nothing is imported, nothing asked."""
    kind = kind_of(file)
    checks = {"dag": _check_dag, "flex": _check_flex, "prompty": _check_prompty}
    try:
        findings = list(checks[kind](file, known))
    except FlowFormatError as error:
        findings = [_broken(error, file)]
    except FlowError as error:
        findings = [
            Finding(kind="broken", message=error.message, hint=error.hint or "", path=str(file))
        ]
    unique: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        # A model or package that is wanted in many places is one thing to get.
        unique.setdefault((finding.kind, _thing(finding)), finding)
    return Checked(path=str(file), kind=kind, findings=tuple(unique.values()))


def _thing(finding: Finding) -> str:
    if finding.kind == "package":
        return finding.hint
    return finding.message if finding.kind in ("model", "note") else str(finding)


def _broken(error: FlowFormatError, file: Path) -> Finding:
    return Finding(
        kind="broken",
        message=error.message,
        hint=error.hint or "",
        path=error.path or str(file),
        line=error.line,
        node=error.node,
    )


# --- DAG ---


def _check_dag(file: Path, known: Known) -> Iterator[Finding]:
    from farthing.flows.dag import format as dag

    flow = dag.load(file)
    for warning in flow.warnings:
        yield Finding(kind="note", message=warning, path=str(file))
    bodies = [*flow.nodes]
    for choice in flow.variants.values():
        bodies += [node for node in choice.nodes.values() if node not in bodies]
    for node in bodies:
        if node.source.kind in ("package", "package_with_prompt"):
            yield from check_package_tool(node, known)
        elif node.kind in ("python", "custom_llm"):
            yield from check_python(flow, node, known)
        if node.kind in ("llm", "prompt") and node.source.path:
            yield from _check_template(flow, node)
        if node.kind == "llm":
            yield from _check_llm(node, known)


def _check_llm(node: Node, known: Known) -> Iterator[Finding]:
    given = {port.name: port for port in node.inputs}
    port = given.get("deployment_name") or given.get("model")
    if port is None:
        message = f"The LLM node '{node.name}' names no model."
        hint = "Add deployment_name (Azure) or model (OpenAI) to its inputs."
        yield Finding(kind="broken", message=message, hint=hint, **at(node.span, node))
    else:
        yield from check_model(port, node, known)
    if node.connection and node.connection not in known.connections:
        message = f"Its models are asked through this gateway; '{node.connection}' is not needed."
        yield Finding(kind="note", message=message, **at(node.span, node))


def _check_template(flow: Flow, node: Node) -> Iterator[Finding]:
    file = flow.folder / (node.source.path or "")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        if not flow.includes:  # those are copied beside the flow before it runs
            message = f"The template of '{node.name}' cannot be read."
            yield Finding(kind="broken", message=message, path=str(file), node=node.name)
        return
    yield from _check_syntax(text, file, node=node.name)


def _check_syntax(
    template: str, file: Path, *, first_line: int = 1, node: str | None = None
) -> Iterator[Finding]:
    import jinja2

    try:
        jinja2.Environment(autoescape=False).parse(template)  # noqa: S701 -- prompts are no HTML
    except jinja2.TemplateSyntaxError as error:
        yield Finding(
            kind="broken",
            message=f"The template does not parse: {error.message}.",
            hint="Check the braces on that line.",
            path=str(file),
            line=first_line + error.lineno - 1,
            node=node,
        )


# --- flex and prompty ---


def _check_flex(file: Path, known: Known) -> Iterator[Finding]:
    from farthing.flows import yaml

    document = yaml.read(file)
    entry = yaml.plain(document.get("entry"))
    place = yaml.place_of(document, "entry", str(file))
    line = place.line if place else None
    module, _, name = str(entry or "").partition(":")
    source = file.parent / (module.replace(".", "/") + ".py")
    if not module or not name:
        message, hint = "It names no entry.", "Write entry: module:function, or module:Class."
        yield Finding(kind="broken", message=message, hint=hint, path=str(file), line=line)
        return
    if not source.is_file():
        if is_installed(module):
            return
        message = f"Its entry is in '{module}', which is neither beside it nor installed."
        yield Finding(
            kind="broken", message=message, hint=_near(source) or "", path=str(file), line=line
        )
        return
    tree = parsed(source)
    if tree is None:
        raise FlowFormatError("This is not Python that can be read.", path=str(source))
    named = {getattr(each, "name", "") for each in tree.body}
    named |= {
        t.id
        for s in tree.body
        if isinstance(s, ast.Assign)
        for t in s.targets
        if isinstance(t, ast.Name)
    }
    named |= {
        alias.asname or alias.name
        for s in tree.body
        if isinstance(s, ast.ImportFrom)
        for alias in s.names
    }
    if name not in named:
        message = f"'{source.name}' has no '{name}'."
        hint = did_you_mean(name, named - {""}) or ""
        yield Finding(kind="broken", message=message, hint=hint, path=str(file), line=line)
    yield from check_imports(source, tree, file.parent, set())


def _check_prompty(file: Path, known: Known) -> Iterator[Finding]:
    from farthing.flows.prompty.format import load

    prompty = load(file)
    for note in prompty.notes:
        yield Finding(kind="note", message=note, path=str(file))
    yield from _check_syntax(prompty.template, file, first_line=prompty.template_line)
    name, span = prompty.model, prompty.model_span
    if name is None:
        message = "It names no model, so it runs only where one is given as it is loaded."
        yield Finding(kind="note", message=message, path=str(file))
    elif "${" not in name:
        reason = known.why_no_model(name)
        if reason is not None:
            yield Finding(
                kind="model",
                message=f"The model '{name}' cannot be called here.",
                hint=reason,
                subject=name,
                path=str(file),
                line=span.line,
            )


def _near(path: Path) -> str | None:
    try:
        return did_you_mean(path.name, [each.name for each in path.parent.iterdir()])
    except OSError:
        return None
