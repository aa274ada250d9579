"""Requests of chat completions to ChatRequest and back."""

from __future__ import annotations

import msgspec

from farthing.core.chat import ChatRequest, Reasoning, ResponseFormat, Tool, ToolChoice
from farthing.core.errors import BadRequestError
from farthing.wire.codec import Encoded
from farthing.wire.dialects._effort import effort_of
from farthing.wire.dialects._fields import Fields, merged
from farthing.wire.dialects._foreign import foreign_fields, untranslatable
from farthing.wire.dialects.openai_chat_content import NAME, Encoder, Json, decode_message

_MODES = ("auto", "none", "required")
#: Service tiers of other dialects that mean the same here.
_TIERS = {"standard_only": "default", "standard": "default"}
_KNOWN_TIERS = frozenset({"auto", "default", "flex", "priority", "scale"})
#: Plain fields: their name here and in core.
_PLAIN = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "parallel_tool_calls": "parallel_tool_calls",
    "service_tier": "service_tier",
    "user": "user",
}


# --- decode -----------------------------------------------------------------------------------------


def decode_request(body: bytes) -> ChatRequest:
    """The request in core words. Raises BadRequestError naming the path."""
    fields = Fields(body, fail=BadRequestError)
    if not fields.has("messages"):
        raise fields.fault("messages", "is missing.")
    messages = tuple(decode_message(message) for message in fields.objects("messages"))
    tools = tuple(_tool(tool) for tool in fields.objects("tools"))
    choice = _tool_choice(fields)
    options = fields.object("stream_options")
    include_usage = False
    if options is not None:
        include_usage = options.boolean("include_usage") or False
        fields.put_back("stream_options", options.rest())
    current, older = fields.integer("max_completion_tokens"), fields.integer("max_tokens")
    effort = fields.string("reasoning_effort")
    return ChatRequest(
        dialect=NAME,
        model=fields.required_string("model"),
        messages=messages,
        stream=fields.boolean("stream") or False,
        include_usage=include_usage,
        tools=tools,
        tool_choice=choice,
        response_format=_response_format(fields),
        max_output_tokens=current if current is not None else older,
        stop=_stop(fields),
        n=_answers(fields),
        reasoning=None if effort is None else Reasoning(effort=effort),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        seed=fields.integer("seed"),
        presence_penalty=fields.number("presence_penalty"),
        frequency_penalty=fields.number("frequency_penalty"),
        logprobs=fields.boolean("logprobs"),
        top_logprobs=fields.integer("top_logprobs"),
        parallel_tool_calls=fields.boolean("parallel_tool_calls"),
        service_tier=fields.string("service_tier"),
        user=fields.string("user"),
        metadata=fields.raw("metadata"),
        extra=fields.rest(),
    )


def _answers(fields: Fields) -> int:
    count = fields.integer("n")
    if count is not None and count < 1:
        raise fields.fault("n", "must be 1 or more.")
    return 1 if count is None else count


def _stop(fields: Fields) -> tuple[str, ...]:
    if fields.is_string("stop"):
        return (fields.required_string("stop"),)
    return fields.strings("stop")


def _tool(tool: Fields) -> Tool:
    kind = tool.string("type") or "function"
    if kind != "function":
        return Tool(name=kind, kind=kind, raw=tool.verbatim)
    function = tool.object("function")
    if function is None:
        raise tool.fault("function", "is missing.")
    made = Tool(
        name=function.required_string("name"),
        description=function.string("description"),
        parameters=function.raw("parameters"),
        strict=function.boolean("strict"),
    )
    tool.put_back("function", function.rest())
    return msgspec.structs.replace(made, extra=tool.rest())


def _tool_choice(fields: Fields) -> ToolChoice | None:
    if not fields.has("tool_choice"):
        return None
    if fields.is_string("tool_choice"):
        mode = fields.required_string("tool_choice")
        if mode not in _MODES:
            raise fields.fault("tool_choice", f"must be one of {', '.join(_MODES)}, or an object.")
        return ToolChoice(mode=mode)  # type: ignore[arg-type]
    raw = fields.raw("tool_choice")
    assert raw is not None
    choice = Fields(raw, path=fields.at("tool_choice"), fail=BadRequestError)
    function = choice.object("function")
    if choice.string("type") != "function" or function is None:
        # A custom tool, or a list of allowed ones: kept whole for this dialect, refused by others.
        fields.put_back("tool_choice", msgspec.json.decode(raw, type=dict[str, msgspec.Raw]))
        return None
    return ToolChoice(mode="tool", name=function.required_string("name"))


