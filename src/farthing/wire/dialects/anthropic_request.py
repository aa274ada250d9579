"""Requests of the Messages API to ChatRequest and back."""

from __future__ import annotations

import msgspec

from farthing.core.chat import ChatRequest, Reasoning, ResponseFormat, Tool, ToolChoice
from farthing.core.errors import BadRequestError, UntranslatableError
from farthing.core.messages import Message
from farthing.wire.codec import Encoded
from farthing.wire.dialects._effort import budget_of, effort_of
from farthing.wire.dialects._fields import Fields, merged
from farthing.wire.dialects._foreign import foreign_fields, untranslatable
from farthing.wire.dialects.anthropic_content import Json, decode_content, encode_content
from farthing.wire.dialects.anthropic_turns import decode_turns, encode_turns, split_system
from farthing.wire.dialects.anthropic_words import (
    ALWAYS_THINKING,
    BETWEEN_TOOLS,
    BUDGET_MODELS,
    DEFAULT_MAX_TOKENS,
    LEAST_BUDGET,
    NAME,
    TIERS,
)

_MODES = {"auto": "auto", "any": "required", "none": "none", "tool": "tool"}
_CHOICES = {"auto": "auto", "required": "any", "none": "none", "tool": "tool"}


# --- decode -----------------------------------------------------------------------------------------


