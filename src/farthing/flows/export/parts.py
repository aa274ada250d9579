"""What the functions of an exported module share: names, imports, constants, the flow's folder, comments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from farthing.core.errors import FlowFormatError
from farthing.flows.export.comments import Comments
from farthing.flows.export.imports import Imports
from farthing.flows.export.layout import Expression, block, literal, text
from farthing.flows.export.names import Names
from farthing.flows.export.sources import OURS, Code, Import, NotSelfContainedError
from farthing.flows.graph import Flow, Node


class Parts:
    """The parts of one module. file: where it is to stand; paths in it are relative to that."""

    def __init__(self, flow: Flow, file: Path, names: Names) -> None:
        self.names = names
        self.imports = Imports(names)
        self.constants: list[str] = []
        self.has_future_annotations = False
        self._flow = flow
        self._home = file.resolve().parent
        self._folder: str | None = None
        self._adopted: set[str] = set()
        self._written: list[Code] = []
        self._constants: dict[str, str] = {}
        self._comments: dict[str, Comments] = {}

    def use(self, module: str, name: str = "") -> str:
        """See `Imports.use`."""
        return self.imports.use(module, name)

    # --- code ---

    def adopt(self, code: Code, *, keeps_name: bool) -> None:
        """Take the names and imports of a file's code. Raises NotSelfContainedError: one is taken."""
        ours = [_of_ours(each) for each in code.of_promptflow]
        wanted = [*code.imports, *ours]
        names = code.names if keeps_name else code.names - {code.function}
        taken = next((name for name in sorted(names) if name in self.names), None)
        taken = taken or self.imports.conflict(wanted)
        if taken is not None:
            raise NotSelfContainedError(f"'{taken}' is something else in this module")
        self.names.reserve(names)
        self.imports.add(wanted)
        self.has_future_annotations |= code.has_future_annotations

    def is_new(self, code: Code) -> bool:
        """Whether the code was not asked about before."""
        if any(each is code for each in self._written):
            return False
        self._written.append(code)
        return True

    def literal(self, value: Any) -> Expression:
        """See `layout.literal`."""
        return literal(value, dates=lambda: self.use("datetime"))

    def constant(self, wanted: str, value: str) -> str:
        """The name of a constant with a text; one for equal texts."""
        if value not in self._constants:
            name = self.names.take(f"{wanted}_template".upper())
            self._constants[value] = name
            shown = block(value) if "\n" in value else text(value)
            self.constants += [*f"{name} = {shown}".split("\n")]
        return self._constants[value]

    # --- places ---

    def folder(self) -> str:
        """The name of the constant that is the flow's folder."""
        if self._folder is None:
            self._folder = self.names.take("FOLDER", "FLOW_FOLDER")
            self.use("pathlib", "Path")
        return self._folder

    def path(self, file: Path) -> str:
        """A file or folder as an expression, from the flow's folder."""
        relative = _relative(file.resolve(), self._flow.folder.resolve())
        return self.folder() if relative == "." else f"{self.folder()} / {text(relative)}"

    def folder_definition(self) -> list[str]:
        """The statement that makes the constant; none when nobody asked for it."""
        if self._folder is None:
            return []
        relative = _relative(self._flow.folder.resolve(), self._home)
        here = f"{self.use('pathlib', 'Path')}(__file__).resolve().parent"
        return [f"{self._folder} = {here}{'' if relative == '.' else f' / {text(relative)}'}"]

    # --- comments ---

    def comments_of(self, node: Node) -> list[str]:
        """What the flow's file says of a node in comments, and in its `comment`."""
        path = node.span.path
        if not path:
            return []
        if path not in self._comments:
            try:
                told = Path(path).read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise FlowFormatError("The file cannot be read.", path=path) from error
            self._comments[path] = Comments(told)
        return self._comments[path].of(node.span)


def _relative(file: Path, home: Path) -> str:
    return Path(os.path.relpath(file, home)).as_posix()


def _of_ours(each: Import) -> Import:
    """The import of a name of prompt flow's, from Farthing. Raises NotSelfContainedError: it has none."""
    if each.name not in OURS:
        raise NotSelfContainedError(f"it uses '{each.name}' of {each.module}")
    return Import("farthing.flows", each.name, each.alias)
