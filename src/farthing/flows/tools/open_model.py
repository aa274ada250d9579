"""Open models behind an endpoint of Azure Machine Learning: chat and completion, by the endpoint's own contract.

A serverless endpoint speaks as OpenAI does, so it is asked through the gateway, as a model that has the name of the
deployment, or else of the connection. A managed online endpoint has a contract of its own that no dialect of the
gateway knows and is paid by the hour, not by the token: it is asked straight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from farthing.core.errors import did_you_mean
from farthing.flows.code.marks import PromptTemplate
from farthing.flows.code.tool import NamesConnections, node
from farthing.flows.connections.connections import Connections
from farthing.flows.connections.types import CustomConnection
from farthing.flows.prompts.guard import unguard
from farthing.flows.prompts.templates import render
from farthing.flows.shim.model_tools import ask, guarded
from farthing.flows.tools.errors import (
    OpenModelLLMKeyValidationError,
    OpenModelLLMOnlineEndpointError,
    OpenModelLLMUserError,
)
from farthing.flows.tools.service import Service

SERVICE = Service(
    name="The endpoint of the open model",
    refused=OpenModelLLMOnlineEndpointError,
    broken=OpenModelLLMOnlineEndpointError,
    refusal="Look at endpoint_url, model_family and deployment_name: each family has its own form of request.",
    waits_s=(6.0, 18.0, 54.0, 162.0),
    key="secrets.endpoint_api_key",
)
#: The roles of Llama's chats. They need not begin a line, as those of other chats must; the guard looks for
#: the same.
_ROLE = re.compile(r"(system|user|assistant)\s*+:\s*\n", re.IGNORECASE)
_ROLES = ("system", "user", "assistant")
_SERVERLESS = ("serverless.ml.azure.com", "inference.ai.azure.com")
#: What a custom connection to a model has.
_KEYS = {"configs": ("endpoint_url", "model_family"), "secrets": ("endpoint_api_key",)}
#: The deployment that stands for the endpoint's own choice.
_DEFAULT = "default"


class API(StrEnum):
    """Which of the two interfaces."""

    CHAT = "chat"
    COMPLETION = "completion"


class ModelFamily(StrEnum):
    """Families of models, by what their endpoints take."""

    LLAMA = "LLaMa"
    DOLLY = "Dolly"
    GPT2 = "GPT-2"
    FALCON = "Falcon"


class _Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model is. name: of its connection."""

    name: str
    url: str
    key: str
    family: ModelFamily

    @property
    def is_serverless(self) -> bool:
        return any(host in self.url for host in _SERVERLESS) and self.family is ModelFamily.LLAMA


class OpenModelLLM(NamesConnections):
    """Asks open models by the custom connections that lead to them."""

    @node
    def call(
        self,
        prompt: PromptTemplate,
        api: API,
        endpoint_name: str,
        deployment_name: str | None = None,
        temperature: float | None = 1.0,
        max_new_tokens: int | None = 500,
        top_p: float | None = 1.0,
        model_kwargs: dict[str, Any] | None = None,
        **values: Any,
    ) -> Any:
        """The model's text. endpoint_name: `localConnection/NAME`. values: the template's.

        Raises OpenModelLLMUserError, OpenModelLLMKeyValidationError, OpenModelLLMOnlineEndpointError; of what
        goes through the gateway, its errors.
        """
        chosen = (deployment_name or "").strip()
        deployment = None if chosen in ("", _DEFAULT) else chosen
        endpoint = _given(values) or self._found(endpoint_name)
        guard, shown = guarded(values, is_anywhere=True)
        text = render(prompt, shown)
        parameters = {
            **(model_kwargs or {}),
            "top_p": top_p,
            "temperature": temperature,
            "max_new_tokens": max_new_tokens,
        }
        # Only Llama's endpoints know chats; to the others a prompt is a text.
        wants_chat = api == API.CHAT and endpoint.family is ModelFamily.LLAMA
        asked = unguard(parse_llama_chat(text) if wants_chat else text, guard.tokens)
        if endpoint.is_serverless:
            return _through_gateway(deployment or endpoint.name, asked, parameters)
        asked = asked if wants_chat else [asked]
        if endpoint.family is ModelFamily.LLAMA:
            parameters.setdefault("do_sample", True)
            body = {"input_data": {"input_string": asked, "parameters": parameters}}
        else:
            body = {"input_data": {"input_string": asked}, "parameters": parameters}
        return _text(_ask_straight(endpoint, deployment, body), wants_chat)

    def _found(self, endpoint_name: str) -> _Endpoint:
        kind, _, name = endpoint_name.partition("/")
        name = name.partition("/")[0]
        if kind.lower() in ("serverlessendpoint", "onlineendpoint", "connection"):
            raise OpenModelLLMUserError(
                f"'{endpoint_name}' is looked up in an Azure workspace, which flows do not do here.",
                hint="Create a custom connection with endpoint_url, model_family and the secret "
                "endpoint_api_key, and write endpoint_name: localConnection/NAME.",
            )
        if kind.lower() != "localconnection" or not name:
            raise OpenModelLLMUserError(
                f"'{endpoint_name[:80]}' names no endpoint.",
                hint="Write endpoint_name: localConnection/NAME, with the name of a custom connection.",
            )
        connections = self.connections or Connections(Path.cwd())
        found = connections.get(name, wanted=(CustomConnection.__name__,))
        for part, keys in _KEYS.items():
            held: Mapping[str, Any] = getattr(found, part)
            missing = next((key for key in keys if not held.get(key)), None)
            if missing is not None:
                raise OpenModelLLMKeyValidationError(
                    f"The connection '{name}' has no {missing} among its {part}.",
                    hint=did_you_mean(missing, held) or f"Set it: --set {part}.{missing}=…",
                )
        return _Endpoint(
            name=name,
            url=str(found.configs["endpoint_url"]),
            key=str(found.secrets["endpoint_api_key"]),
            family=_family(str(found.configs["model_family"])),
        )