def _response_format(fields: Fields) -> ResponseFormat | None:
    wanted = fields.object("response_format")
    if wanted is None:
        return None
    kind = wanted.required_string("type")
    if kind in ("text", "json_object"):
        return ResponseFormat(kind=kind)  # type: ignore[arg-type]
    if kind != "json_schema":
        raise wanted.fault("type", "must be 'text', 'json_object' or 'json_schema'.")
    schema = wanted.object("json_schema")
    if schema is None:
        raise wanted.fault("json_schema", "is missing.")
    return ResponseFormat(
        kind="json_schema",
        name=schema.string("name"),
        schema=schema.raw("schema"),
        strict=schema.boolean("strict"),
        description=schema.string("description"),
    )


# --- encode -----------------------------------------------------------------------------------------


def encode_request(request: ChatRequest) -> Encoded:
    """The body for a provider of this dialect. Raises UntranslatableError for what it cannot say."""
    dropped = foreign_fields(request, NAME)
    is_own = request.dialect == NAME
    encoder = Encoder(request.dialect, dropped)
    body: Json = {"model": request.model}
    body["messages"] = [
        shown
        for number, message in enumerate(request.messages)
        for shown in encoder.message(message, f"messages[{number}]")
    ]
    if request.stream:
        body["stream"] = True
        if request.include_usage:
            body["stream_options"] = {"include_usage": True}
    _put_plain(body, request, dropped)
    _put_tools(body, request)
    _put_reasoning(body, request, dropped)
    if request.response_format is not None:
        body["response_format"] = _format_json(request.response_format)
    if is_own:
        extra = dict(request.extra)
        for name in ("stream_options", "tool_choice"):
            merged(body, name, extra)
        body.update(extra)
    return Encoded(body=msgspec.json.encode(body), dropped=tuple(dropped))


def _put_plain(body: Json, request: ChatRequest, dropped: list[str]) -> None:
    for name, core in _PLAIN.items():
        value = getattr(request, core)
        if value is not None:
            body[name] = value
    if request.dialect != NAME:
        _translate_plain(body, request, dropped)
    if request.max_output_tokens is not None:
        body["max_completion_tokens"] = request.max_output_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    if request.n != 1:
        body["n"] = request.n
    if request.metadata is not None:
        if request.dialect == NAME:
            body["metadata"] = request.metadata
        else:
            dropped.append("metadata")


def _translate_plain(body: Json, request: ChatRequest, dropped: list[str]) -> None:
    """Plain fields of another dialect that are called otherwise here, or not at all."""
    if body.pop("top_k", None) is not None:
        dropped.append("top_k")
    body.pop("service_tier", None)
    tier = _TIERS.get(request.service_tier or "", request.service_tier)
    if tier in _KNOWN_TIERS:
        body["service_tier"] = tier
    elif tier is not None:
        dropped.append("service_tier")
    if not request.tools:
        body.pop("parallel_tool_calls", None)


def _put_tools(body: Json, request: ChatRequest) -> None:
    if request.tools:
        body["tools"] = [
            _tool_json(tool, number, request) for number, tool in enumerate(request.tools)
        ]
    choice = request.tool_choice
    if choice is None or (not request.tools and request.dialect != NAME):
        return
    if choice.mode == "tool":
        body["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    else:
        body["tool_choice"] = choice.mode


def _tool_json(tool: Tool, number: int, request: ChatRequest) -> Json | msgspec.Raw:
    if tool.raw is not None:
        if request.dialect != NAME:
            raise untranslatable(
                f"tools[{number}]", request.dialect, NAME, what=f"tool '{tool.kind}'"
            )
        return tool.raw
    function: Json = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    shown: Json = {"type": "function", "function": function}
    if request.dialect == NAME:
        extra = dict(tool.extra)
        merged(shown, "function", extra)
        shown.update(extra)
    return shown


def _put_reasoning(body: Json, request: ChatRequest, dropped: list[str]) -> None:
    wanted = request.reasoning
    if wanted is None:
        return
    effort = wanted.effort
    if effort is None and wanted.budget_tokens is not None:
        effort = effort_of(wanted.budget_tokens)
    if effort is not None:
        body["reasoning_effort"] = effort
    if wanted.summary is not None or wanted.include_thoughts:
        dropped.append("reasoning.summary")


def _format_json(wanted: ResponseFormat) -> Json:
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    schema: Json = {"name": wanted.name or "answer"}
    named = {
        "schema": wanted.schema,
        "strict": wanted.strict,
        "description": wanted.description,
    }
    schema.update({name: value for name, value in named.items() if value is not None})
    return {"type": "json_schema", "json_schema": schema}
