"""Prompt templates, rendered in a sandbox."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError

from farthing.core.errors import FlowError
from farthing.flows.prompts import sandbox

#: `![image]({{name}})` moves the image to a line of its own, where the reader of chats finds it.
IMAGE_PLACE = re.compile(r"!\[\s*image\s*\]\(\{\{(\s*[^\s{}]+\s*)\}\}\)")


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
        return sandbox.rendered(_compiled(template, keeps_lines), values)
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


def with_pictures_apart(template: str) -> str:
    """The template with each image on a line of its own."""
    return IMAGE_PLACE.sub(lambda found: f"\n{{{{{found[1]}}}}}\n", template)


@lru_cache(maxsize=512)
def _compiled(template: str, keeps_lines: bool) -> Template:
    return sandbox.compiled(template, keeps_lines=keeps_lines)
