"""The other way: the rich model reads the whole document."""

from promptflow.core import tool


@tool
def whole(text: str) -> dict:
    return {"text": text, "words": len(text.split())}
