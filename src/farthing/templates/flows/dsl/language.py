"""The language of order rules: a recursive-descent check, a function per line of grammar.txt."""

import re

FIELDS = {
    "order": ("total", "items", "country", "weight", "express", "discount", "gift"),
    "customer": ("is_new", "orders", "country", "group"),
    "shipping": ("price", "carrier"),
}
TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>"[^"\n]*")|(?P<number>\d+(?:\.\d+)?)(?![\w.])"""
    r"""|(?P<field>[a-z_]+\.[a-z_]+)|(?P<word>[A-Za-z_]+)|(?P<sign>!=|<=|>=|[=<>()])"""
)


class BrokenRuleError(Exception):
    """The program breaks the grammar; the message says where, what is there and what could be."""


def check(program: str) -> int:
    """The number of rules. Raises BrokenRuleError at the first mistake, and when there is no rule."""
    parser = Parser(program)
    rules = 0
    while parser.token:
        parser.rule()
        rules += 1
    if not rules:
        parser.fail('"rule"')
    return rules


class Parser:
    """Reads tokens one by one. kind, token: of the one that comes next, empty at the end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.end = self.start = 0
        self.kind = self.token = ""
        self.advance()

    def advance(self) -> str:
        """Take the token; the one taken comes back."""
        taken = self.token
        self.kind = "space"
        while self.kind == "space":
            self.start = self.end
            if self.end == len(self.text):
                self.kind = self.token = ""
                return taken
            found = TOKEN.match(self.text, self.end)
            if found is None:
                self.token = self.text[self.end]
                self.fail("a word, a number, a text in double quotes or a sign of the grammar")
            self.kind, self.token, self.end = found.lastgroup, found[0], found.end()
        return taken

    def fail(self, wanted: str) -> None:
        line = self.text.count("\n", 0, self.start) + 1
        column = self.start - self.text.rfind("\n", 0, self.start)
        there = f"{self.token!r} stands here" if self.token else "the program ends here"
        raise BrokenRuleError(f"Line {line}, column {column}: {there}, {wanted} was expected.")

    def is_next(self, *words: str) -> bool:
        return self.kind in ("word", "sign") and self.token in words

    def take(self, word: str) -> None:
        if not self.is_next(word):
            self.fail(f'"{word}"')
        self.advance()

    def take_kind(self, kind: str) -> None:
        if self.kind != kind:
            self.fail("a text in double quotes" if kind == "string" else f"a {kind}")
        self.advance()

    # --- the grammar ---

    def rule(self) -> None:
        self.take("rule")
        self.take_kind("string")
        self.take("when")
        self.condition()
        self.take("then")
        self.action()
        while self.is_next("and"):
            self.advance()
            self.action()
        self.take("end")

    def condition(self) -> None:
        self.all()
        while self.is_next("or"):
            self.advance()
            self.all()

    def all(self) -> None:
        self.test()
        while self.is_next("and"):
            self.advance()
            self.test()

    def test(self) -> None:
        if self.is_next("not"):
            self.advance()
            self.test()
        elif self.is_next("("):
            self.advance()
            self.condition()
            self.take(")")
        else:
            self.field()
            if not self.is_next("=", "!=", "<", "<=", ">", ">="):
                self.fail("one of = != < <= > >=")
            self.advance()
            self.value()

    def field(self) -> None:
        thing, _, name = self.token.partition(".")
        if self.kind != "field":
            self.fail("a field such as order.total")
        if name not in FIELDS.get(thing, ()):
            known = ", ".join(f"{t}.{n}" for t, names in FIELDS.items() for n in names)
            self.fail(f"one of {known}")
        self.advance()

    def value(self) -> None:
        if self.kind not in ("number", "string") and not self.is_next("yes", "no"):
            self.fail("a number, a text in double quotes, yes or no")
        self.advance()

    def action(self) -> None:
        if self.is_next("set"):
            self.advance()
            self.field()
            self.take("to")
            self.value()
        elif self.is_next("send"):
            self.advance()
            self.take_kind("string")
            self.take("to")
            self.take_kind("string")
        elif self.is_next("hold"):
            self.advance()
        elif self.is_next("refuse"):
            self.advance()
            self.take_kind("string")
        else:
            self.fail("set, send, hold or refuse")


def read_program(answer: str) -> str:
    """The program in a model's answer: what is in its code fence, or all of it."""
    fenced = re.search(r"```[a-z]*\n(.*?)```", answer, re.DOTALL)
    return (fenced[1] if fenced else answer).strip()


def judged(answer: str) -> dict:
    """program, is_valid, and problem: one sentence, empty if it is valid."""
    program = read_program(answer)
    try:
        check(program)
    except BrokenRuleError as error:
        return {"program": program, "is_valid": False, "problem": str(error)}
    return {"program": program, "is_valid": True, "problem": ""}
