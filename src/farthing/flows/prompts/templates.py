"""Prompt templates: rendered in a sandbox, with a guard against roles that hide in a flow's inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment

from farthing.core.errors import FlowError
from farthing.flows.prompts.chat import ROLE_LINE

#: `![image]({{name}})` moves the image to a line of its own, where the reader of chats finds it.
IMAGE_PLACE = re.compile(r"!\[\s*image\s*\]\(\{\{(\s*[^\s{}]+\s*)\}\}\)")
#: Loops beyond this many steps are a mistake, or an attack by a template that came from outside.
MAX_RANGE = 100_000
#: Characters of a rendered prompt; the longest contexts take some four million.
MAX_RENDERED = 16_000_000


class PromptError(FlowError):
    """A template cannot be rendered. line: of the template, from 1, when it is known."""

    code = "prompt_invalid"
    status = 400

    def __init__(self, message: str, *, hint: str | None = None, line: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.line = line


class ChatList(list[Any]):
    """A list that prints one item a line, as prompt flow's lists do in the templates of Azure's chats."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))


class PromptText(str):
    """What a prompt node returns. In it the roles of the template count, those of a flow's inputs do not.

    guarded: the same text with tokens in place of the inputs' roles; tokens: which token is which role.
    """

    __slots__ = ("guarded", "tokens")
    guarded: str
    tokens: Mapping[str, str]

    @classmethod
    def of(cls, guarded: str, tokens: Mapping[str, str]) -> PromptText:
        """The text, from its guarded form."""
        made = cls(unguard(guarded, tokens))
        made.guarded, made.tokens = guarded, tokens
        return made


def chat_lists(value: Any) -> Any:
    """The value with each list in it, at any depth, printing one item a line."""
    if isinstance(value, dict):
        return {key: chat_lists(each) for key, each in value.items()}
    if isinstance(value, list):
        return ChatList(chat_lists(each) for each in value)
    return value


def render(template: str, values: Mapping[str, Any], *, keeps_lines: bool = False) -> str:
    """The template with its values; what is not given prints as nothing. Raises PromptError.

    keeps_lines: the line's end behind a block stays, which prompt flow leaves out.
    """
    try:
        text = _compiled(template, keeps_lines).render(values)
    except TemplateSyntaxError as error:
        raise PromptError(
            f"The template cannot be read at line {error.lineno}: {error.message}.",
            hint="Check the braces and the ends of its blocks.",
            line=error.lineno,
        ) from None
    except SecurityError as error:
        raise PromptError(
            f"The template does what a template may not: {error.message}.",
            hint="Do it in a Python node and pass the result in.",
        ) from None
    except TemplateError as error:
        raise PromptError(f"The template cannot be rendered: {error.message}.") from None
    except Exception as error:  # border: what a template's expressions raise, on the user's values
        raise PromptError(
            f"The template failed with {type(error).__name__}.",
            hint="Look at what its expressions do with the values of this line.",
        ) from error
    if len(text) > MAX_RENDERED:
        raise PromptError(f"The rendered prompt has more than {MAX_RENDERED:,} characters.")
    return text


def with_pictures_apart(template: str) -> str:
    """The template with each image on a line of its own."""
    return IMAGE_PLACE.sub(lambda found: f"\n{{{{{found[1]}}}}}\n", template)


class Guard:
    """Keeps role words in a flow's inputs from beginning a message: tokens stand for them meanwhile.

    new_token: a text that nobody can guess. roles: what begins a message, its first group the role.
    """

    def __init__(self, new_token: Callable[[], str], roles: re.Pattern[str] = ROLE_LINE) -> None:
        self._new_token = new_token
        self._roles = roles
        self.tokens: dict[str, str] = {}

    def guarded(self, values: Mapping[str, Any], from_inputs: Iterable[str]) -> dict[str, Any]:
        """The values to render. from_inputs: the names of those that come from the flow's inputs."""
        exposed = set(from_inputs)
        for name, value in values.items():
            if isinstance(value, PromptText):
                self.tokens.update(value.tokens)
            elif name in exposed:
                self._learn(value)
        return {
            name: value.guarded
            if isinstance(value, PromptText)
            else self._replaced(value)
            if name in exposed and self.tokens
            else value
            for name, value in values.items()
        }

    def _learn(self, value: Any) -> None:
        for text in _texts(value):
            for role in self._roles.findall(text):
                if role not in self.tokens.values():
                    self.tokens[self._new_token()] = role

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, str):
            for token, role in self.tokens.items():
                value = value.replace(role, token)
            return value
        if isinstance(value, dict):
            return {key: self._replaced(each) for key, each in value.items()}
        if isinstance(value, list):
            return type(value)(self._replaced(each) for each in value)
        return value


def unguard(value: Any, tokens: Mapping[str, str]) -> Any:
    """The value with the roles put back, at any depth."""
    if not tokens:
        return value
    if isinstance(value, str):
        for token, role in tokens.items():
            value = value.replace(token, role)
        return value
    if isinstance(value, dict):
        return {key: unguard(each, tokens) for key, each in value.items()}
    if isinstance(value, list):
        return [unguard(each, tokens) for each in value]
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _short_range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > MAX_RANGE:
        raise SecurityError(f"a range of more than {MAX_RANGE:,} steps")
    return made


class _Sandbox(SandboxedEnvironment):
    """Jinja's sandbox; it lets templates change lists that are passed in, as prompt flow's does."""

    def __init__(self, *, keeps_lines: bool) -> None:
        super().__init__(trim_blocks=not keeps_lines, keep_trailing_newline=True, cache_size=0)
        self.globals["range"] = _short_range


_SANDBOXES = {each: _Sandbox(keeps_lines=each) for each in (False, True)}


@lru_cache(maxsize=512)
def _compiled(template: str, keeps_lines: bool) -> Template:
    return _SANDBOXES[keeps_lines].from_string(template)
