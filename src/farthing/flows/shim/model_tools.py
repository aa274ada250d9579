"""Prompt flow's tools for models, as Python code and package nodes call them: chat, completion, embedding.

They ask through the line's models, as LLM nodes do: a connection says by its type how a request is written, and the
gateway who answers it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from farthing.flows.code.marks import EXPOSED, PromptTemplate
from farthing.flows.code.tool import ToolProvider, node
from farthing.flows.connections.types import (
    AzureOpenAIConnection,
    Connection,
    OpenAIConnection,
    ServerlessConnection,
)
from farthing.flows.engine import ambient
from farthing.flows.prompts.chat import ROLES, Message, parse_chat, pictures_in
from farthing.flows.prompts.guard import Guard, new_token, unguard
from farthing.flows.prompts.requests import (
    Api,
    RequestFormatError,
    Vendor,
    chat_body,
    completion_body,
    parameter_names,
)
from farthing.flows.prompts.templates import chat_lists, render, with_pictures_apart
from farthing.flows.tools.errors import InvalidConnectionType


class EmbeddingModel(StrEnum):
    """The models that the embedding tool names; any other name is handed on."""

    TEXT_EMBEDDING_ADA_002 = "text-embedding-ada-002"
    TEXT_SEARCH_ADA_DOC_001 = "text-search-ada-doc-001"
    TEXT_SEARCH_ADA_QUERY_001 = "text-search-ada-query-001"


class AzureOpenAI(ToolProvider):
    """The models of one connection to Azure."""

    def __init__(self, connection: AzureOpenAIConnection) -> None:
        self.connection = connection

    @node
    def chat(self, prompt: PromptTemplate, deployment_name: str, **values: Any) -> Any:
        """See `chat`."""
        return chat("AzureOpenAI", prompt, deployment_name, values)

    @node
    def completion(self, prompt: PromptTemplate, deployment_name: str, **values: Any) -> Any:
        """See `completion`."""
        return completion("AzureOpenAI", prompt, deployment_name, values)


class OpenAI(ToolProvider):
    """The models of one connection to OpenAI."""

    def __init__(self, connection: OpenAIConnection) -> None:
        self.connection = connection

    @node
    def chat(self, prompt: PromptTemplate, model: str = "", **values: Any) -> Any:
        """See `chat`."""
        return chat("OpenAI", prompt, model, values)

    @node
    def completion(self, prompt: PromptTemplate, model: str = "", **values: Any) -> Any:
        """See `completion`."""
        return completion("OpenAI", prompt, model, values)


class AzureVision(ToolProvider):
    """Chats about images with models of one connection to Azure."""

    def __init__(self, connection: AzureOpenAIConnection) -> None:
        self.connection = connection

    @node
    def chat(self, prompt: PromptTemplate, deployment_name: str, **values: Any) -> Any:
        """See `chat_about_images`."""
        return chat_about_images(prompt, deployment_name, values)


class OpenAIVision(ToolProvider):
    """Chats about images with models of one connection to OpenAI."""

    def __init__(self, connection: OpenAIConnection) -> None:
        self.connection = connection

    @node
    def chat(
        self, prompt: PromptTemplate, model: str = "gpt-4-vision-preview", **values: Any
    ) -> Any:
        """See `chat_about_images`."""
        return chat_about_images(prompt, model, values)


def chat(vendor: Vendor, prompt: str, model: str, values: dict[str, Any]) -> Any:
    """The answer's text; its whole message when functions or tools were offered; pieces when streaming.

    values: parameters of the API, all others are the template's.
    """
    given, rest = _divided("chat", vendor, values)
    pictures = rest.pop("images", None) or []
    guard, shown = guarded(chat_lists(rest) if vendor == "AzureOpenAI" else rest)
    messages = parse_chat(render(prompt, shown), pictures)
    body = chat_body(vendor, model, unguard(messages, guard.tokens), given)
    return _chat(body, wants_message=bool(given.get("tools") or given.get("functions")))


def chat_about_images(prompt: str, model: str, values: dict[str, Any]) -> Any:
    """As `chat`, with the images among the values put where the template names them."""
    taken = ("temperature", "top_p", "stream", "stop", "max_tokens", "seed", "detail",
             "presence_penalty", "frequency_penalty")  # fmt: skip
    given = {name: value for name, value in values.items() if name in taken}
    rest = {name: value for name, value in values.items() if name not in taken}
    guard, shown = guarded(chat_lists(rest))
    text = render(with_pictures_apart(prompt), shown)
    messages: list[Message] = unguard(parse_chat(text, list(pictures_in(rest))), guard.tokens)
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "temperature": given.get("temperature", 1.0),
        "top_p": given.get("top_p", 1.0),
        "n": 1,
        "stream": bool(given.get("stream")),
        "presence_penalty": given.get("presence_penalty", 0),
        "frequency_penalty": given.get("frequency_penalty", 0),
    }
    if given.get("stop"):
        body["stop"] = given["stop"]
    for name in ("max_tokens", "seed"):
        if given.get(name) is not None:
            body[name] = given[name]
    return _chat(body)


def completion(vendor: Vendor, prompt: str, model: str, values: dict[str, Any]) -> Any:
    """The text that goes on from the prompt; pieces of it when streaming."""
    given, rest = _divided("completion", vendor, values)
    guard, shown = guarded(rest)
    body = completion_body(model, unguard(render(prompt, shown), guard.tokens), given)
    if body["stream"]:
        return _stream("completion", body)
    return ask("completion", body)["choices"][0].get("text", "")


@node
def llm(
    connection: AzureOpenAIConnection | OpenAIConnection | ServerlessConnection,
    prompt: PromptTemplate,
    api: str = "chat",
    deployment_name: str = "",
    model: str = "",
    **values: Any,
) -> Any:
    """See `chat` and `completion`. Raises InvalidConnectionType for a connection that leads to no model."""
    if isinstance(connection, AzureOpenAIConnection):
        vendor: Vendor = "AzureOpenAI"
        name = deployment_name
    else:
        _check_leads(connection, (OpenAIConnection, ServerlessConnection))
        vendor, name = "OpenAI", model
    return (completion if api == "completion" else chat)(vendor, prompt, name, values)


@node
def llm_vision(
    connection: AzureOpenAIConnection | OpenAIConnection,
    prompt: PromptTemplate,
    deployment_name: str = "",
    model: str = "",
    **values: Any,
) -> Any:
    """See `chat_about_images`. Raises InvalidConnectionType for a connection that leads to no model."""
    if isinstance(connection, AzureOpenAIConnection):
        return chat_about_images(prompt, deployment_name, values)
    _check_leads(connection, (OpenAIConnection,))
    return chat_about_images(prompt, model, values)


@node
def embedding(
    connection: AzureOpenAIConnection | OpenAIConnection | ServerlessConnection,
    input: str,  # noqa: A002 -- the name that flows give it
    deployment_name: str = "",
    model: str = EmbeddingModel.TEXT_EMBEDDING_ADA_002,
) -> list[float]:
    """The vector of a text. Raises FlowError for a connection that leads to no model."""
    body: dict[str, Any] = {"input": input, "model": model}
    if isinstance(connection, AzureOpenAIConnection):
        body["model"] = deployment_name
    elif isinstance(connection, ServerlessConnection):
        body.update(input=[input], encoding_format="float")
    else:
        _check_leads(connection, (OpenAIConnection,))
    vector: list[float] = ask("embedding", body)["data"][0]["embedding"]
    return vector


def parsed(
    chat_str: str,
    images: list[Any] | None = None,
    valid_roles: list[str] | None = None,
    image_detail: str = "auto",
    **_told: Any,
) -> list[Message]:
    """The messages of a rendered prompt. Raises RequestFormatError for roles that chats do not have."""
    unknown = [role for role in valid_roles or () if role not in ROLES]
    if unknown:
        raise RequestFormatError(
            f"Chats have no role '{unknown[0]}'.", hint=f"They have: {', '.join(ROLES)}."
        )
    return parse_chat(chat_str, images or [], detail=image_detail)


def rendered(
    template_content: str,
    trim_blocks: bool = True,
    keep_trailing_newline: bool = True,
    **values: Any,
) -> str:
    """The template with its values; blocks are trimmed and the last newline kept, as prompts are."""
    values.pop("escape_dict", None)
    return render(template_content, values)


def _chat(body: dict[str, Any], *, wants_message: bool = False) -> Any:
    if body["stream"]:
        return _stream("chat", body)
    message = ask("chat", body)["choices"][0].get("message") or {}
    return message if wants_message else message.get("content", "")


def guarded(
    values: Mapping[str, Any], *, is_anywhere: bool = False
) -> tuple[Guard, dict[str, Any]]:
    """The values to render, those that come from the flow's inputs unable to begin a message; see `Guard`."""
    guard = Guard(lambda: new_token(ambient.clock()), is_anywhere=is_anywhere)
    rest = {name: value for name, value in values.items() if name != EXPOSED}
    return guard, guard.guarded(rest, values.get(EXPOSED) or ())


def ask(api: str, body: dict[str, Any]) -> dict[str, Any]:
    """The whole answer of a model of the line's gateway. api: as in `Models`. Blocks its thread."""
    here = ambient.current()
    return here.wait(here.models.ask(api, body, here.spent))


def _stream(api: str, body: dict[str, Any]) -> Iterator[str]:
    here = ambient.current()
    return here.iterate(here.models.stream(api, body, here.spent))


def _check_leads(connection: Connection, kinds: tuple[type[Connection], ...]) -> None:
    if not isinstance(connection, kinds):
        known = ", ".join(("azure_open_ai", *(kind.YAML for kind in kinds)))
        raise InvalidConnectionType(
            f"A {type(connection).__name__} leads to no model of this tool.",
            hint=f"Use a connection of one of the types {known}.",
        )


def _divided(
    api: Api, vendor: Vendor, values: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    names = parameter_names(api, vendor)
    given = {name: value for name, value in values.items() if name in names}
    return given, {name: value for name, value in values.items() if name not in names}
