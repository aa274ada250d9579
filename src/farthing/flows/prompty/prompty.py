"""Prompties as functions: `Prompty.load("chat.prompty")(question="…")`, awaited or not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from farthing.base.tokens.count import count_tokens
from farthing.core.errors import FlowError, FlowFormatError, FlowInputError, UnknownModelError
from farthing.flows.engine import ambient
from farthing.flows.engine.ambient import Ambient
from farthing.flows.prompts.chat import parse_chat, pictures_in
from farthing.flows.prompts.guard import Guard, new_token, unguard
from farthing.flows.prompts.requests import Api, prompty_body
from farthing.flows.prompts.templates import PromptError, render, with_pictures_apart
from farthing.flows.prompty.answers import Answer, result_of, text_result, wants_json
from farthing.flows.prompty.file import Dialect, PromptyFile
from farthing.flows.prompty.format import load
from farthing.flows.prompty.messages import Marked, text_of
from farthing.flows.prompty.pictures import with_pictures

#: Configurations without a connection; the other names are older spellings.
_TYPES = ("azure_openai", "azure_open_ai", "openai", "open_ai", "serverless")
#: Where prompt flow takes from what a configuration leaves out.
_VARIABLES = {
    "azure": ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "OPENAI_API_VERSION"),
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
}
#: Prompt flow counts every model's tokens as this one's.
_COUNTED_AS = "gpt-3.5-turbo-0613"
_TOKENS_A_MESSAGE, _TOKENS_A_NAME, _TOKENS_OF_A_REPLY = 3, 1, 3
#: An image of 1024 x 1024 in high detail: 85 and four tiles of 170 (OpenAI's vision guide).
_TOKENS_AN_IMAGE = 765

Prompt = str | list[dict[str, Any]]


class PromptyModelError(FlowError):
    """No model answers to what a prompty asks for."""

    code = "prompty_model_unknown"
    status = 404


class Prompty:
    """A prompt file that is called like a function, from plain code. Its model is asked through the gateway.

    In a flow it uses the flow's account, elsewhere the client of `farthing.chat`.
    """

    def __init__(
        self, path: str | os.PathLike[str], model: Mapping[str, Any] | None = None, **changes: Any
    ) -> None:
        """See `load`."""
        self.file: PromptyFile = load(Path(path), model=model, changes=changes)
        self._marked: Marked | None = None  # made when it is first rendered

    @classmethod
    def load(cls, source: str | os.PathLike[str], **changes: Any) -> Prompty:
        """Read a file. model: merged into its model, at every depth. Raises FlowFormatError."""
        return cls(source, **changes)

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        """Ask. Without inputs the sample's are taken.

        Returns the answer's text; for JSON a mapping; with `response: all` everything; for calls of tools
        the message; with `stream: true` a generator of texts. Raises the FarthingError tree.
        """
        body = self._body(args, inputs)
        here = ambient.current()
        if not body.get("stream"):
            return result_of(self.file, here.wait(self._ask(here, body, inputs.get("timeout"))))
        pieces = here.iterate(self._pieces(here, body))
        if self.file.response == "all":
            return (_piece_of_all(text) for text in pieces)
        return text_result(self.file, "".join(pieces)) if wants_json(self.file) else pieces

    def render(self, *args: Any, **inputs: Any) -> str:
        """The prompt with its values; of a chat the list of messages, as Python writes it."""
        return str(self._prompt(args, inputs))

    def estimate_token_count(self, *args: Any, **inputs: Any) -> int:
        """The tokens of the prompt and of `max_tokens` together. Raises FlowFormatError."""
        limit = self.file.parameters.get("max_tokens")
        if limit is not None and (not isinstance(limit, int) or limit <= 1):
            raise FlowFormatError(
                "max_tokens is no whole number above 1.",
                hint="Write e.g. max_tokens: 256.",
                field="model.parameters.max_tokens",
                path=str(self.file.path),
            )
        return _tokens(self._prompt(args, inputs)) + (limit or 0)

    # --- inside ---

    def _prompt(self, args: Sequence[Any], given: Mapping[str, Any]) -> Prompt:
        if args:
            raise FlowInputError(
                f"The prompty '{self.file.name}' takes its inputs by name.",
                hint="Write prompty(question=…).",
            )
        values = self._inputs(given)
        try:
            if self.file.dialect is Dialect.SECOND:
                return self._second(values)
            return self._first(with_pictures(values, self.file.path.parent))
        except PromptError as error:
            if error.line is not None:
                line = self.file.template_line + error.line - 1
                raise FlowFormatError(
                    error.message,
                    hint=error.hint,
                    path=str(self.file.path),
                    line=line,
                ) from None
            raise

    def _first(self, values: Mapping[str, Any]) -> Prompt:
        """The prompt as prompt flow makes it."""
        template = with_pictures_apart(self.file.template)
        if self.file.api == "completion":
            return render(template, values)
        guard = Guard(lambda: new_token(ambient.clock()))
        text = render(template, guard.guarded(values, values))
        messages: list[dict[str, Any]] = unguard(
            parse_chat(text, list(pictures_in(values))), guard.tokens
        )
        return messages

    def _second(self, values: Mapping[str, Any]) -> Prompt:
        """The prompt as Prompty's second version makes it."""
        if self.file.api == "completion":
            return render(self.file.template, values, keeps_lines=True)
        if self._marked is None:
            self._marked = Marked(self.file.template, ambient.clock().token_bytes(16).hex())
        messages = self._marked.messages(values, self.file.rich, self.file.path.parent)
        return text_of(messages) if self.file.api == "embedding" else messages

    def _inputs(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the template. Raises FlowInputError that lists all that are missing."""
        signature = self.file.signature
        known = given or self.file.samples
        missing = [
            each.name for each in signature if each.name not in known and not each.has_default
        ]
        if missing:
            raise FlowInputError(
                f"The prompty '{self.file.name}' lacks the inputs {', '.join(map(repr, missing))}.",
                hint="Give them by name, or write defaults or a sample in its front matter.",
                param=missing[0],
            )
        taken = {each.name: known.get(each.name, each.default) for each in signature}
        if self.file.dialect is Dialect.FIRST:
            return taken
        # What is not declared goes to the template too, and what has no value prints as nothing.
        return {name: value for name, value in {**known, **taken}.items() if value is not None}

    def _body(self, args: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
        prompt = self._prompt(args, given)
        self.check_model()
        if self.file.dialect is Dialect.SECOND:
            field = {"chat": "messages", "completion": "prompt", "embedding": "input"}
            return {**self.file.parameters, "model": self.file.model, field[self.file.api]: prompt}
        api: Api = "completion" if self.file.api == "completion" else "chat"
        return prompty_body(api, self.file.model or "", prompt, self.file.parameters)

    def check_model(self) -> None:
        """Raises FlowFormatError when the front matter names no model, or a kind that there is not."""
        told = self.file.configuration
        kind = told.get("type")
        is_first = self.file.dialect is Dialect.FIRST
        if is_first and kind is not None and kind not in _TYPES and not told.get("connection"):
            raise FlowFormatError(
                f"The configuration's type is '{kind}', which does not run here.",
                hint="Write azure_openai or openai; any model of the gateway can be named.",
                field="model.configuration.type",
                path=str(self.file.path),
            )
        if not self.file.model:
            raise FlowFormatError(
                "It names no model.",
                hint="Write azure_deployment: or model: below model.configuration, or model: with a name alone.",
                field="model.configuration" if is_first else "model",
                path=str(self.file.path),
                line=self.file.model_span.line,
            )

    async def _ask(self, here: Ambient, body: dict[str, Any], timeout_s: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(timeout_s):
                return await here.models.ask(self.file.api, body, here.spent)
        except UnknownModelError as error:
            raise self._unknown_model(error) from error

    async def _pieces(self, here: Ambient, body: dict[str, Any]) -> AsyncGenerator[str, None]:
        try:
            async with aclosing(here.models.stream(self.file.api, body, here.spent)) as pieces:
                async for text in pieces:
                    yield text
        except UnknownModelError as error:
            raise self._unknown_model(error) from error

    def _unknown_model(self, error: UnknownModelError) -> PromptyModelError:
        """Says what is missing: prompt flow would look for the model in these variables."""
        is_first = self.file.dialect is Dialect.FIRST
        kind = str(self.file.configuration.get("type") or ("azure" if is_first else ""))
        names = _VARIABLES.get("azure" if "azure" in kind else kind, ())
        if is_first and not names:
            names = _VARIABLES["openai"]
        missing = [name for name in names if not os.environ.get(name)]
        hint = f"Add the model to the gateway's settings. {error.hint or ''}".strip()
        if missing:
            hint = f"Set {', '.join(missing)}, or a{hint[1:]}"
        return PromptyModelError(
            f"The prompty '{self.file.name}' asks for '{self.file.model}', which the gateway does not have.",
            hint=hint,
        )


class AsyncPrompty(Prompty):
    """A `Prompty` that is awaited: `await AsyncPrompty.load("chat.prompty")(question="…")`."""

    async def __call__(self, *args: Any, **inputs: Any) -> Any:
        """As `Prompty.__call__`; with `stream: true` an asynchronous generator of texts."""
        return await self.call(ambient.current(), *args, **inputs)

    async def call(self, here: Ambient, /, *args: Any, **inputs: Any) -> Any:
        """Ask through these models."""
        body = self._body(args, inputs)
        if not body.get("stream"):
            asking = self._ask(here, body, inputs.get("timeout"))
            return result_of(self.file, await here.hand_over(asking))
        pieces = here.aiterate(self._pieces(here, body))
        if self.file.response == "all":
            return (_piece_of_all(text) async for text in pieces)
        if wants_json(self.file):
            return text_result(self.file, "".join([text async for text in pieces]))
        return pieces


def _piece_of_all(text: str) -> Answer:
    """A piece of a streamed answer, in the form in which vendors' clients give it; text only."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    found: Answer = Answer.of({"object": "chat.completion.chunk", "choices": [choice]})
    return found


def _tokens(prompt: Prompt) -> int:
    if isinstance(prompt, str):
        return count_tokens(prompt, _COUNTED_AS).tokens
    total = _TOKENS_OF_A_REPLY
    for message in prompt:
        total += _TOKENS_A_MESSAGE + (_TOKENS_A_NAME if "name" in message else 0)
        for value in message.values():
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, dict) and part.get("type") == "image_url":
                    total += _TOKENS_AN_IMAGE
                    continue
                text = part.get("text") if isinstance(part, dict) else part
                if isinstance(text, str):
                    total += count_tokens(text, _COUNTED_AS).tokens
    return total
