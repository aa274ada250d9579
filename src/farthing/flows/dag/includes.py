"""Files of a flow that lie elsewhere: what `additional_includes` puts beside it, found where it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from farthing.core.errors import FlowFormatError
from farthing.flows.graph import Flow, Node


def located(flow: Flow, path: str) -> Path:
    """Where a file of the flow is; see `file_of`."""
    return file_of(flow.folder, flow.includes, path)


def file_of(folder: Path, includes: Iterable[str], path: str) -> Path:
    """Where a file is: below the folder, else below what is included; else where it should be.

    An include called `name.zip` that does not exist stands for the folder `name`.
    """
    own = folder / path
    if own.exists():
        return own
    first, *rest = Path(path).parts or ("",)
    for include in includes:
        source = folder / include
        if not source.exists() and source.suffix == ".zip":
            source = source.with_suffix("")
        if source.name == first and source.joinpath(*rest).exists():
            return source.joinpath(*rest)
    return own


def template_of(flow: Flow, node: Node) -> str:
    """The text of a node's template. Raises FlowFormatError."""
    path = located(flow, node.source.path or "")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FlowFormatError(
            f"The template of '{node.name}' cannot be read.", node=node.name, path=str(path)
        ) from error


def import_folders(flow: Flow) -> tuple[Path, ...]:
    """The folders that the flow's code imports from: its own, then those that its includes lie in."""
    beside = [(flow.folder / include).resolve().parent for include in flow.includes]
    return tuple(dict.fromkeys((flow.folder.resolve(), *beside)))
