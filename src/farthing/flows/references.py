"""References: `${inputs.question}`, `${node.output.items[0]}`; read once, resolved for each line.

The rules are prompt flow's (1.18.5): only a string that is a reference from end to end is one, so `text
${node.output}` and `${a}.b` are literals. Beyond it, a bracket may follow `output` at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from farthing.core.errors import FlowFormatError, NodeFailedError

#: What follows the prefix of a flow input is its name, dots and all.
_INPUT = re.compile(r"\$\{(?:inputs|flow)\.(?P<name>.+)\}", re.DOTALL)
_NODE = re.compile(
    r"\$\{(?P<node>[^${}.\[\]]+)(?:\.(?P<section>[^.\[\]]*)(?P<path>.*))?\}", re.DOTALL
)
_STEP = re.compile(
    r"\.(?P<word>[^.\[\]]+)|\[(?P<index>-?\d+)\]|\[(?P<quote>['\"])(?P<key>.*?)(?P=quote)\]"
)

#: A key of a mapping or the name of an attribute (`name`), or what stood in brackets (`index`).
Step = str | int


class InputReference(msgspec.Struct, frozen=True):
    """`${inputs.name}`: the value of a flow input."""

    name: str

    def __str__(self) -> str:
        return f"${{inputs.{self.name}}}"


class NodeReference(msgspec.Struct, frozen=True):
    """`${node.output…}`: what a node returned, or a part of it. path: the steps into it."""

    node: str
    path: tuple[Step, ...] = ()
    text: str = ""

    def __str__(self) -> str:
        return self.text or f"${{{self.node}.output}}"


Reference = InputReference | NodeReference


class PathError(LookupError):
    """A step of a reference leads nowhere. step: the one; kind: the type of the value that lacks it."""

    def __init__(self, step: Step, kind: str) -> None:
        super().__init__(f"{kind} has no {step!r}")
        self.step = step
        self.kind = kind


def parse(value: object) -> Reference | None:
    """The reference that a value of a flow file is; None when it is a literal. Raises FlowFormatError."""
    if not isinstance(value, str) or not value.startswith("${") or not value.endswith("}"):
        return None
    found = _INPUT.fullmatch(value)
    if found:
        return InputReference(found["name"].strip())
    found = _NODE.fullmatch(value)
    if found is None:
        return None
    node, section, path = found["node"].strip(), found["section"], found["path"] or ""
    if section is not None and section.strip() != "output":
        raise FlowFormatError(
            f"The reference {value} asks for '{section}' of '{node}'.",
            hint=f"Nodes have only an output: write ${{{node}.output}}.",
        )
    return NodeReference(node, _steps(path, value), value)


def resolve(value: object, path: tuple[Step, ...]) -> object:
    """Follow the steps into a value: a word is a key of a mapping, else an attribute. Raises PathError."""
    for step in path:
        value = _step(value, step)
    return value


def pick(value: Any, *steps: Step) -> Any:
    """The part of a value that the steps lead to, each as in a reference. Raises NodeFailedError.

    `pick(answer, "items", 0)` is what `${answer.output.items[0]}` is.
    """
    try:
        return resolve(value, steps)
    except PathError as error:
        raise NodeFailedError(
            f"A {error.kind} has no {error.step!r}.",
            hint="Look at what the node that returned it gives.",
            cause="PathError",
        ) from None


def _step(value: object, step: Step) -> object:
    try:
        if isinstance(step, int):
            return value[step]  # type: ignore[index]  # whatever can be indexed
        if isinstance(value, Mapping):
            return value[step]
        if step.startswith("_"):  # nothing that is private is anybody's output
            raise AttributeError(step)
        return getattr(value, step)
    except (LookupError, AttributeError, TypeError):
        raise PathError(step, type(value).__name__) from None


def _steps(path: str, whole: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    at = 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise FlowFormatError(
                f"The reference {whole} cannot be read after '{whole[: len(whole) - 1 - len(path) + at]}'.",
                hint="Write .key, ['key'] or [0] after .output.",
            )
        if found["index"] is not None:
            steps.append(int(found["index"]))
        else:
            steps.append(found["word"] if found["word"] is not None else found["key"])
        at = found.end()
    return tuple(steps)
