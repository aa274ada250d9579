"""The bodies of LLM and prompt nodes: a template and its values in, an answer or a text out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from farthing.core.errors import FlowFormatError
from farthing.flows.engine.plan import Body
from farthing.flows.graph import Node
from farthing.flows.models import TAKES_PIECES, Models, Spent
from farthing.flows.prompts.chat import parse_chat, pictures_in
from farthing.flows.prompts.guard import Guard, PromptText, unguard
from farthing.flows.prompts.requests import (
    Api,
    Vendor,
    chat_body,
    completion_body,
    parameter_names,
)
from farthing.flows.prompts.templates import chat_lists, render, with_pictures_apart

#: Makes a text that nobody can guess; see `guard.Guard`.
NewToken = Callable[[], str]


class Llm:
    """An LLM node ready to run. spent: what its calls have cost so far, all lines together."""

    def __init__(
        self,
        node: Node,
        template: str,
        models: Models,
        *,
        vendor: Vendor,
        new_token: NewToken,
        detail: str = "auto",
        is_last: bool = False,
    ) -> None:
        """is_last: only outputs of the flow read it, so it comes piece by piece to whoever takes pieces.

        Raises FlowFormatError: no api, no model, or a template variable with a parameter's name.
        """
        self._node = node
        self._api: Api = msgspec.convert(node.api or "chat", Api)
        self._vendor = vendor
        self._models = models
        self._new_token = new_token
        self._detail = detail
        self._is_last = is_last
        self._template = with_pictures_apart(template)
        self._parameters = parameter_names(self._api, vendor)
        self._model_name = "deployment_name" if vendor == "AzureOpenAI" else "model"
        self.spent = Spent()

    @property
    def body(self) -> Body:
        """What the engine calls."""
        return Body(call=self._call, is_async=True, wants_exposed=True)

    async def _call(self, exposed: frozenset[str], **values: Any) -> Any:
        given = {name: value for name, value in values.items() if name in self._parameters}
        rest = {name: value for name, value in values.items() if name not in self._parameters}
        if self._is_last and TAKES_PIECES.get():
            given["stream"] = True
        body = self.request(given, rest, exposed)
        if body.get("stream"):
            return self._models.stream(self._api, body, self.spent)
        answer = await self._models.ask(self._api, body, self.spent)
        choice = answer["choices"][0]
        if self._api == "completion":
            return choice.get("text", "")
        message = choice.get("message") or {}
        if given.get("tools") or given.get("functions"):
            return message
        return message.get("content", "")

    def request(
        self, given: dict[str, Any], rest: dict[str, Any], exposed: frozenset[str]
    ) -> dict[str, Any]:
        """The body of the request. given: parameters of the API; rest: the template's values."""
        model = str(given.get(self._model_name) or "")
        if not model:
            raise FlowFormatError(
                f"The LLM node '{self._node.name}' names no model.",
                hint=f"Add {self._model_name} to its inputs.",
                node=self._node.name,
                field=f"inputs.{self._model_name}",
                path=self._node.span.path or None,
                line=self._node.span.line,
            )
        guard = Guard(self._new_token)
        is_chat = self._api == "chat"
        template, is_text = self._template, False
        if isinstance(rest.get("prompt"), str):
            # The tool's own parameter of that name: a prompt that is handed in takes the template's place.
            # What a prompt node has rendered is text; a user's braces in it must not be read again. Nor may a
            # user's own prompt put roles together that the guard has not seen.
            is_text = isinstance(rest["prompt"], PromptText) or (is_chat and "prompt" in exposed)
            template = guard.guarded({"prompt": rest["prompt"]}, exposed)["prompt"]
            rest = {name: value for name, value in rest.items() if name != "prompt"}
        if is_chat and self._vendor == "AzureOpenAI":
            rest = chat_lists(rest)
        values = guard.guarded(rest, exposed)
        text = template if is_text else render(template, values)
        if not is_chat:
            return completion_body(model, unguard(text, guard.tokens), given)
        messages = parse_chat(text, list(pictures_in(rest)), detail=self._detail)
        return chat_body(self._vendor, model, unguard(messages, guard.tokens), given)


def prompt_body(template: str, new_token: NewToken) -> Body:
    """The body of a prompt node: its text, in which the template's roles count and the inputs' do not."""

    def call(exposed: frozenset[str], **values: Any) -> PromptText:
        guard = Guard(new_token)
        text = render(template, guard.guarded(values, exposed))
        return PromptText.of(text, guard.tokens)

    return Body(call=call, is_async=False, wants_exposed=True)
