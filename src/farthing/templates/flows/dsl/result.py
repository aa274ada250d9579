"""The program to use: the first if it is valid, else the repaired one, which may be broken too."""

from language import judged
from promptflow.core import tool


@tool
def result(first: dict, repaired: str = "") -> dict:
    """was_repaired: a repair was asked for and is valid. A broken program comes with its problem."""
    if first["is_valid"]:
        return {**first, "was_repaired": False}
    second = judged(repaired or "")
    return {**second, "was_repaired": second["is_valid"]}
