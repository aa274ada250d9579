"""Python source as a tree that is laid out in lines of a given width, the way common formatters lay it out."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

#: Characters of a line, the default of the formatters in use.
WIDTH = 88
_INDENT = "    "
#: A quote at the end that no backslash stands for.
_OPEN_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"\Z')
#: Texts with fewer lines stay on one line, with `\n` in them.
_LINES_OF_A_BLOCK = 3


class Group(msgspec.Struct, frozen=True):
    """`open`, items with commas between them, `close`: a call, a dict, the parameters of a function.

    is_apart: one item a line, whether they would fit or not.
    """

    open: str
    items: tuple[Item, ...]
    close: str
    is_apart: bool = False


class Item(msgspec.Struct, frozen=True):
    """One item of a group. label: what stands before its value, as in `name=` or `"key": `."""

    value: Expression
    label: str = ""


class Chain(msgspec.Struct, frozen=True):
    """Operands, each but the first with its operator before it: `a`, `or b`; or `a`, `if b`, `else c`.

    is_list: in brackets, as in `[each for each in found]`; others have none unless they are broken.
    """

    parts: tuple[str, ...]
    is_list: bool = False


Expression = str | Group | Chain


class NotLiteralError(ValueError):
    """A value of a flow file that no literal of Python stands for. kind: its type."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def call(function: str, items: Iterable[Item], *, is_apart: bool = False) -> Group:
    """`function(…)`."""
    return Group(f"{function}(", tuple(items), ")", is_apart)


def keyword(name: str, value: Expression) -> Item:
    """`name=value`; a name that cannot stand so is passed in a dict."""
    if name.isidentifier() and not is_keyword(name):
        return Item(value, f"{name}=")
    return Item(Group("**{", (Item(value, f"{text(name)}: "),), "}"))


def is_keyword(name: str) -> bool:
    """Whether Python has the word for itself."""
    from keyword import iskeyword

    return iskeyword(name)


def lines(before: str, expression: Expression, after: str = "", *, depth: int = 0) -> list[str]:
    """`before` + the expression + `after`, as lines indented `depth` steps."""
    indent = _INDENT * depth
    on_one = flat(expression)
    if on_one is not None and len(indent) + len(before) + len(on_one) + len(after) <= WIDTH:
        return [f"{indent}{before}{on_one}{after}"]
    if isinstance(expression, str):
        return f"{indent}{before}{expression}{after}".split("\n")
    if isinstance(expression, Chain):
        first, last = "[]" if expression.is_list else "()"
        parts = [f"{indent}{_INDENT}{part}" for part in expression.parts]
        within = f"{indent}{_INDENT}{' '.join(expression.parts)}"
        if len(within) <= WIDTH:
            parts = [within]
        return [f"{indent}{before}{first}", *parts, f"{indent}{last}{after}"]
    if not expression.items:
        return [f"{indent}{before}{expression.open}{expression.close}{after}"]
    made = [f"{indent}{before}{expression.open}"]
    for item in expression.items:
        made += lines(item.label, item.value, ",", depth=depth + 1)
    return [*made, f"{indent}{expression.close}{after}"]


def flat(expression: Expression) -> str | None:
    """The expression on one line; None when it cannot be, or is meant not to be."""
    if isinstance(expression, str):
        return None if "\n" in expression else expression
    if isinstance(expression, Chain):
        whole = " ".join(expression.parts)
        return f"[{whole}]" if expression.is_list else whole
    if expression.is_apart and expression.items:
        return None
    parts = []
    for item in expression.items:
        inner = flat(item.value)
        if inner is None:
            return None
        parts.append(item.label + inner)
    return f"{expression.open}{', '.join(parts)}{expression.close}"


def literal(value: Any, *, dates: Callable[[], str] = lambda: "datetime") -> Expression:
    """The value as Python writes it. dates: gives the name of the module of dates. Raises NotLiteralError."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, str):
        return block(value) if value.count("\n") >= _LINES_OF_A_BLOCK - 1 else text(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):  # noqa: PLR0124 -- a NaN
        return f'float("{value}")'
    if isinstance(value, int | float | bytes):
        return repr(value)
    if isinstance(value, datetime.date):
        kind = "datetime" if isinstance(value, datetime.datetime) else "date"
        return f'{dates()}.{kind}.fromisoformat("{value.isoformat()}")'
    if isinstance(value, Mapping):
        items = [
            Item(literal(each, dates=dates), f"{_key(key, dates)}: ") for key, each in value.items()
        ]
        return Group("{", tuple(items), "}")
    if isinstance(value, list | tuple):
        return Group("[", tuple(Item(literal(each, dates=dates)) for each in value), "]")
    raise NotLiteralError(type(value).__name__)


def _key(key: Any, dates: Callable[[], str]) -> str:
    if isinstance(key, str):
        return text(key)
    return flat(literal(key, dates=dates)) or repr(key)


def text(value: str) -> str:
    """A text on one line, in the quotes that need fewer escapes."""
    quote = "'" if '"' in value and "'" not in value else '"'
    body = "".join(_escaped(each, quote) for each in value)
    return f"{quote}{body}{quote}"


def block(value: str) -> str:
    """A text in triple quotes, its lines as they are."""
    body = "".join(each if each in "\n\t" else _escaped(each, "") for each in value)
    body = body.replace('"""', '\\"\\"\\"')
    if _OPEN_QUOTE.search(body):
        body = f'{body[:-1]}\\"'
    return f'"""\\\n{body}"""'


def docstring(paragraphs: Iterable[str], *, depth: int = 0) -> list[str]:
    """A docstring of these paragraphs; lines that are longer than a line should be are wrapped."""
    from textwrap import wrap

    indent = _INDENT * depth
    made: list[str] = []
    for paragraph in paragraphs:
        wrapped = []
        for line in paragraph.split("\n"):
            wrapped += wrap(line, WIDTH - len(indent) - 3, break_long_words=False) or [""]
        made += ["", *wrapped] if made else wrapped
    if not made:
        return []
    safe = [line.rstrip().replace("\\", "\\\\").replace('"""', "'''") for line in made]
    if safe[-1].endswith('"'):
        safe[-1] += " "  # a quote before the quotes: formatters set them apart
    if len(safe) == 1:
        return [f'{indent}"""{safe[0]}"""']
    body = [f"{indent}{line}".rstrip() for line in safe[1:]]
    return [f'{indent}"""{safe[0]}', *body, f'{indent}"""']


def _escaped(letter: str, quote: str) -> str:
    if letter in ("\\", quote):
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    names = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    if letter in names:
        return names[letter]
    code = ord(letter)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
