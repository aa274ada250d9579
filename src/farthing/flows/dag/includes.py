"""Files of a flow that lie elsewhere: what `additional_includes` puts beside it, found where it is."""

from __future__ import annotations

from pathlib import Path

from farthing.flows.graph import Flow


def located(flow: Flow, path: str) -> Path:
    """Where a file of the flow is: below its folder, else below what it includes; else where it should be.

    An include called `name.zip` that does not exist stands for the folder `name`.
    """
    own = flow.folder / path
    if own.exists():
        return own
    first, *rest = Path(path).parts or ("",)
    for include in flow.includes:
        source = flow.folder / include
        if not source.exists() and source.suffix == ".zip":
            source = source.with_suffix("")
        if source.name == first and source.joinpath(*rest).exists():
            return source.joinpath(*rest)
    return own


def import_folders(flow: Flow) -> tuple[Path, ...]:
    """The folders that the flow's code imports from: its own, then those that its includes lie in."""
    beside = [(flow.folder / include).resolve().parent for include in flow.includes]
    return tuple(dict.fromkeys((flow.folder.resolve(), *beside)))
