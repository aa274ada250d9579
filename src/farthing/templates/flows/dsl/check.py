"""Checks the first program against the grammar."""

from language import judged
from promptflow.core import tool


@tool
def check(answer: str) -> dict:
    return judged(answer)
