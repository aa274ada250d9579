"""Requests of the Responses API to ChatRequest and back."""

from __future__ import annotations

import msgspec

from farthing.core.chat import ChatRequest, Reasoning, ResponseFormat, Tool, ToolChoice
from farthing.core.errors import BadRequestError, UntranslatableError
from farthing.core.messages import Message, TextPart
from farthing.wire.codec import Encoded
from farthing.wire.dialects._effort import effort_of
from farthing.wire.dialects._fields import Fields, merged
from farthing.wire.dialects._foreign import foreign_fields, untranslatable
from farthing.wire.dialects.openai_responses_items import NAME, ItemReader, Json
from farthing.wire.dialects.openai_responses_turns import Encoder

_MODES = ("auto", "none", "required")
_LOGPROBS = b"message.output_text.logprobs"
#: Service tiers of other dialects that mean the same here.
_TIERS = {"standard_only": "default", "standard": "default"}
_KNOWN_TIERS = frozenset({"auto", "default", "flex", "priority", "scale"})
#: Effort words of other dialects that are called otherwise here.
_EFFORTS = {"max": "xhigh"}
_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')


# --- decode -----------------------------------------------------------------------------------------


def decode_request(body: bytes) -> ChatRequest:
    """The request in core words. Raises BadRequestError naming the path.

    `instructions` is a leading system message. `store` counts only when true: what is translated is
    never stored by anyone.
    """
    fields = Fields(body, fail=BadRequestError)
    messages = (*_instructions(fields), *_input(fields))
    is_stored = fields.boolean("store") or False
    include = fields.raw("include")
    top_logprobs = fields.integer("top_logprobs")
    shows_logprobs = top_logprobs is not None or (
        include is not None and _LOGPROBS in bytes(include)
    )
    request = ChatRequest(
        dialect=NAME,
        model=fields.required_string("model"),
        messages=messages,
        stream=fields.boolean("stream") or False,
        include_usage=True,
        tools=tuple(_tool(tool) for tool in fields.objects("tools")),
        tool_choice=_tool_choice(fields),
        parallel_tool_calls=fields.boolean("parallel_tool_calls"),
        response_format=_format(fields),
        max_output_tokens=fields.integer("max_output_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        logprobs=True if shows_logprobs else None,
        top_logprobs=top_logprobs,
        reasoning=_reasoning(fields),
        service_tier=fields.string("service_tier"),
        user=fields.string("user"),
        metadata=fields.raw("metadata"),
        extra=fields.rest(),
    )
    if is_stored:
        request.extra["store"] = msgspec.Raw(b"true")
    if include is not None:
        request.extra["include"] = include
    return request


def _instructions(fields: Fields) -> list[Message]:
    text = fields.string("instructions")
    return [] if text is None else [Message(role="system", parts=(TextPart(text=text),))]


def _input(fields: Fields) -> list[Message]:
    if fields.is_string("input"):
        text = fields.required_string("input")
        return [Message(role="user", parts=(TextPart(text=text),))]
    reader = ItemReader()
    for item in fields.objects("input"):
        reader.read(item)
    return reader.messages()


def _tool(tool: Fields) -> Tool:
    kind = tool.required_string("type")
    if kind != "function":
        return Tool(name=kind, kind=kind, raw=tool.verbatim)
    return Tool(
        name=tool.required_string("name"),
        description=tool.string("description"),
        parameters=tool.raw("parameters"),
        strict=tool.boolean("strict"),
        extra=tool.rest(),
    )


def _tool_choice(fields: Fields) -> ToolChoice | None:
    if fields.is_string("tool_choice"):
        mode = fields.required_string("tool_choice")
        if mode not in _MODES:
            raise fields.fault("tool_choice", f"must be one of {', '.join(_MODES)}, or an object.")
        return ToolChoice(mode=mode)  # type: ignore[arg-type]
    choice = fields.object("tool_choice")
    if choice is None:
        return None
    if choice.string("type") != "function":
        # A built-in tool, or a list of allowed ones: kept whole here, refused by other dialects.
        fields.put_back(
            "tool_choice", msgspec.json.decode(choice.verbatim, type=dict[str, msgspec.Raw])
        )
        return None
    return ToolChoice(mode="tool", name=choice.required_string("name"))


def _format(fields: Fields) -> ResponseFormat | None:
    text = fields.object("text")
    if text is None:
        return None
    wanted = text.object("format")
    fields.put_back("text", text.rest())
    if wanted is None:
        return None
    kind = wanted.required_string("type")
    if kind in ("text", "json_object"):
        return ResponseFormat(kind=kind)  # type: ignore[arg-type]
    if kind != "json_schema":
        raise wanted.fault("type", "must be 'text', 'json_object' or 'json_schema'.")
    return ResponseFormat(
        kind="json_schema",
        name=wanted.string("name"),
        schema=wanted.raw("schema"),
        strict=wanted.boolean("strict"),
        description=wanted.string("description"),
    )


def _reasoning(fields: Fields) -> Reasoning | None:
    wanted = fields.object("reasoning")
    if wanted is None:
        return None
    reasoning = Reasoning(effort=wanted.string("effort"), summary=wanted.string("summary"))
    fields.put_back("reasoning", wanted.rest())
    return reasoning if reasoning != Reasoning() else None


# --- encode -----------------------------------------------------------------------------------------


def encode_request(request: ChatRequest) -> Encoded:
    """The body for a provider. Raises UntranslatableError for what this dialect cannot say.

    What can be checked in the answer (several answers, stop sequences, log probabilities in another
    form) is refused; what only shifts probabilities (seed, penalties, top_k) is dropped and listed. A
    leading system message of one text becomes `instructions`. Nothing is stored (`store` is false)
    unless the caller of this dialect asked for it.
    """
    _refuse(request)
    dropped = foreign_fields(request, NAME)
    body: Json = {"model": request.model}
    messages = request.messages
    start = 1 if messages and _is_instructions(messages[0], request.dialect) else 0
    if start:
        first = messages[0].parts[0]
        assert isinstance(first, TextPart)
        body["instructions"] = first.text
    encoder = Encoder(request.dialect, dropped)
    body["input"] = [
        item
        for number, message in enumerate(messages[start:], start)
        for item in encoder.items(message, f"messages[{number}]")
    ]
    _put_plain(body, request, dropped)
    _put_tools(body, request)
    _put_reasoning(body, request)
    if request.response_format is not None:
        body["text"] = {"format": _format_json(request.response_format, request.dialect)}
    body["store"] = False
    if request.dialect == NAME:
        extra = dict(request.extra)
        for name in ("reasoning", "text"):
            merged(body, name, extra)
        body.update(extra)
    return Encoded(body=msgspec.json.encode(body), dropped=tuple(dropped))


def _is_instructions(message: Message, source: str) -> bool:
    if message.role != "system" or len(message.parts) != 1 or message.name is not None:
        return False
    part = message.parts[0]
    if not isinstance(part, TextPart):
        return False
    return source != NAME or not (message.extra or part.extra)


def _refuse(request: ChatRequest) -> None:
    if request.n != 1:
        raise _refused("n", "gives one answer per call", "Make several calls.")
    if request.stop:
        raise _refused("stop", "has no stop sequences", "Cut the answer yourself, or remove them.")
    if request.dialect != NAME and (request.logprobs or request.top_logprobs):
        raise _refused("logprobs", "reports log probabilities in another form", "Remove it.")


def _refused(param: str, problem: str, hint: str) -> UntranslatableError:
    return UntranslatableError(
        f"'{param}' cannot be kept: {NAME} {problem}.", hint=hint, param=param
    )


def _put_plain(body: Json, request: ChatRequest, dropped: list[str]) -> None:
    is_own = request.dialect == NAME
    named = {
        "stream": request.stream or None,
        "max_output_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "user": request.user,
        "top_logprobs": request.top_logprobs,
    }
    body.update({name: value for name, value in named.items() if value is not None})
    tier = request.service_tier
    if tier is not None:
        shown = tier if is_own else _TIERS.get(tier, tier)
        if is_own or shown in _KNOWN_TIERS:
            body["service_tier"] = shown
        else:
            dropped.append("service_tier")
    if request.metadata is not None:
        if is_own:
            body["metadata"] = request.metadata
        else:
            dropped.append("metadata")
    dropped += [
        name
        for name in ("top_k", "seed", "presence_penalty", "frequency_penalty")
        if getattr(request, name) not in (None, 0, 0.0)
    ]


def _put_tools(body: Json, request: ChatRequest) -> None:
    is_own = request.dialect == NAME
    if request.tools:
        body["tools"] = [
            _tool_json(tool, number, request) for number, tool in enumerate(request.tools)
        ]
    if not request.tools and not is_own:
        return
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    choice = request.tool_choice
    if choice is not None and choice.mode == "tool":
        body["tool_choice"] = {"type": "function", "name": choice.name}
    elif choice is not None:
        body["tool_choice"] = choice.mode


def _tool_json(tool: Tool, number: int, request: ChatRequest) -> Json | msgspec.Raw:
    is_own = request.dialect == NAME
    if tool.raw is not None:
        if not is_own:
            raise untranslatable(
                f"tools[{number}]", request.dialect, NAME, what=f"tool '{tool.kind}'"
            )
        return tool.raw
    shown: Json = {"type": "function", "name": tool.name}
    if tool.description is not None:
        shown["description"] = tool.description
    if tool.parameters is not None:
        shown["parameters"] = tool.parameters
    elif not is_own:
        shown["parameters"] = _NO_PARAMETERS
    if tool.strict is not None:
        shown["strict"] = tool.strict
    elif not is_own:
        # Strict is the default here and nowhere else; it rejects schemas that others accept.
        shown["strict"] = False
    return {**shown, **tool.extra} if is_own else shown


def _put_reasoning(body: Json, request: ChatRequest) -> None:
    wanted = request.reasoning
    if wanted is None:
        return
    shown: Json = {}
    effort = wanted.effort
    if effort is None and wanted.budget_tokens is not None:
        effort = effort_of(wanted.budget_tokens)
    if effort is not None:
        shown["effort"] = effort if request.dialect == NAME else _EFFORTS.get(effort, effort)
    if wanted.summary is not None:
        shown["summary"] = wanted.summary
    elif wanted.include_thoughts and effort != "none":
        shown["summary"] = "auto"
    if shown:
        body["reasoning"] = shown


def _format_json(wanted: ResponseFormat, source: str) -> Json:
    shown: Json = {"type": wanted.kind}
    if wanted.kind != "json_schema":
        return shown
    named = {
        "name": wanted.name or (None if source == NAME else "answer"),
        "schema": wanted.schema,
        "description": wanted.description,
        "strict": wanted.strict,
    }
    return shown | {name: value for name, value in named.items() if value is not None}