def decode_request(body: bytes) -> ChatRequest:
    """The request in core words. Raises BadRequestError naming the path."""
    fields = Fields(body, fail=BadRequestError)
    messages = (*_system(fields), *decode_turns(fields))
    choice, parallel = _tool_choice(fields)
    reasoning, response_format = _thinking_and_format(fields)
    user = _user(fields)
    return ChatRequest(
        dialect=NAME,
        model=fields.required_string("model"),
        messages=messages,
        stream=fields.boolean("stream") or False,
        include_usage=True,
        tools=tuple(_tool(tool) for tool in fields.objects("tools")),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=response_format,
        max_output_tokens=fields.integer("max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        stop=fields.strings("stop_sequences"),
        reasoning=reasoning,
        service_tier=fields.string("service_tier"),
        user=user,
        extra=fields.rest(),
    )


def _system(fields: Fields) -> list[Message]:
    if not fields.has("system"):
        return []
    return [Message(role="system", parts=decode_content(fields, "system"))]


def _tool(tool: Fields) -> Tool:
    kind = tool.string("type") or "custom"
    name = tool.string("name")
    if kind != "custom":
        return Tool(name=name or kind, kind=kind, raw=tool.verbatim)
    if name is None:
        raise tool.fault("name", "is missing.")
    return Tool(
        name=name,
        description=tool.string("description"),
        parameters=tool.raw("input_schema"),
        strict=tool.boolean("strict"),
        extra=tool.rest(),
    )


def _tool_choice(fields: Fields) -> tuple[ToolChoice | None, bool | None]:
    choice = fields.object("tool_choice")
    if choice is None:
        return None, None
    mode = _MODES.get(choice.required_string("type"))
    if mode is None:
        raise choice.fault("type", "must be 'auto', 'any', 'tool' or 'none'.")
    name = choice.required_string("name") if mode == "tool" else None
    disabled = choice.boolean("disable_parallel_tool_use")
    fields.put_back("tool_choice", choice.rest())
    return ToolChoice(mode=mode, name=name), None if disabled is None else not disabled  # type: ignore[arg-type]


def _thinking_and_format(fields: Fields) -> tuple[Reasoning | None, ResponseFormat | None]:
    budget, shown, effort, response_format = None, None, None, None
    thinking = fields.object("thinking")
    if thinking is not None:
        match thinking.required_string("type"):
            case "enabled":
                budget = thinking.integer("budget_tokens")
                if budget is None:
                    raise thinking.fault("budget_tokens", "is missing.")
            case "adaptive":
                budget = -1
            case "disabled":
                budget = 0
            case _:
                raise thinking.fault("type", "must be 'enabled', 'adaptive' or 'disabled'.")
        display = thinking.string("display")
        shown = None if display is None else display != "omitted"
        fields.put_back("thinking", thinking.rest())
    output = fields.object("output_config")
    if output is not None:
        effort = output.string("effort")
        response_format = _format(output.object("format"))
        fields.put_back("output_config", output.rest())
    response_format = response_format or _format(fields.object("output_format"))
    reasoning = Reasoning(effort=effort, budget_tokens=budget, include_thoughts=shown)
    return (reasoning if reasoning != Reasoning() else None), response_format


def _format(wanted: Fields | None) -> ResponseFormat | None:
    if wanted is None:
        return None
    if wanted.required_string("type") != "json_schema":
        raise wanted.fault("type", "must be 'json_schema'.")
    return ResponseFormat(kind="json_schema", schema=wanted.raw("schema"))


def _user(fields: Fields) -> str | None:
    metadata = fields.object("metadata")
    if metadata is None:
        return None
    user = metadata.string("user_id")
    fields.put_back("metadata", metadata.rest())
    return user


# --- encode -----------------------------------------------------------------------------------------


def encode_request(request: ChatRequest) -> Encoded:
    """The body for this vendor. Raises UntranslatableError for what it cannot say.

    What a caller can check in the answer (its form, its number, its log probabilities) is refused when
    it cannot be had; what only shifts probabilities (seed, penalties) is dropped and listed. Leading
    system messages become `system`; one in the middle keeps its place, which models since Opus 4.8 read
    and older ones reject. Turns of one role are joined.
    """
    _refuse(request)
    dropped = foreign_fields(request, NAME)
    body: Json = {"model": request.model}
    system, turns = split_system(request.messages)
    if system:
        parts = tuple(part for message in system for part in message.parts)
        body["system"] = encode_content(
            parts, path="system", source=request.dialect, dropped=dropped
        )
    body["messages"] = encode_turns(request, turns, len(request.messages) - len(turns), dropped)
    _put_limits(body, request, dropped)
    _put_tools(body, request, dropped)
    _put_thinking(body, request, dropped)
    _put_format(body, request, dropped)
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    if request.dialect == NAME:
        extra = dict(request.extra)
        for name in ("metadata", "thinking", "tool_choice", "output_config"):
            merged(body, name, extra)
        body.update(extra)
    return Encoded(body=msgspec.json.encode(body), dropped=tuple(dropped))


def _refuse(request: ChatRequest) -> None:
    if request.n != 1:
        raise _refused("n", "one answer per call", "Make several calls.")
    if request.logprobs or request.top_logprobs:
        raise _refused(
            "logprobs", "no log probabilities", "Choose a model of a vendor that reports them."
        )
    if request.temperature is not None and request.temperature > 1:
        raise _refused("temperature", "temperatures from 0 to 1", "Lower it to 1 or less.")
    if request.response_format is not None and request.response_format.kind == "json_object":
        raise _refused(
            "response_format", "JSON only with a schema", "Give a schema with type 'json_schema'."
        )


def _refused(param: str, has: str, hint: str) -> UntranslatableError:
    return UntranslatableError(
        f"'{param}' cannot be kept: {NAME} has {has}.", hint=hint, param=param
    )


def _put_limits(body: Json, request: ChatRequest, dropped: list[str]) -> None:
    if request.max_output_tokens is not None or request.dialect != NAME:
        body["max_tokens"] = request.max_output_tokens or DEFAULT_MAX_TOKENS
    named = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop_sequences": list(request.stop) or None,
        "stream": request.stream or None,
    }
    body.update({name: value for name, value in named.items() if value is not None})
    if request.service_tier is not None:
        tier = TIERS.get(request.service_tier)
        if tier is None and request.dialect != NAME:
            dropped.append("service_tier")
        else:
            body["service_tier"] = tier if request.dialect != NAME else request.service_tier
    if request.metadata is not None:
        dropped.append("metadata")
    dropped += [
        name
        for name in ("seed", "presence_penalty", "frequency_penalty")
        if getattr(request, name) not in (None, 0, 0.0)
    ]


