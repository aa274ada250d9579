"""The requests of LLM nodes: which inputs are parameters of the API, and what is sent, default by default.

The rules are those of prompt flow's tools (1.6.1), so that a flow's requests stay what they were: Azure sends
`n`, OpenAI does not; empty values are left out; `tools` win over `functions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

import msgspec

from farthing.core.errors import FlowError

Api = Literal["chat", "completion"]
Vendor = Literal["AzureOpenAI", "OpenAI"]

_COMMON = (
    "temperature", "top_p", "max_tokens", "stop", "presence_penalty", "frequency_penalty", "logit_bias",
    "user", "n", "stream",
)  # fmt: skip
_CHAT = (*_COMMON, "response_format", "functions", "function_call", "tools", "tool_choice", "seed")
_COMPLETION = (*_COMMON, "suffix", "logprobs", "echo", "best_of")
#: Parameters that are lists or mappings; in a flow's YAML they may be written as JSON text.
_STRUCTURED = (
    "stop", "functions", "function_call", "tools", "tool_choice", "response_format", "logit_bias",
)  # fmt: skip
#: Arguments of a vendor's client that are no part of a body.
_CLIENT_ONLY = ("extra_headers", "extra_query", "extra_body", "timeout")


class RequestFormatError(FlowError):
    """A parameter of an LLM node has a value that its API cannot take."""

    code = "llm_request_invalid"
    status = 400


def parameter_names(api: Api, vendor: Vendor) -> frozenset[str]:
    """The inputs of an LLM node that go to the API; all others are the template's."""
    names = set(_CHAT if api == "chat" else _COMPLETION)
    names.add("deployment_name" if vendor == "AzureOpenAI" else "model")
    if api == "chat" and vendor == "OpenAI":
        names.discard("n")
    return frozenset(names)


