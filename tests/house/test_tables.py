"""Every database table has one owner, and only the owner's room speaks to it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from tests.house.source import PACKAGE, Module, modules

CREATE = re.compile(r"\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?\"?(\w+)", re.IGNORECASE)


def test_every_table_is_created_in_one_room() -> None:
    shared = {table: rooms for table, rooms in _owners().items() if len(rooms) > 1}
    assert not shared


def test_no_room_names_another_rooms_table_in_its_sql() -> None:
    owners = {table: next(iter(rooms)) for table, rooms in _owners().items()}
    trespassers = [
        f"{module.name} speaks to {table}, which {owners[table]} owns"
        for module in modules()
        for statement in _strings(module)
        for table in _tables_named(statement, set(owners))
        if module.room != owners[table]
    ]
    assert not trespassers


def _owners() -> dict[str, set[str]]:
    owners: dict[str, set[str]] = defaultdict(set)
    for module in modules():
        for statement in _strings(module):
            for table in CREATE.findall(statement):
                owners[table.lower()].add(module.room)
    for path in PACKAGE.rglob("*.sql"):
        for table in CREATE.findall(path.read_text(encoding="utf-8")):
            owners[table.lower()].add(path.relative_to(PACKAGE).parts[0])
    return owners


def _tables_named(statement: str, tables: set[str]) -> set[str]:
    verbs = r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE|ON)\s+\"?(\w+)"
    is_sql = re.search(r"\b(SELECT|INSERT|UPDATE|DELETE|ALTER|CREATE|DROP)\b", statement)
    return {name.lower() for name in re.findall(verbs, statement)} & tables if is_sql else set()


def _strings(module: Module) -> Iterator[str]:
    """String literals other than docstrings, an f-string's parts joined."""
    prose = {
        id(node.body[0].value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values
            )
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
        ):
            yield node.value
