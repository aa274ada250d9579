"""A prompty as a Python module: the file stays what it is, and a function asks with it."""

from __future__ import annotations

from pathlib import Path

from farthing.flows.export.inputs import Inputs
from farthing.flows.export.layout import call, docstring, keyword, lines
from farthing.flows.export.names import Names, identifier
from farthing.flows.export.parts import Parts
from farthing.flows.graph import Flow
from farthing.flows.prompty.file import PromptyFile


def module_of(file: PromptyFile, target: Path) -> str:
    """The text of a module that is the prompty's flow. target: where it is to stand.

    Its sample is not part of it. Raises FlowFormatError: an input that cannot be a parameter.
    """
    parts = Parts(
        Flow(name=file.name, folder=file.path.parent),
        target,
        Names(avoid=[each.name for each in file.signature]),
    )
    farthing, anything = parts.use("farthing"), parts.use("typing", "Any")
    asked = parts.use("farthing.flows", "AsyncPrompty")
    constant = parts.names.take("PROMPTY", "ASKED_PROMPTY")
    name = parts.names.take(identifier(file.path.stem), f"{identifier(file.path.stem)}_flow")
    inputs = Inputs(file.signature, parts)
    values = [keyword(each.name, each.name) for each in file.signature]
    loaded = f"{asked}.load({parts.path(file.path)})"
    told = [file.description] if file.description else []
    function = [
        f"@{farthing}.flow",
        *inputs.head(name, anything),
        *docstring(told, depth=1),
        *lines("return await ", call(constant, values), depth=1),
    ]
    made = [
        *docstring(
            [
                f"Asks with {file.path.name}, which stays a file of its own.",
                "Written by `farthing flow export`.",
            ]
        ),
        "",
        *parts.imports.lines(),
        "",
        *parts.folder_definition(),
        f"{constant} = {loaded}",
        "",
        "",
        *function,
    ]
    return "\n".join(made) + "\n"
