"""Text as the simulated models see it: tokens, and the marks in a prompt that steer an answer."""

from __future__ import annotations

import re

#: Every answer in prose begins with it.
MARK = "[simulated]"
#: The billing tokeniser: up to six word characters, or one run of signs or spaces, with a leading space.
_PIECE = re.compile(r" ?\w{1,6}| ?[^\w\s]{1,3}|\s+")
_DIRECTIVE = re.compile(r"\bsim:([a-z_]+)(?:=([\w.-]+))?")

#: What a prompt may ask of a simulated model, for `docs/guide/simulator.md` and `farthing sim faults`.
DIRECTIVES = {
    "tool": "call the first tool, or the one named: sim:tool=NAME",
    "long": "answer with at least this many tokens: sim:long=500",
    "refuse": "decline in the vendor's own way",
    "block_prompt": "the content filter blocks the prompt: sim:block_prompt=violence",
    "block_completion": "the filter cuts the answer: sim:block_completion=hate",
    "filter_outage": "the filter is down: the answer is unscreened and says so",
    "jailbreak": "the filter detects a jailbreak and blocks the prompt",
}


def pieces(text: str) -> tuple[str, ...]:
    """The tokens of `text`; joined they are the text again."""
    return tuple(_PIECE.findall(text))


def count(text: str) -> int:
    """Tokens billed for `text`."""
    return sum(1 for _ in _PIECE.finditer(text))


def directives(text: str) -> dict[str, str]:
    """The `sim:name=value` marks in a prompt; a mark without value has an empty one."""
    return {
        match[1]: match[2] or "" for match in _DIRECTIVE.finditer(text) if match[1] in DIRECTIVES
    }
