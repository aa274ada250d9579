"""Map and reduce: each piece is shortened on its own, again and again until the rest is short enough."""

import asyncio
from pathlib import Path

from promptflow.core import AsyncPrompty, tool

PROMPT = Path(__file__).parent / "summarise.prompty"
#: Rounds at most: a model that does not shorten must not be asked for ever.
ROUNDS = 3


@tool
async def summaries(text: str, question: str, words_per_piece: int, words_at_most: int) -> dict:
    shorten = AsyncPrompty.load(source=PROMPT)
    for _ in range(ROUNDS):
        if len(text.split()) <= words_at_most:
            break
        asked = [shorten(question=question, piece=each) for each in pieces(text, words_per_piece)]
        text = "\n\n".join(await asyncio.gather(*asked))
    return {"text": text, "words": len(text.split())}


def pieces(text: str, words: int) -> list:
    """Whole paragraphs, together about `words` long; a longer paragraph is a piece of its own."""
    found, piece = [], []
    for paragraph in text.split("\n\n"):
        if piece and len(" ".join([*piece, paragraph]).split()) > words:
            found.append("\n\n".join(piece))
            piece = []
        piece.append(paragraph)
    return [*found, "\n\n".join(piece)]
