"""The guard against messages that hide in a flow's inputs: what a user says stays what a user says.

Prompts are text, and a line `system:` in them begins a message. So where a value that comes from the flow's inputs
could begin one, or add to one, a mark stands in it while the template is rendered and read; then it is taken out
again, so that the text is sent as it came. Two ways remain by which an input says a role, both the flow's own: a
value that is a role and nothing else where the template writes the colon (`{{ item.role }}:`), and what a Python
node returns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from farthing.base.clock import Clock
from farthing.flows.prompts.chat import ROLES, line_start

_ENDS_LINE = r"(?=:\s*(?:\n|\Z))"
#: A role in a value, its colon too; the end of its line may be the template's.
_ROLE = re.compile(rf"(?:{'|'.join(ROLES)})\s*+{_ENDS_LINE}", re.IGNORECASE)
#: The rest of a role, or the colon alone, whose beginning another value may be.
_REST = re.compile(
    rf"(?:{'|'.join(role[at:] for role in ROLES for at in range(1, len(role)))})?\s*+{_ENDS_LINE}",
    re.IGNORECASE,
)
#: The beginning of a role, or all of it, in the last line.
_BEGINNING = re.compile(
    rf"[\s#]*+(?:{'|'.join(role[:at] for role in ROLES for at in range(len(role), 0, -1))})",
    re.IGNORECASE,
)
_LAST_WORD = re.compile(rf"({'|'.join(ROLES)})\s*\Z", re.IGNORECASE)
#: Headers inside a message, which a chat's reader looks for anywhere in it.
_HEADER = re.compile(rf"(?:name|tool_call_id|tool_calls)\s*+{_ENDS_LINE}|content\s*+(?=:)")
#: What an image prints as.
_IMAGE = re.compile(r"Image(?=\([0-9a-f]{8}\))")


class PromptText(str):
    """What a prompt node returns. In it the roles of the template count, those of a flow's inputs do not.

    guarded: the same text with marks where the inputs' roles are; tokens: the marks.
    """

    __slots__ = ("guarded", "tokens")
    guarded: str
    tokens: tuple[str, ...]

    @classmethod
    def of(cls, guarded: str, tokens: Iterable[str]) -> PromptText:
        """The text, from its guarded form."""
        marks = tuple(tokens)
        made = cls(unguard(guarded, marks))
        made.guarded, made.tokens = guarded, marks
        return made


class Guard:
    """Keeps a flow's inputs from beginning a message. tokens: the marks that stand in what it has guarded.

    new_token: see `new_token`; asked when a mark is needed. is_anywhere: the chat's reader takes a role for one
    that does not begin its line.
    """

    def __init__(self, new_token: Callable[[], str], *, is_anywhere: bool = False) -> None:
        self._new_token = new_token
        self._is_anywhere = is_anywhere
        self._mark = ""
        self.tokens: list[str] = []

    def guarded(self, values: Mapping[str, Any], from_inputs: Iterable[str]) -> dict[str, Any]:
        """The values to render. from_inputs: the names of those that come from the flow's inputs."""
        exposed, made = set(from_inputs), dict(values)
        for name, value in values.items():
            if isinstance(value, PromptText):
                self.tokens += [each for each in value.tokens if each not in self.tokens]
                made[name] = value.guarded
            elif name in exposed and any(map(self._breaks, _texts(value))):
                made[name] = self._marked(value)
        return made

    def _marked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self._marked(key): self._marked(each) for key, each in value.items()}
        if isinstance(value, list):
            return type(value)(self._marked(each) for each in value)
        return value

    def _text(self, text: str) -> str:
        places = self._breaks(text)
        if not places:
            return text
        if not self._mark:
            self._mark = self._new_token()
            self.tokens.append(self._mark)
        pieces, at = [], 0
        for place in places:
            pieces += [text[at:place], self._mark]
            at = place
        return "".join([*pieces, text[at:]])

    def _breaks(self, text: str) -> list[int]:
        places = _breaks(text)
        if not self._is_anywhere:
            return places
        found = {each.end() for each in _ROLE.finditer(text)}
        last = _LAST_WORD.search(text)
        if (
            last is not None and last.start() > 0
        ):  # a role and nothing else is the template's affair
            found.add(last.end(1))
        return sorted(found.union(places))


def new_token(clock: Clock) -> str:
    """128 bits that nobody can guess, in digits: a template may put them in capitals, in JSON or in a URL."""
    return str(int.from_bytes(clock.token_bytes(16)))


def unguard(value: Any, tokens: Sequence[str]) -> Any:
    """The value without the marks, at any depth."""
    if not tokens:
        return value
    if isinstance(value, str):
        for token in tokens:
            value = value.replace(token, "")
        return value
    if isinstance(value, dict):
        return {unguard(key, tokens): unguard(each, tokens) for key, each in value.items()}
    if isinstance(value, list):
        return [unguard(each, tokens) for each in value]
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(key)
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _breaks(text: str) -> list[int]:
    """Where marks must stand so that no part of the text can be read as more than text; ascending.

    Never beside a blank at an end, so that contents that are stripped come out the same.
    """
    places: set[int] = set()
    if ":" in text:
        places.update(
            found.end()
            for found in _ROLE.finditer(text)
            if line_start(text, found.start()) is not None
        )
        places.update(found.end() for found in _HEADER.finditer(text))
        rest = _REST.match(text)
        if rest is not None:
            places.add(rest.end())
    if "\n" in text:
        end = len(text.rstrip())
        last = _BEGINNING.fullmatch(text, text.rfind("\n", 0, end) + 1, end)
        if last is not None and "\n" in text[:end]:
            places.add(end)
    if "Image(" in text:
        places.update(found.end() for found in _IMAGE.finditer(text))
    return sorted(places)
