"""The rubric matrix, as a table for the prompt: a row per criterion, a column per level."""

import json
from pathlib import Path

from promptflow.core import tool

FILE = Path(__file__).parent / "rubric.json"


@tool
def rubric() -> str:
    rows = ["| criterion | 1 | 2 | 3 | 4 |", "|---|---|---|---|---|"]
    for name, criterion in json.loads(FILE.read_text(encoding="utf-8")).items():
        rows.append(f"| {name} | {' | '.join(criterion['levels'])} |")
    return "\n".join(rows)
