"""The Python file of a tool, taken apart so that its code can stand in the exported module itself.

Only a file that is whole by itself is: imports of packages, functions, classes and values. Any other is imported
from where it is, and the reason is told.
"""

from __future__ import annotations

import ast
import re
import symtable
import tokenize
from collections.abc import Iterator
from pathlib import Path

import msgspec

from farthing import flows
from farthing.flows.shim import NAME as PROMPTFLOW

#: What these give depends on the module that the code stands in.
_OF_THE_MODULE = frozenset({"__file__", "__spec__", "eval", "exec", "globals", "locals", "vars"})
#: Names of prompt flow that are the same things here; see `farthing.flows`.
OURS = frozenset(flows.__all__) - {"Prompt"}
_FROM_PROMPTFLOW = re.compile(r"\bfrom\s+promptflow[\w.]*")
#: Names of prompt flow that mark a function as a node; `@farthing.node` stands in their place.
_MARKS = frozenset({"tool", "node"})

_DEF = re.compile(r"(\bdef\s+)\w+")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class NotSelfContainedError(Exception):
    """The file cannot stand in another module. line: of what is in the way."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


class Import(msgspec.Struct, frozen=True, order=True):
    """One imported name. module: of `from module import name`, or the module itself where name is empty."""

    module: str
    name: str = ""
    alias: str = ""

    @property
    def bound(self) -> str:
        """The name that it gives."""
        return self.alias or self.name or self.module.partition(".")[0]


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is whole by itself. names: what it binds, imports not counted.

    pieces: its statements in order, each with the comments above it; the tool's is `function`.
    of_promptflow: what is used of prompt flow's names, besides the mark of tools.
    """

    function: str
    imports: tuple[Import, ...]
    of_promptflow: tuple[Import, ...]
    names: frozenset[str]
    pieces: tuple[Piece, ...]
    is_called_elsewhere: bool
    has_future_annotations: bool


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a file that belong together. is_definition: of a function or class.

    gap: blank lines above it. marks: which of its lines are the tool's decorators; definition: the line of
    its `def`.
    """

    lines: tuple[str, ...]
    is_definition: bool = False
    is_tool: bool = False
    gap: int = 0
    marks: frozenset[int] = frozenset()
    definition: int = 0

    def text(self, *, decorator: str | None = None, name: str | None = None) -> str:
        """The lines; of the tool with another decorator, or none, and by another name."""
        if not self.is_tool:
            return "\n".join(self.lines)
        made, is_marked = [], decorator is None
        for number, line in enumerate(self.lines):
            if number in self.marks:
                if not is_marked:
                    made.append(decorator or "")
                is_marked = True
                continue
            if number == self.definition and not is_marked:
                made.append(decorator or "")
            is_named = number == self.definition and name is not None
            made.append(_DEF.sub(rf"\g<1>{name}", line, count=1) if is_named else line)
        return "\n".join(made)


def read(file: Path, function: str, home: Path) -> Code:
    """The file taken apart. function: the tool's. home: where its imports may find files of the flow.

    Raises NotSelfContainedError.
    """
    try:
        with tokenize.open(file) as opened:
            text = opened.read().lstrip("\ufeff")
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError, UnicodeDecodeError):
        raise NotSelfContainedError("it cannot be read") from None
    return _Reader(text, tree, function, (home, file.parent)).code()


class _Reader:
    def __init__(self, text: str, tree: ast.Module, function: str, homes: tuple[Path, ...]) -> None:
        self._lines = text.split("\n")
        self._tree = tree
        self._function = function
        self._homes = homes
        self._imports: list[Import] = []
        self._names: set[str] = set()
        self._pieces: list[Piece] = []
        self._has_future = False

    def code(self) -> Code:
        self._refuse_what_depends_on_its_place()
        last = 0
        for number, statement in enumerate(self._tree.body):
            first = _first_line(statement)
            if first <= last:
                raise NotSelfContainedError("it has several statements on a line", first)
            above = self._comments_above(first, last)
            self._statement(statement, number, above, last)
            last = statement.end_lineno or first
        tool = next((piece for piece in self._pieces if piece.is_tool), None)
        if tool is None:
            raise NotSelfContainedError(f"'{self._function}' is not defined at its top")
        used = self._used()
        ours = [each for each in self._imports if each.module.partition(".")[0] == PROMPTFLOW]
        return Code(
            function=self._function,
            imports=tuple(each for each in self._imports if each not in ours),
            of_promptflow=tuple(each for each in ours if each.bound in used),
            names=frozenset(self._names),
            pieces=tuple(self._pieces),
            is_called_elsewhere=self._is_called(),
            has_future_annotations=self._has_future,
        )

    # --- statements ---

    def _statement(self, statement: ast.stmt, number: int, above: int, last: int) -> None:
        line = statement.lineno
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._import(statement)
            if not last and above < line:  # what stands at the head of a file: its licence
                self._keep(above, line - 1, last)
        elif isinstance(statement, _Function | ast.ClassDef):
            self._names.add(statement.name)
            self._definition(statement, above, last)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            for target in _targets(statement):
                if not isinstance(target, ast.Name):
                    raise NotSelfContainedError("it changes something when it is imported", line)
                self._names.add(target.id)
            self._keep(above, statement.end_lineno or line, last)
        elif _is_text(statement) and number == 0:
            self._docstring(statement, above, last)
        elif not (_is_main_guard(statement) or _is_text(statement)):
            raise NotSelfContainedError("it does something when it is imported", line)

    def _import(self, statement: ast.Import | ast.ImportFrom) -> None:
        line = statement.lineno
        if isinstance(statement, ast.Import):
            found = [Import(each.name, "", each.asname or "") for each in statement.names]
            if any(each.module.partition(".")[0] == PROMPTFLOW for each in found):
                raise NotSelfContainedError("it imports promptflow as a whole", line)
        else:
            module = statement.module or ""
            if module == "__future__":
                self._has_future = True
                return
            if statement.level or any(each.name == "*" for each in statement.names):
                raise NotSelfContainedError("its imports depend on where it is", line)
            found = [Import(module, each.name, each.asname or "") for each in statement.names]
        for each in found:
            if self._is_local(each.module):
                raise NotSelfContainedError(f"it imports '{each.module}' of the flow", line)
        self._imports += found

    def _definition(self, statement: _Function | ast.ClassDef, above: int, last: int) -> None:
        end = statement.end_lineno or statement.lineno
        is_tool = statement.name == self._function and isinstance(statement, _Function)
        marks: set[int] = set()
        for each in statement.decorator_list if is_tool else ():
            if _name_of(each) in _MARKS:
                lines = range(each.lineno, (each.end_lineno or each.lineno) + 1)
                marks.update(number - above for number in lines)
        if not is_tool and any(_name_of(each) in _MARKS for each in statement.decorator_list):
            raise NotSelfContainedError("it marks more than one function", statement.lineno)
        self._pieces.append(
            Piece(
                lines=tuple(self._lines[above - 1 : end]),
                is_definition=True,
                is_tool=is_tool,
                gap=self._gap(above, last),
                marks=frozenset(marks),
                definition=statement.lineno - above,
            )
        )

    def _docstring(self, statement: ast.stmt, above: int, last: int) -> None:
        """The file's own docstring becomes comments."""
        assert isinstance(statement, ast.Expr)  # the caller has looked
        assert isinstance(statement.value, ast.Constant)
        told = str(statement.value.value).strip().splitlines()
        head = self._lines[above - 1 : statement.lineno - 1]
        lines = [*head, *(f"# {line.strip()}".rstrip() for line in told)]
        self._pieces.append(Piece(lines=tuple(lines)))

    def _keep(self, first: int, last: int, before: int) -> None:
        lines = tuple(self._lines[first - 1 : last])
        while lines and not lines[-1].strip():
            lines = lines[:-1]
        self._pieces.append(Piece(lines=lines, gap=self._gap(first, before)))

    # --- looking ---

    def _comments_above(self, line: int, last: int) -> int:
        """The first line of the comments that stand between the statement and the one before."""
        between = range(last + 1, line)
        return next((n for n in between if self._lines[n - 1].startswith("#")), line)

    def _gap(self, first: int, last: int) -> int:
        return sum(not line.strip() for line in self._lines[last : first - 1])

    def _refuse_what_depends_on_its_place(self) -> None:
        for each in ast.walk(self._tree):
            if isinstance(each, ast.Name) and each.id in _OF_THE_MODULE:
                raise NotSelfContainedError(f"it uses {each.id}", each.lineno)
            if each in self._tree.body or not isinstance(each, ast.Import | ast.ImportFrom):
                continue
            modules = (
                [alias.name for alias in each.names]
                if isinstance(each, ast.Import)
                else [each.module or ""]
            )
            if self._is_of_ours(each):
                self._rewrite(each)
                continue
            for module in modules:
                is_relative = isinstance(each, ast.ImportFrom) and each.level
                if is_relative or module.partition(".")[0] == PROMPTFLOW or self._is_local(module):
                    raise NotSelfContainedError(f"a function of it imports '{module}'", each.lineno)

    def _is_of_ours(self, statement: ast.Import | ast.ImportFrom) -> bool:
        """Whether a function imports nothing but names of prompt flow that are Farthing's too, on one line."""
        return (
            isinstance(statement, ast.ImportFrom)
            and (statement.module or "").partition(".")[0] == PROMPTFLOW
            and statement.lineno == statement.end_lineno
            and {each.name for each in statement.names} <= OURS
        )

    def _rewrite(self, statement: ast.stmt) -> None:
        line = self._lines[statement.lineno - 1]
        self._lines[statement.lineno - 1] = _FROM_PROMPTFLOW.sub("from farthing.flows", line)

    def _is_local(self, module: str) -> bool:
        top = module.partition(".")[0]
        return any((home / top).is_dir() or (home / f"{top}.py").is_file() for home in self._homes)

    def _is_called(self) -> bool:
        """Whether the file's own code refers to the tool's function, by a name that is no local one."""
        kept = list(self._lines)
        for statement in self._tree.body:
            if _is_main_guard(statement):
                last = statement.end_lineno or statement.lineno
                kept[statement.lineno - 1 : last] = [""] * (last - statement.lineno + 1)
        scopes = [symtable.symtable("\n".join(kept), "", "exec")]
        for scope in scopes:
            scopes += scope.get_children()
        return any(
            symbol.is_referenced() and (symbol.is_global() or scope.get_type() == "module")
            for scope in scopes
            if self._function in scope.get_identifiers()
            for symbol in [scope.lookup(self._function)]
        )

    def _used(self) -> set[str]:
        """Names that are read anywhere, the decorators that mark the tool left out."""
        skipped: set[ast.AST] = set()
        for each in ast.walk(self._tree):
            if isinstance(each, _Function) and each.name == self._function:
                for mark in each.decorator_list:
                    if _name_of(mark) in _MARKS:
                        skipped.update(ast.walk(mark))
            if isinstance(each, ast.stmt) and _is_main_guard(each):
                skipped.update(ast.walk(each))
        nodes = [each for each in ast.walk(self._tree) if each not in skipped]
        found = {each.id for each in nodes if isinstance(each, ast.Name)}
        for each in nodes:
            for annotation in (getattr(each, "annotation", None), getattr(each, "returns", None)):
                if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                    found.update(re.findall(r"\w+", annotation.value))
        return found


def _first_line(statement: ast.stmt) -> int:
    marks: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(mark.lineno for mark in marks)])


def _targets(statement: ast.Assign | ast.AnnAssign) -> Iterator[ast.expr]:
    for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
        if isinstance(target, ast.Tuple | ast.List):
            yield from target.elts
        else:
            yield target


def _name_of(decorator: ast.expr) -> str:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_main_guard(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.If)
        and not statement.orelse
        and isinstance(statement.test, ast.Compare)
        and isinstance(statement.test.left, ast.Name)
        and statement.test.left.id == "__name__"
    )
