"""The `pf` command lines that prompt flow's readers are told to type, in READMEs, guides and notebooks of a checkout.

As a program, `python -m tests.compat.flows.commands CHECKOUT`: adds those that tests/flows/pf_lines.txt lacks.
Values of several words are replaced there: the proof is about commands, and the words are their authors'.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KEPT = Path(__file__).parents[2] / "flows/pf_lines.txt"
#: Placeholders are no redirections, and a line ends where the shell's next command begins.
_PLACEHOLDER = re.compile(r"<[^<>|&;\s][^<>|&;]*>")
_ENDS = frozenset({"|", "||", "&&", ";", ">", ">>", "2>&1", "&"})
_COMMAND = re.compile(r"^\s*(?:[$>]\s*|!\s*|\d+\.\s+|-\s+)?(pf\s+[-a-z].*)$")
_INLINE = re.compile(
    r"`(pf (?:flow|run|connection|config|tool|service|trace|upgrade)\b[^`\n]* -[^`\n]*)`"
)
_WITHIN = re.compile(r"\$\((pf [^|)]*)")
#: A reference's grammar, or a sentence about a command.
_GRAMMAR = re.compile(r"\s\[-|\.\.\.|…|\s\[?--\w+\]?\s*\|")


@dataclass(frozen=True)
class Command:
    """A line as its reader types it, and the folder in which."""

    line: str
    folder: Path


def commands(checkout: Path) -> list[Command]:
    """All of them, each once for each folder."""
    found: dict[Command, None] = {}
    for part in ("examples", "docs"):
        for file in sorted((checkout / part).rglob("*")):
            if "-maf" in str(file) or "docs/reference" in file.as_posix():
                continue
            for line in _lines_of(file):
                if (whole := _whole(line)) is not None:
                    found[Command(whole, file.parent)] = None
    return list(found)


def normalised(line: str) -> str:
    """The line with one spelling of its quotes, and with its authors' sentences replaced."""
    words = shlex.split(line)
    return " ".join(shlex.quote(_said(word)) for word in words)


def _said(word: str) -> str:
    name, equals, value = word.partition("=")
    if equals and value.startswith("http"):
        return f"{name}=https://example.com/page?v=1"
    if equals and value.startswith('["'):
        return f'{name}=["two words", {{"data:image/png;url": "https://example.com/a.png"}}]'
    if equals and len(value.split()) > 2 and not value.startswith(("{", "[", "print", "<")):
        return f"{name}=several words of text"
    return word


def _lines_of(file: Path) -> Iterator[str]:
    if file.suffix == ".md":
        text = file.read_text(encoding="utf-8-sig")
    elif file.suffix == ".ipynb":
        cells = json.loads(file.read_text(encoding="utf-8-sig")).get("cells", [])
        text = "\n".join("".join(each["source"]) for each in cells)
    else:
        return
    # A backslash, a backtick or a caret goes on with the line, as their shells have it.
    text = re.sub(r"[ \t]*[\\`^][ \t]*\n\s*", " ", text)
    for line in text.splitlines():
        if found := _COMMAND.match(line):
            yield found[1]
        yield from _INLINE.findall(line)
        yield from _WITHIN.findall(line)


def _whole(line: str) -> str | None:
    """The command without what follows it on the line; None when it is no command."""
    line = line.strip()
    if _GRAMMAR.search(line):
        return None
    line = _PLACEHOLDER.sub(lambda found: found[0].replace(" ", "_"), line)
    try:
        # Not as a POSIX shell would: the quotes stay, to be read again.
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words = list(lexer)
    except ValueError:
        return None
    ended = next((n for n, word in enumerate(words) if word in _ENDS), len(words))
    words = words[:ended]
    return shlex.join(words) if len(words) > 1 else None


def main() -> None:
    """See the module's docstring."""
    kept = set(KEPT.read_text(encoding="utf-8").splitlines())
    found = {normalised(each.line) for each in commands(Path(sys.argv[1]))}
    KEPT.write_text("\n".join(sorted(kept | found)) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(found)} lines found, {len(found - kept)} of them new\n")


if __name__ == "__main__":
    main()
