"""Finds numbers in the text that neither the facts nor the product's name have."""

import re

from promptflow.core import tool

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@tool
def numbers_check(text: str, product: str, facts: str) -> list:
    known = set(NUMBER.findall(f"{product} {facts}"))
    return sorted(set(NUMBER.findall(text)) - known)