def _put_tools(body: Json, request: ChatRequest, dropped: list[str]) -> None:
    if request.tools:
        body["tools"] = [
            _tool_json(tool, number, request) for number, tool in enumerate(request.tools)
        ]
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    if choice is None and parallel is False and request.tools:
        choice = ToolChoice(mode="auto")
    if choice is None:
        return
    if not request.tools and request.dialect != NAME and choice.mode in ("auto", "none"):
        return
    shown: Json = {"type": _CHOICES[choice.mode]}
    if choice.name is not None:
        shown["name"] = choice.name
    if parallel is not None and (choice.mode != "none" or request.dialect == NAME):
        shown["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = shown


def _tool_json(tool: Tool, number: int, request: ChatRequest) -> Json | msgspec.Raw:
    if tool.raw is not None:
        if request.dialect != NAME:
            raise untranslatable(
                f"tools[{number}]", request.dialect, NAME, what=f"tool '{tool.kind}'"
            )
        return tool.raw
    shown: Json = {"name": tool.name}
    if tool.description is not None:
        shown["description"] = tool.description
    if tool.parameters is not None:
        shown["input_schema"] = tool.parameters
    elif request.dialect != NAME:
        shown["input_schema"] = {"type": "object", "properties": {}}
    if tool.strict is not None and (tool.strict or request.dialect == NAME):
        shown["strict"] = tool.strict
    if request.dialect == NAME:
        shown.update(tool.extra)
    return shown


def _put_thinking(body: Json, request: ChatRequest, dropped: list[str]) -> None:
    wanted = request.reasoning
    if wanted is None:
        return
    if request.dialect == NAME:
        _put_own_thinking(body, wanted)
        return
    if wanted.summary is not None:
        dropped.append("reasoning.summary")
    effort, budget = wanted.effort, wanted.budget_tokens
    if effort is None and budget is None:
        return
    if effort == "none" or budget == 0:
        _put_least_thinking(body, request, dropped)
    elif request.model.startswith(BUDGET_MODELS):
        _put_budget(body, request, dropped)
    else:
        body["thinking"] = {"type": "adaptive"}
        word = effort if effort is not None else effort_of(budget or 0)
        if word is not None:
            body["output_config"] = {"effort": "low" if word == "minimal" else word}
    thinking = body.get("thinking")
    if (
        wanted.include_thoughts is False
        and isinstance(thinking, dict)
        and thinking["type"] in ("adaptive", "enabled")
    ):
        thinking["display"] = "omitted"


def _put_least_thinking(body: Json, request: ChatRequest, dropped: list[str]) -> None:
    """Thinking off, or what comes nearest where a model cannot stop; that is told as dropped."""
    if request.model.startswith(ALWAYS_THINKING):
        body["thinking"] = {"type": "adaptive"}
        body["output_config"] = {"effort": "low"}
        dropped.append("reasoning.effort")
    elif request.model.startswith(BETWEEN_TOOLS):
        body["thinking"] = {"type": "between_tools"}
        dropped.append("reasoning.effort")
    else:
        body["thinking"] = {"type": "disabled"}


def _put_own_thinking(body: Json, wanted: Reasoning) -> None:
    budget = wanted.budget_tokens
    if budget is not None:
        thinking: Json = {"type": "enabled", "budget_tokens": budget}
        if budget <= 0:
            thinking = {"type": "adaptive" if budget < 0 else "disabled"}
        if wanted.include_thoughts is not None:
            thinking["display"] = "summarized" if wanted.include_thoughts else "omitted"
        body["thinking"] = thinking
    if wanted.effort is not None:
        body["output_config"] = {"effort": wanted.effort}


def _put_budget(body: Json, request: ChatRequest, dropped: list[str]) -> None:
    """Thinking by budget: at least 1,024 tokens and less than max_tokens, or none at all."""
    wanted = request.reasoning or Reasoning()
    budget = wanted.budget_tokens
    if budget is None or budget < 0:
        budget = budget_of(wanted.effort or "medium")
    if budget is None:
        dropped.append("reasoning.effort")
        return
    budget = max(budget, LEAST_BUDGET)
    if request.max_output_tokens is None:
        body["max_tokens"] = budget + DEFAULT_MAX_TOKENS
    elif budget >= request.max_output_tokens:
        budget = request.max_output_tokens - 1
    if budget < LEAST_BUDGET:
        dropped.append("reasoning.effort")
        return
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _put_format(body: Json, request: ChatRequest, dropped: list[str]) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    output = body.setdefault("output_config", {})
    assert isinstance(output, dict)
    output["format"] = {"type": "json_schema", "schema": wanted.schema or msgspec.Raw(b"{}")}
    for name in ("name", "description", "strict"):
        # The schema is always enforced, so only a wish for laxness would be lost with `strict`.
        value = getattr(wanted, name)
        if value is not None and value is not True:
            dropped.append(f"response_format.{name}")