def parse_llama_chat(text: str) -> list[dict[str, str]]:
    """The messages of a prompt in Llama's three roles. Raises OpenModelLLMUserError."""
    pieces = [piece.strip() for piece in _ROLE.split(text) if piece.strip()]
    messages = []
    for role, content in zip(pieces[::2], [*pieces[1::2], None], strict=False):
        if role.lower() not in _ROLES:
            raise OpenModelLLMUserError(
                "The prompt has text that belongs to no role.",
                hint="Begin each message with a line 'system:', 'user:' or 'assistant:', "
                "and leave no message empty.",
            )
        if content is None:
            raise OpenModelLLMUserError(
                f"The last message of the prompt, of the role '{role.lower()}', is empty.",
                hint="Write something below its role, or leave it out.",
            )
        messages.append({"role": role.lower(), "content": content})
    return messages


def _given(values: dict[str, Any]) -> _Endpoint | None:
    """The endpoint that the inputs themselves describe; they are no values of the template then."""
    names = ("endpoint_url", "endpoint_api_key", "model_family")
    told = [name for name in names if name in values]
    if not told:
        return None
    if len(told) < len(names):
        missing = ", ".join(name for name in names if name not in told)
        raise OpenModelLLMKeyValidationError(
            f"The inputs describe an endpoint and leave out {missing}.",
            hint="Give endpoint_url, endpoint_api_key and model_family together, or none of them.",
        )
    url, key, family = (str(values.pop(name)) for name in names)
    return _Endpoint(name="endpoint", url=url, key=key, family=_family(family))


def _family(said: str) -> ModelFamily:
    """By the name that connections have (`LLAMA`), or by the family's own (`LLaMa`)."""
    for family in ModelFamily:
        if said.lower() in (family.name.lower(), family.value.lower()):
            return family
    names = [family.name for family in ModelFamily]
    raise OpenModelLLMKeyValidationError(
        f"There is no model_family '{said[:40]}'.",
        hint=did_you_mean(said.upper(), names) or f"Known: {', '.join(names)}.",
    )


def _through_gateway(
    model: str, asked: str | list[dict[str, str]], parameters: Mapping[str, Any]
) -> Any:
    more = {"n": 1, **parameters, "max_tokens": parameters["max_new_tokens"]}
    if isinstance(asked, str):
        answer = ask("completion", {"model": model, "prompt": asked, **more})
        return answer["choices"][0].get("text", "")
    answer = ask("chat", {"model": model, "messages": asked, **more})
    return (answer["choices"][0].get("message") or {}).get("content", "")


def _ask_straight(endpoint: _Endpoint, deployment: str | None, body: Mapping[str, Any]) -> Any:
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {endpoint.key}",
        "x-ms-user-agent": f"PromptFlow/OpenModelLLM/{endpoint.family}",
    }
    if deployment is not None:
        headers["azureml-model-deployment"] = deployment
    return SERVICE.ask(
        "POST",
        endpoint.url,
        headers=headers,
        body=msgspec.json.encode(body),
        connection=endpoint.name,
    )


def _text(answer: Any, is_chat: bool) -> Any:
    """The one text of an answer: `{"output": …}` of a chat, `[{"0": …}]` of the rest."""
    if isinstance(answer, dict) and "output" in answer:
        return answer["output"]
    if not is_chat and isinstance(answer, list) and answer and isinstance(answer[0], dict):
        text = answer[0].get("0")
        if text is not None:
            return text
    raise SERVICE.malformed("it has no 'output'" if is_chat else "it has no first text")
