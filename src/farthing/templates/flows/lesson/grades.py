"""Reads the grades and weighs them: a total of 100 only when every criterion was graded."""

import json
from pathlib import Path

from answers import read_object
from promptflow.core import tool

RUBRIC = json.loads((Path(__file__).parent / "rubric.json").read_text(encoding="utf-8"))


@tool
def grades(answer: str) -> dict:
    """criteria: level 1 to 4 and evidence. total: 0 to 100, None if a criterion is unread."""
    given = read_object(answer)
    criteria, unread, total = {}, [], 0.0
    for name, criterion in RUBRIC.items():
        grade = given.get(name)
        level = grade.get("level") if isinstance(grade, dict) else None
        if level not in (1, 2, 3, 4):
            unread.append(f"{name}: the answer has no level from 1 to 4.")
            continue
        criteria[name] = {"level": level, "evidence": str(grade.get("evidence", ""))}
        total += criterion["weight"] * (level - 1) / 3
    return {"criteria": criteria, "total": None if unread else round(total, 1), "unread": unread}
