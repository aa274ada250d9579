"""The door of the export: a flow at a path, written as a Python module."""

from __future__ import annotations

from pathlib import Path

from farthing.core.errors import FlowFormatError, FlowInputError
from farthing.flows.dag import format as dag
from farthing.flows.export.module import module_of
from farthing.flows.export.names import identifier
from farthing.flows.export.prompty import module_of as prompty_module
from farthing.flows.flex import format as flexfile
from farthing.flows.graph import Flow
from farthing.flows.open import find_flow, varied
from farthing.flows.prompty import format as promptyfile


def export(
    path: Path, output: Path | None = None, *, variant: str | None = None, replaces: bool = False
) -> Path:
    """Write the flow at a path as a Python module, all of it or nothing. Returns the file.

    output: by default a file of the flow's name in this folder. variant: `${node.variant}`. replaces: a
    file that is there. Raises FlowFormatError: the flow cannot be Python, or cannot be read;
    FlowInputError: there is a file already, or no folder for one.
    """
    kind, source = find_flow(path)
    if kind == "flex":
        raise _flex(source)
    if kind == "python":
        raise FlowFormatError("This flow is Python already.", path=str(source))
    if kind == "prompty" and variant:
        raise FlowInputError(f"{source} has no variants.", hint="Leave variant away.")
    name = identifier(source.stem if kind == "prompty" else source.resolve().parent.name)
    file = output or Path(f"{name}.py")
    if file.exists() and not replaces:
        raise FlowInputError(
            f"{file} is there already.", hint="Add --force to replace it, or name another --output."
        )
    if kind == "prompty":
        text = prompty_module(promptyfile.load(source), file)
    else:
        text = exported(varied(dag.load(source), variant), file)
    _write(file, text)
    return file


def exported(flow: Flow, file: Path) -> str:
    """The text of the module for a graph. file: where it is to stand. Raises FlowFormatError."""
    text = module_of(flow, file)
    compile(text, str(file), "exec")
    return text


def _write(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise FlowInputError(
            f"{file} cannot be written: {error.strerror}.",
            hint="Name a file in a folder that exists.",
        ) from error


def _flex(source: Path) -> FlowFormatError:
    file = flexfile.load(source)
    module = f"{file.module.replace('.', '/')}.py"
    return FlowFormatError(
        f"This flow is Python already: '{file.entry}' in {file.folder / module}.",
        hint="Keep it as it is. To be rid of the YAML file, write @farthing.flow above an asynchronous function "
        f"that calls it: `farthing flow test {file.folder / module}` runs that.",
        path=str(source),
    )
