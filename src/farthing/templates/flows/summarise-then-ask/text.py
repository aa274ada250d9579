"""The document's text: of the file that is named, seen from this folder, or the text that was given."""

from pathlib import Path

from promptflow.core import tool

FOLDER = Path(__file__).parent


@tool
def text(document: str) -> dict:
    is_file = document.endswith((".txt", ".md")) and "\n" not in document
    found = (FOLDER / document).read_text(encoding="utf-8") if is_file else document
    return {"text": found, "words": len(found.split())}
