"""A comparison's lines as a file: CSV with a column for each cell's output, or JSONL with a record for each line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from farthing.core.errors import FlowInputError
from farthing.flows.batch.runs import Runs
from farthing.flows.variants.results import Compared, Row, Side, rows

ENDINGS = (".csv", ".jsonl")


def check_ending(file: Path) -> None:
    """Refuse a file that `write` has no format for. Raises FlowInputError."""
    if file.suffix.lower() not in ENDINGS or not file.resolve().parent.is_dir():
        what = (
            "ends in neither .csv nor .jsonl"
            if file.suffix.lower() not in ENDINGS
            else "has no folder"
        )
        raise FlowInputError(
            f"The lines cannot be written to {file}: it {what}.",
            hint="Name a .csv or a .jsonl file in a folder that exists.",
            param="output",
        )


async def write(runs: Runs, comparison: Compared, file: Path) -> int:
    """Write every line to the file, in place of what it held. Returns how many. Raises FlowInputError, OSError."""
    check_ending(file)
    count = 0
    with file.open("w", encoding="utf-8", newline="") as target:
        if file.suffix.lower() == ".jsonl":
            async for row in rows(runs, comparison):
                target.write(json.dumps(as_record(row), ensure_ascii=False) + "\n")
                count += 1
            return count
        # The columns are those of all lines, so the lines are read once for their names.
        columns = {"line": None}
        async for row in rows(runs, comparison):
            columns.update(dict.fromkeys(name for name, _ in _cells(row)))
        table = csv.DictWriter(target, _sorted(list(columns), comparison), restval="")
        table.writeheader()
        async for row in rows(runs, comparison):
            table.writerow({"line": row.number, **dict(_cells(row))})
            count += 1
    return count


def as_record(row: Row) -> dict[str, Any]:
    """A line for programs: its inputs, and by label what each cell made of it."""
    return {
        "line": row.number,
        "inputs": row.inputs,
        "cells": {label: _side(side) for label, side in row.sides.items()},
    }


def _side(side: Side) -> dict[str, Any]:
    found: dict[str, Any] = {"outputs": side.outputs, "differs": side.differs}
    if side.line.error_message is not None:
        found["error"] = side.line.error_message
    if side.evaluations:
        found["evaluations"] = {
            judge: msgspec.json.decode(line.outputs or "{}")
            for judge, line in side.evaluations.items()
        }
    return found


def _cells(row: Row) -> Iterator[tuple[str, str]]:
    """The columns of a line of CSV, by name."""
    for name, value in row.inputs.items():
        yield f"inputs.{name}", text_of(value)
    for label, side in row.sides.items():
        for name, value in side.outputs.items():
            yield f"{label}: {name}", text_of(value)
        for judge, line in side.evaluations.items():
            for name, value in msgspec.json.decode(line.outputs or "{}").items():
                yield f"{label}: {judge}.{name}", text_of(value)
        if side.differs is not None:
            yield f"{label}: differs", "yes" if side.differs else "no"
        if side.line.error_message is not None:
            yield f"{label}: error", side.line.error_message


def _sorted(columns: list[str], comparison: Compared) -> list[str]:
    """Inputs first, then each cell's own columns together."""
    order = ["line", "inputs.", *(f"{cell.label}: " for cell in comparison.cells)]

    def place(column: str) -> int:
        return next(at for at, each in enumerate(order) if column.startswith(each))

    return sorted(columns, key=place)


def text_of(value: Any) -> str:
    """A value for people: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
