"""Reasoning effort as a word and as a token budget: the one table that every dialect translates by."""

from __future__ import annotations

#: Tokens of thinking that a word buys where a dialect counts. low, medium and high are Google's own
#: translation of `reasoning_effort` (1K, 8K and 24K, announced 2025-04 by the vendor and quoted at
#: feedback.typingmind.com, read 2026-11-24); 1,024 is also the least that Anthropic accepts. xhigh and max
#: are a choice of this project. none turns thinking off.
BUDGETS = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 32768,
}

#: The word for a budget: the first line that holds it. Larger ones are `high`, since not every model
#: knows the words above it.
_WORDS = ((0, "none"), (1024, "low"), (8192, "medium"))


def budget_of(effort: str) -> int | None:
    """Tokens for an effort word; None for a word that is not in the table (leave it to the vendor)."""
    return BUDGETS.get(effort)


def effort_of(budget_tokens: int) -> str | None:
    """The effort word for a budget in tokens; None when the model decides (−1)."""
    if budget_tokens < 0:
        return None
    for limit, word in _WORDS:
        if budget_tokens <= limit:
            return word
    return "high"
