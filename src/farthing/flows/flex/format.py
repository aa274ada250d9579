"""`flow.flex.yaml`: a flow that is a Python function or class (prompt flow 1.18.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from farthing.core.errors import FlowFormatError, did_you_mean
from farthing.core.private import PrivateStruct
from farthing.flows import yaml
from farthing.flows.code.source import load_module
from farthing.flows.graph import Span
from farthing.flows.prompty.placeholders import read_sample, settled
from farthing.flows.yaml import Table

FILE = "flow.flex.yaml"
#: Keys of other kinds of flow; prompt flow refuses them here.
_FOREIGN = {
    "nodes": "A graph of nodes belongs into flow.dag.yaml.",
    "node_variants": "Variants belong to the nodes of flow.dag.yaml.",
    "path": "Write the module into entry, before the colon.",
}


class FlexFile(PrivateStruct, frozen=True, kw_only=True):
    """A flex flow as its file says it. module, name: of the entry. inputs, outputs, init: declarations.

    sample_inputs, sample_init: what is taken when nothing is given.
    """

    path: Path
    name: str
    module: str
    entry: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    init: Mapping[str, Any]
    sample_inputs: Mapping[str, Any]
    sample_init: Mapping[str, Any]
    environment: Mapping[str, str]
    includes: tuple[str, ...]
    description: str
    spans: Mapping[str, Span]

    @property
    def folder(self) -> Path:
        """What paths in it are relative to."""
        return self.path.parent.absolute()

    def span(self, section: str, name: str) -> Span:
        """Where an input or an init value is declared, else the section, else the file."""
        spans = self.spans
        return spans.get(f"{section}.{name}") or spans.get(section) or Span(str(self.path))

    def load(self) -> Callable[..., Any]:
        """The function or class of the entry. Raises FlowFormatError that says what is wrong, and where."""
        where = f"{self.module.replace('.', '/')}.py"
        span = self.spans.get("entry") or Span(str(self.path))
        if not (self.folder / where).is_file():
            beside = [each.stem for each in self.folder.glob("*.py")]
            raise FlowFormatError(
                f"The entry's module '{self.module}' is not in the flow's folder.",
                hint=did_you_mean(self.module, beside) or f"There should be a file {where}.",
                field="entry",
                path=span.path,
                line=span.line,
                column=span.column,
            )
        module = load_module(self.folder, where)
        found = getattr(module, self.entry, None)
        if not callable(found):
            names = [key for key, thing in vars(module).items() if callable(thing)]
            raise FlowFormatError(
                f"The entry's module '{self.module}' has no function or class '{self.entry}'.",
                hint=did_you_mean(self.entry, names),
                field="entry",
                path=span.path,
                line=span.line,
                column=span.column,
            )
        return found  # type: ignore[no-any-return]


def load(path: Path) -> FlexFile:
    """The flex flow in this folder, or in this file. Raises FlowFormatError."""
    file = path / FILE if path.is_dir() else path
    document = yaml.read(file)
    top = Table(document, path=str(file), name="The flow", span=Span(str(file)), node=None)
    if top.text("language", "python") != "python":
        raise top.wrong(
            f"is written in {top.text('language')}, which does not run here.",
            "language",
            hint="Port its entry to Python.",
        )
    for key, hint in _FOREIGN.items():
        if top.has(key):
            raise top.wrong(f"has {key}, which a flex flow has not.", key, hint=hint)
    entry = top.required("entry", hint="Write entry: module:function, or module:Class.")
    module, colon, name = (part.strip() for part in entry.partition(":"))
    if not (module and colon and name) or ":" in name:
        raise top.wrong(
            f"has the entry '{entry}'.",
            "entry",
            hint="Write entry: module:function, or module:Class, without .py.",
        )
    sections = {key: _section(top, key) for key in ("inputs", "outputs", "init")}
    sample = read_sample(_settled(top, file, "sample"), file.parent, path=str(file))
    return FlexFile(
        path=file,
        name=top.text("name") or file.parent.resolve().name,
        module=module,
        entry=name,
        **sections,
        sample_inputs=_sample(sample, "inputs", file),
        sample_init=_sample(sample, "init", file),
        environment={
            each: str(value) for each, value in _section(top, "environment_variables").items()
        },
        includes=tuple(str(yaml.plain(item)) for item, _ in top.items("additional_includes")),
        description=top.text("description") or "",
        spans=_spans(document, str(file)),
    )


def _section(top: Table, key: str) -> Mapping[str, Any]:
    table = top.table(key, f"'{key}'")
    return {name: table.raw(name) for name in table}


def _settled(top: Table, file: Path, key: str) -> Any:
    return settled(top.raw(key), file.parent, path=str(file))


def _sample(sample: Mapping[str, Any], key: str, file: Path) -> Mapping[str, Any]:
    return read_sample(sample.get(key), file.parent, path=str(file))


def _spans(document: Any, path: str) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for key, value in document.items():
        found = yaml.place_of(document, key, path)
        if found is not None:
            spans[key] = found
        for name in value if isinstance(value, Mapping) else ():
            below = yaml.place_of(value, name, path)
            if below is not None:
                spans[f"{key}.{name}"] = below
    return spans
