"""`Prompt`: a template, and a model asked with it; what LLM and prompt nodes are in a flow written in Python."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any

from farthing.core.errors import FlowFormatError, FlowInputError
from farthing.flows.engine import ambient
from farthing.flows.engine.ambient import Ambient
from farthing.flows.graph import Node
from farthing.flows.models import Models, Spent
from farthing.flows.prompts.guard import PromptText, new_token
from farthing.flows.prompts.llm import Llm, prompt_body
from farthing.flows.prompts.requests import Api, Vendor
from farthing.flows.python.connection import vendor_of


class Prompt:
    """A Jinja template in prompt flow's form: `system:` and `user:` on lines of their own begin messages.

    api: `chat` or `completion`. provider: whose form requests have; a connection's type counts before it.
    untrusted: the values in which role words are text, because they come from outside.
    """

    def __init__(
        self,
        template: str,
        *,
        api: Api = "chat",
        connection: str | None = None,
        provider: Vendor = "AzureOpenAI",
        untrusted: Iterable[str] = (),
    ) -> None:
        self.template = template
        self._api: Api = api
        self._connection = connection
        self._provider: Vendor = provider
        self._untrusted = frozenset(untrusted)

    @classmethod
    def read(cls, file: Path, **told: Any) -> Prompt:
        """The template in a file. told: as for a new one. Raises FlowFormatError."""
        try:
            return cls(file.read_text(encoding="utf-8-sig"), **told)
        except (OSError, UnicodeDecodeError) as error:
            raise FlowFormatError(
                "The template cannot be read.",
                hint="It should be UTF-8 text, where the flow's module says.",
                path=str(file),
            ) from error

    async def ask(self, /, **values: Any) -> Any:
        """Render the template and ask a model: its text, or pieces of it where `stream` is true.

        values: what is a parameter of the API (`deployment_name`, or `model` for OpenAI; `temperature`,
        `max_tokens`, `response_format`, …) goes to the API, with prompt flow's defaults; all else to the
        template. With `tools` or `functions` the whole message comes back. Raises FlowInputError: no model
        is named; RequestFormatError, PromptError, and what the call itself raises.
        """
        vendor = vendor_of(self._connection, self._provider)
        parameter = "deployment_name" if vendor == "AzureOpenAI" else "model"
        if not values.get(parameter):
            raise FlowInputError(
                f"The prompt names no model: {parameter} is not given.",
                hint=f'Write .ask(…, {parameter}="…").',
                param=parameter,
            )
        node = Node(name="prompt", kind="llm", api=self._api)
        models = _Here(ambient.current())
        llm = Llm(node, self.template, models, vendor=vendor, new_token=_new_token)
        return await llm.body.call(exposed=self._untrusted, **values)

    def render(self, /, **values: Any) -> PromptText:
        """The template with its values. Handed to `ask`, roles of untrusted values stay text in it too."""
        body = prompt_body(self.template, _new_token)
        text: PromptText = body.call(exposed=self._untrusted, **values)
        return text


class _Here(Models):
    """The line's models, for whatever loop the line's code runs on."""

    def __init__(self, here: Ambient) -> None:
        self._here = here

    async def ask(self, api: str, body: dict[str, Any], spent: Spent) -> dict[str, Any]:
        here = self._here
        return await here.hand_over(here.models.ask(api, body, here.spent))

    def stream(self, api: str, body: dict[str, Any], spent: Spent) -> AsyncGenerator[str, None]:
        here = self._here
        return here.aiterate(here.models.stream(api, body, here.spent))


def _new_token() -> str:
    return new_token(ambient.clock())
