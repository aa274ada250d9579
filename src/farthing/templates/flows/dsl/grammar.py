"""The grammar of the language, for the prompts; `language.py` checks the same."""

from pathlib import Path

from promptflow.core import tool


@tool
def grammar() -> str:
    return (Path(__file__).parent / "grammar.txt").read_text(encoding="utf-8")
