"""A prompty as its file says it, whichever of the two dialects the file is written in."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from farthing.core.private import PrivateStruct
from farthing.flows.graph import NOWHERE, Input, Span
from farthing.flows.prompty.placeholders import read_sample

SUFFIX = ".prompty"
PromptyApi = Literal["chat", "completion", "embedding"]


class Dialect(Enum):
    """Which rules a file follows. Both have front matter and a template; see `format.dialect_of`.

    FIRST: prompt flow's (1.18.5). SECOND: Prompty's own second version (microsoft/prompty, its
    specification of 2026-04): typed properties, roles with attributes, conversations as inputs.
    """

    FIRST = 1
    SECOND = 2


class PromptyFile(PrivateStruct, frozen=True, kw_only=True):
    """A prompty as its file, and what was changed when it was loaded, say.

    model: the name that requests carry, a deployment or a model; None when nothing names one, else
    model_span says where. configuration: the rest of it, an api_key as Private. parameters: fields of the
    request, as they are sent. outputs: the keys that a JSON answer is reduced to. sample: not read yet, see
    `samples`. template_line: where it begins. notes: what is read and has no effect here. rich: inputs that
    are no text, by name: `thread`, `image`, `file` or `audio` (second dialect).
    """

    path: Path
    name: str
    template: str
    dialect: Dialect = Dialect.FIRST
    template_line: int = 1
    api: PromptyApi = "chat"
    response: str = "first"
    model: str | None = None
    model_span: Span = NOWHERE
    configuration: Mapping[str, Any] = {}
    parameters: Mapping[str, Any] = {}
    inputs: tuple[Input, ...] = ()
    outputs: tuple[str, ...] = ()
    rich: Mapping[str, str] = {}
    sample: Any = None
    description: str = ""
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> dict[str, Any]:
        """The inputs of the sample. Raises FlowFormatError when its file cannot be read."""
        found = read_sample(self.sample, self.path.parent, path=str(self.path))
        below = found.get("inputs")
        is_wrapped = isinstance(below, Mapping) and set(found) <= {"inputs", "init", "outputs"}
        if is_wrapped and all(each.name != "inputs" for each in self.inputs):
            return dict(below or {})
        return found

    @property
    def signature(self) -> tuple[Input, ...]:
        """The inputs that it takes: those declared, else those of the sample."""
        if self.inputs:
            return self.inputs
        return tuple(Input(name=key, kind=kind_of(value)) for key, value in self.samples.items())


def kind_of(value: Any) -> str:
    """The type of an input, from a value of it."""
    kinds = {bool: "bool", int: "int", float: "double", list: "list", str: "string"}
    return kinds.get(type(value), "object" if value is not None else "string")
