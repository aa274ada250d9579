"""Column mapping: which column of the data, or of an earlier run, each input of a flow comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from farthing.core.errors import FlowInputError, did_you_mean
from farthing.flows.batch.data import Row
from farthing.flows.graph import Input

#: The names of the sources that rows come from.
DATA, RUN_INPUTS, RUN_OUTPUTS = "data", "run.inputs", "run.outputs"
#: The column that says which line of another source a row belongs to.
LINE_NUMBER = "line_number"
_EXPRESSION = re.compile(r"\$\{([^{}]+)\}")

#: A row of each source, by the source's name.
Sources = Mapping[str, Mapping[str, Any]]


class Column(msgspec.Struct, frozen=True):
    """A place where an input's value may be: a source and one of its columns."""

    source: str
    name: str


class Numbered(msgspec.Struct, frozen=True):
    """A row and the number of its line, from 0."""

    number: int
    row: Row


class ColumnMapping:
    """The mapping of one run. `apply` gives the inputs of a line.

    An input that nothing is said of takes its default; without one, the column of its name. What is mapped
    to a name that the flow does not have is passed on, and the flow leaves it out.
    """

    def __init__(
        self, mapping: Mapping[str, Any], inputs: Sequence[Input], *, sources: Sequence[str]
    ) -> None:
        """mapping: as written, `${source.column}` or literals. sources: the names of those that there are."""
        self._literals: dict[str, Any] = {}
        self._columns: dict[str, tuple[Column, ...]] = {}
        self._written: dict[str, str] = {}
        for name, value in mapping.items():
            if name == LINE_NUMBER:
                continue  # is said by the row itself
            expression = _EXPRESSION.fullmatch(value) if isinstance(value, str) else None
            if expression is None:
                self._literals[name] = value
            else:
                self._columns[name] = _columns(expression[1], sources)
                self._written[name] = value
        # Without data, what a run gave is the next best place of a column with the input's name.
        implied = (DATA,) if DATA in sources else (RUN_OUTPUTS, RUN_INPUTS)
        for each in inputs:
            if each.name not in mapping and not each.has_default:
                self._columns[each.name] = tuple(Column(source, each.name) for source in implied)
                self._written[each.name] = f"${{{implied[0]}.{each.name}}}"

    def apply(self, sources: Sources, *, where: str = "") -> dict[str, Any]:
        """The inputs of the line whose rows these are. where: what to say of its place.

        Raises FlowInputError that names all that was not found.
        """
        found = dict(self._literals)
        missing = []
        for name, columns in self._columns.items():
            for column in columns:
                row = sources.get(column.source)
                if row is not None and column.name in row:
                    found[name] = row[column.name]
                    break
            else:
                missing.append(name)
        if missing:
            raise self._unresolved(missing, sources, where)
        return found

    def _unresolved(self, names: list[str], sources: Sources, where: str) -> FlowInputError:
        listed = ", ".join(f"{name}: {self._written[name]}" for name in names)
        there = [f"{source}.{name}" for source, row in sources.items() for name in row]
        near = did_you_mean(self._written[names[0]][2:-1], there)
        columns = ", ".join(there[:20]) or "nothing"
        return FlowInputError(
            f"The column mapping{where} finds nothing for {listed}.",
            hint=f"{near + ' ' if near else ''}There is: {columns}{', …' if there[20:] else ''}.",
            param=names[0],
        )


def numbered(rows: Iterable[Row]) -> Iterator[Numbered]:
    """The rows with the numbers of their lines: what they say in `line_number`, else their position.

    The first row decides which; a row without a number among rows that have one belongs to no line and is
    dropped. Raises FlowInputError: a number that is none, or comes twice, or only later rows have one.
    """
    seen: set[int] | None = None
    for position, row in enumerate(rows):
        if position == 0 and LINE_NUMBER in row.values:
            seen = set()
        if seen is None:
            if LINE_NUMBER in row.values:
                raise _wrong(row, "has a line_number, and the rows before it have none")
            yield Numbered(position, row)
            continue
        if LINE_NUMBER not in row.values:
            continue
        number = _number(row)
        if number in seen:
            raise _wrong(row, f"has the line_number {number}, as a row before it")
        seen.add(number)
        yield Numbered(number, row)


def _columns(expression: str, sources: Sequence[str]) -> tuple[Column, ...]:
    """What `a.b.c` may mean: the shortest name of a source first, the rest is one column's name."""
    words = expression.split(".")
    splits = ((".".join(words[:at]), ".".join(words[at:])) for at in range(1, len(words)))
    return tuple(Column(source, name) for source, name in splits if source in sources)


def _number(row: Row) -> int:
    value = row.values[LINE_NUMBER]
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)  # CSV has nothing but texts
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise _wrong(row, "has a line_number that is no whole number from 0")


def _wrong(row: Row, what: str) -> FlowInputError:
    return FlowInputError(
        f"Line {row.line} of {row.path} {what}.",
        hint="Give each row a line_number of its own, or none.",
        param=LINE_NUMBER,
    )