def chat_body(
    vendor: Vendor, model: str, messages: list[dict[str, Any]], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of a chat request. Raises RequestFormatError."""
    given = _structured(given)
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "temperature": _number(given, "temperature", 1.0),
        "top_p": _number(given, "top_p", 1.0),
    }
    if vendor == "AzureOpenAI":
        body["n"] = _whole(given, "n", 1)
    body["stream"] = _flag(given, "stream")
    tools, functions = given.get("tools"), given.get("functions")
    if tools:
        _check_tools(tools)
        body["tools"] = tools
        choice = given.get("tool_choice")
        if vendor == "AzureOpenAI":
            choice = _tool_choice(choice)
        body["tool_choice"] = choice
    elif functions:
        _check_functions(functions, "functions")
        body["functions"] = functions
        body["function_call"] = _function_call(given.get("function_call"))
    if given.get("stop"):
        body["stop"] = given["stop"]
    limit = given.get("max_tokens")
    if limit is not None and str(limit).lower() != "inf":
        body["max_tokens"] = _whole(given, "max_tokens", 0)
    for name in ("logit_bias", "response_format"):
        if given.get(name):
            body[name] = given[name]
    if given.get("seed") is not None:
        body["seed"] = _whole(given, "seed", 0)
    for name in ("presence_penalty", "frequency_penalty"):
        if given.get(name) is not None:
            body[name] = _number(given, name, 0.0)
    if given.get("user"):
        body["user"] = given["user"]
    return body


def completion_body(model: str, prompt: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a completion request. Raises RequestFormatError."""
    given = _structured(given)
    body: dict[str, Any] = {
        "model": model,
        "prompt": prompt,
        "max_tokens": _whole(given, "max_tokens", 16),
        "temperature": _number(given, "temperature", 1.0),
        "top_p": _number(given, "top_p", 1.0),
        "n": _whole(given, "n", 1),
        "stream": _flag(given, "stream"),
        "echo": _flag(given, "echo"),
        "best_of": _whole(given, "best_of", 1),
        "logit_bias": given.get("logit_bias") or {},
        "user": given.get("user") or "",
    }
    if given.get("suffix"):
        body["suffix"] = given["suffix"]
    if given.get("logprobs"):
        body["logprobs"] = _whole(given, "logprobs", 0)
    if given.get("stop"):
        body["stop"] = given["stop"]
    for name in ("presence_penalty", "frequency_penalty"):
        if given.get(name) is not None:
            body[name] = _number(given, name, 0.0)
    return body


def prompty_body(
    api: Api, model: str, prompt: str | list[dict[str, Any]], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of a prompty's request: its parameters as they are written, and no others.

    prompt: the messages of a chat, the text of a completion. Raises RequestFormatError.
    """
    body = {name: value for name, value in parameters.items() if name not in _CLIENT_ONLY}
    body.update(parameters.get("extra_body") or {})
    body["model"] = model
    body["prompt" if api == "completion" else "messages"] = prompt
    if "tools" in body:
        if body["tools"] == []:
            raise _wrong("tools", "is empty", "at least one tool, or leave it out")
        _check_tools(body["tools"])
        body["tool_choice"] = _tool_choice(body.get("tool_choice"))
    elif "functions" in body:
        if body["functions"] == []:
            raise _wrong("functions", "is empty", "at least one function, or leave it out")
        _check_functions(body["functions"], "functions")
        body["function_call"] = _function_call(body.get("function_call"))
    return body


def _structured(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, with JSON text made the list or mapping that it stands for; other text is kept."""
    found = dict(given)
    for name in _STRUCTURED:
        value = found.get(name)
        if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
            with suppress(msgspec.DecodeError):
                found[name] = msgspec.json.decode(value)
    return found


def _number(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name, default)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise RequestFormatError(
            f"The parameter {name} is a {type(value).__name__} that is no number.",
            hint=f"Write a number, e.g. {name}: {default:g}.",
            param=name,
        ) from None


def _whole(given: Mapping[str, Any], name: str, default: int) -> int:
    value = given.get(name)
    try:
        return default if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        raise RequestFormatError(
            f"The parameter {name} is a {type(value).__name__} that is no whole number.",
            hint=f"Write a whole number, e.g. {name}: {default or 256}.",
            param=name,
        ) from None


def _flag(given: Mapping[str, Any], name: str) -> bool:
    return str(given.get(name)).lower() == "true"


def _check_functions(functions: Any, name: str) -> None:
    if not isinstance(functions, list):
        raise _wrong(name, "is no list", 'a list of {"name": …, "parameters": {…}}')
    for number, function in enumerate(functions):
        _check_function(function, f"{name}[{number}]")


def _check_function(function: Any, where: str) -> None:
    if not isinstance(function, dict):
        raise _wrong(where, "is no mapping", '{"name": …, "parameters": {…}}')
    for key in ("name", "parameters"):
        if key not in function:
            raise _wrong(where, f"has no '{key}'", '{"name": …, "parameters": {…}}')
    parameters = function["parameters"]
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        raise _wrong(f"{where}.parameters", "is not of the type object", '{"type": "object", …}')
    if not isinstance(parameters.get("properties"), dict):
        raise _wrong(f"{where}.parameters", "has no properties", '{"properties": {…}}')


def _check_tools(tools: Any) -> None:
    if not isinstance(tools, list):
        raise _wrong("tools", "is no list", 'a list of {"type": "function", "function": {…}}')
    for number, tool in enumerate(tools):
        if not isinstance(tool, dict) or "type" not in tool or "function" not in tool:
            raise _wrong(
                f"tools[{number}]",
                "has no type or no function",
                '{"type": "function", "function": {…}}',
            )
        _check_function(tool["function"], f"tools[{number}].function")


def _function_call(given: Any) -> Any:
    if given is None:
        return "auto"
    if given not in ("auto", "none") and not (isinstance(given, dict) and "name" in given):
        raise _wrong("function_call", "names no function", '"auto", "none" or {"name": …}')
    return given


def _tool_choice(given: Any) -> Any:
    if given is None:
        return "auto"
    if given in ("auto", "none"):
        return given
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(function, dict) or "name" not in function or "type" not in given:
        raise _wrong(
            "tool_choice",
            "names no tool",
            '"auto" or {"type": "function", "function": {"name": …}}',
        )
    return given


def _wrong(where: str, what: str, example: str) -> RequestFormatError:
    return RequestFormatError(f"{where} {what}.", hint=f"Write {example}.", param=where)
