"""What a look at a project finds: records, and whether a module is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Literal, TypedDict

import msgspec

from farthing.flows.graph import Node, Port, Span

#: `broken`: never runs as it is. `package`, `connection`, `model`, `adaptation`: runs once it is there.
#: `note`: runs, and the reader may want to know.
FindingKind = Literal["broken", "package", "connection", "model", "adaptation", "note"]
#: Packages whose name is not that of the module; others are guessed to be the same.
_PACKAGES = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something to know about a flow. path, line: where, if it stands in a file.

    subject: the name of the model or connection that is wanted.
    """

    kind: FindingKind
    message: str
    hint: str = ""
    subject: str = ""
    path: str = ""
    line: int | None = None
    node: str | None = None


class Place(TypedDict):
    """Where a finding is, as its fields."""

    path: str
    line: int | None
    node: str | None


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What there is here. why_no_model: None for a model that can be called, else what to do."""

    connections: Collection[str]
    why_no_model: Callable[[str], str | None]


def at(span: Span, node: Node) -> Place:
    """The place of something of a node."""
    return {"path": span.path, "line": span.line, "node": node.name}


def check_model(port: Port, node: Node, known: Known) -> Iterator[Finding]:
    """Whether the model that an input names, if it is a literal, can be called here."""
    if port.reference is not None or not isinstance(port.value, str) or not port.value:
        return
    reason = known.why_no_model(port.value)
    if reason is not None:
        yield Finding(
            kind="model",
            subject=port.value,
            message=f"The model '{port.value}' cannot be called here.",
            hint=reason,
            **at(port.span, node),
        )


def package_of(module: str) -> str:
    """What to install for a module, as far as that can be guessed from its name."""
    top = module.partition(".")[0]
    return _PACKAGES.get(top, top)


def is_installed(module: str) -> bool:
    if module in sys.stdlib_module_names:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
