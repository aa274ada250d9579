"""Requests of generateContent to ChatRequest and back. Model and stream flag live in the URL."""

from __future__ import annotations

import msgspec

from farthing.core.chat import ChatRequest, Reasoning, ResponseFormat, Tool, ToolChoice
from farthing.core.errors import BadRequestError, UntranslatableError
from farthing.core.messages import Message, Part, ToolResultPart
from farthing.wire.codec import Encoded
from farthing.wire.dialects._fields import Fields
from farthing.wire.dialects._foreign import foreign_fields, untranslatable
from farthing.wire.dialects.google_content import CallIds, Encoder, Json, decode_part
from farthing.wire.dialects.google_schema import to_json_schema
from farthing.wire.dialects.google_thinking import thinking_config
from farthing.wire.dialects.google_words import NAME, TIERS, camel

_MODES = {"AUTO": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}
_WORDS = {"auto": "AUTO", "required": "ANY", "tool": "ANY", "none": "NONE"}

#: Fields of generationConfig that core has words for: their name there.
_CONFIG = {
    "maxOutputTokens": "max_output_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
}


# --- decode -----------------------------------------------------------------------------------------


def decode_request(body: bytes) -> ChatRequest:
    """The request in core words; camelCase and snake_case are read alike. Raises BadRequestError."""
    fields = Fields(body, fail=BadRequestError).spelled(camel)
    messages = _messages(fields)
    extra: dict[str, msgspec.Raw] = {}
    request = ChatRequest(
        dialect=NAME,
        model=fields.string("model") or "",
        messages=messages,
        include_usage=True,
        tools=tuple(each for tool in fields.objects("tools") for each in _tools(tool)),
        tool_choice=_tool_choice(fields, extra),
        service_tier=fields.string("serviceTier"),
    )
    config = fields.object("generationConfig")
    if config is not None:
        request = _configured(request, config.spelled(camel), extra)
    return msgspec.structs.replace(request, extra={**fields.rest(), **extra})


def _messages(fields: Fields) -> tuple[Message, ...]:
    ids = CallIds()
    found: list[Message] = []
    system = fields.object("systemInstruction")
    if system is not None:
        parts = tuple(decode_part(part, ids) for part in system.objects("parts"))
        system.string("role")
        found.append(Message(role="system", parts=parts, extra=system.rest()))
    if not fields.has("contents"):
        raise fields.fault("contents", "is missing.")
    for content in fields.objects("contents"):
        found += _turn(content, ids)
    return tuple(found)


def _turn(content: Fields, ids: CallIds) -> list[Message]:
    """One content. Each function response becomes a `tool` message, in the order of the parts."""
    role = content.string("role") or "user"
    parts = [decode_part(part, ids) for part in content.objects("parts")]
    extra = content.rest()
    if role == "model":
        return [Message(role="assistant", parts=tuple(parts), extra=extra)]
    if role not in ("user", "function"):
        raise content.fault("role", "must be 'user' or 'model'.")
    found: list[Message] = []
    plain: list[Part] = []
    for part in parts:
        if isinstance(part, ToolResultPart):
            if plain:
                found.append(Message(role="user", parts=tuple(plain)))
                plain = []
            found.append(Message(role="tool", parts=(part,)))
        else:
            plain.append(part)
    if plain or not found:
        found.append(Message(role="user", parts=tuple(plain)))
    if extra:
        found[0] = msgspec.structs.replace(found[0], extra=extra)
    return found


def _tools(tool: Fields) -> list[Tool]:
    tool.spelled(camel)
    found = [_function(declared) for declared in tool.objects("functionDeclarations")]
    found += [
        Tool(name=name, kind=name, raw=msgspec.Raw(msgspec.json.encode({name: raw})))
        for name, raw in tool.rest().items()
    ]
    return found


def _function(declared: Fields) -> Tool:
    declared.spelled(camel)
    parameters = declared.raw("parametersJsonSchema")
    schema = declared.raw("parameters")
    return Tool(
        name=declared.required_string("name"),
        description=declared.string("description"),
        parameters=parameters if schema is None else to_json_schema(schema),
        extra=declared.rest(),
    )


def _tool_choice(fields: Fields, extra: dict[str, msgspec.Raw]) -> ToolChoice | None:
    config = fields.object("toolConfig")
    if config is None:
        return None
    config.spelled(camel)
    calling = config.object("functionCallingConfig")
    _keep(extra, "toolConfig", config)
    if calling is None:
        return None
    word = (calling.spelled(camel).string("mode") or "AUTO").upper()
    allowed = calling.strings("allowedFunctionNames")
    mode = _MODES.get(word)
    if mode is None:
        raise calling.fault("mode", "must be AUTO, ANY, NONE or VALIDATED.")
    if word == "VALIDATED":
        extra["toolConfig.functionCallingConfig.mode"] = msgspec.Raw(b'"VALIDATED"')
    _keep(extra, "toolConfig.functionCallingConfig", calling)
    if mode == "required" and len(allowed) == 1:
        return ToolChoice(mode="tool", name=allowed[0])
    if allowed:
        names = msgspec.Raw(msgspec.json.encode(allowed))
        extra["toolConfig.functionCallingConfig.allowedFunctionNames"] = names
    return ToolChoice(mode=mode)  # type: ignore[arg-type]


def _configured(request: ChatRequest, config: Fields, extra: dict[str, msgspec.Raw]) -> ChatRequest:
    found: dict[str, object] = {}
    for name in ("maxOutputTokens", "seed", "logprobs"):
        found[_CONFIG[name]] = config.integer(name)
    for name in ("temperature", "topP", "presencePenalty", "frequencyPenalty"):
        found[_CONFIG[name]] = config.number(name)
    top_k = config.number("topK")
    found["top_k"] = None if top_k is None else int(top_k)
    found["logprobs"] = config.boolean("responseLogprobs")
    found["n"] = config.integer("candidateCount") or 1
    found["stop"] = config.strings("stopSequences")
    found["reasoning"] = _reasoning(config, extra)
    found["response_format"] = _response_format(config, extra)
    _keep(extra, "generationConfig", config)
    return msgspec.structs.replace(request, **found)


def _reasoning(config: Fields, extra: dict[str, msgspec.Raw]) -> Reasoning | None:
    thinking = config.object("thinkingConfig")
    if thinking is None:
        return None
    level = thinking.spelled(camel).string("thinkingLevel")
    reasoning = Reasoning(
        effort=None if level is None else level.lower(),
        budget_tokens=thinking.integer("thinkingBudget"),
        include_thoughts=thinking.boolean("includeThoughts"),
    )
    _keep(extra, "generationConfig.thinkingConfig", thinking)
    return reasoning


def _response_format(config: Fields, extra: dict[str, msgspec.Raw]) -> ResponseFormat | None:
    media_type = config.string("responseMimeType")
    schema = config.raw("responseJsonSchema")
    own = config.raw("responseSchema")
    if schema is None and own is not None:
        schema = to_json_schema(own)
    if media_type not in (None, "text/plain", "application/json"):
        # `text/x.enum`: one of the schema's words, bare. No other dialect can promise that.
        extra["generationConfig.responseMimeType"] = msgspec.Raw(msgspec.json.encode(media_type))
        return ResponseFormat(kind="json_schema", schema=schema) if schema is not None else None
    if schema is not None:
        return ResponseFormat(kind="json_schema", schema=schema)
    if media_type == "application/json":
        return ResponseFormat(kind="json_object")
    return None if media_type is None else ResponseFormat(kind="text")


def _keep(extra: dict[str, msgspec.Raw], path: str, fields: Fields) -> None:
    extra.update({f"{path}.{name}": raw for name, raw in fields.rest().items()})


# --- encode -----------------------------------------------------------------------------------------


def encode_request(request: ChatRequest) -> Encoded:
    """The body for this vendor; model and stream flag go into its URL. Raises UntranslatableError.

    What a caller can check in the answer (one tool call at a time, log probabilities in another
    vendor's form) is refused when it cannot be had; labels are dropped and listed. System messages form
    `systemInstruction`; one in the middle moves there and is listed as `messages[i].position`.
    """
    dropped = foreign_fields(request, NAME)
    is_own = request.dialect == NAME
    if not is_own:
        _refuse(request)
    body: Json = {}
    if is_own and request.model:
        body["model"] = request.model
    encoder = Encoder(request.dialect, dropped)
    system = _system(request, encoder)
    body["contents"] = _contents(request, encoder)
    if system:
        body["systemInstruction"] = system
    tools = _tools_json(request)
    if tools:
        body["tools"] = tools
    if request.tool_choice is not None and (request.tools or is_own):
        body["toolConfig"] = {"functionCallingConfig": _calling(request.tool_choice)}
    config = _config(request, dropped)
    if config:
        body["generationConfig"] = config
    _put_tier(body, request, dropped)
    dropped += [name for name in ("user", "metadata") if getattr(request, name) is not None]
    if is_own:
        for path, raw in request.extra.items():
            _place(body, path.split("."), raw)
    return Encoded(body=msgspec.json.encode(body), dropped=tuple(dropped))


def _refuse(request: ChatRequest) -> None:
    if request.logprobs or request.top_logprobs:
        raise UntranslatableError(
            f"'logprobs' cannot be kept: {NAME} reports log probabilities in another form.",
            hint="Ask for them in Google's own dialect, or choose another vendor's model.",
            param="logprobs",
        )
    if request.parallel_tool_calls is False and request.tools:
        raise UntranslatableError(
            f"'parallel_tool_calls: false' cannot be kept: {NAME} may always call several tools at once.",
            hint="Allow parallel calls, or choose another vendor's model.",
            param="parallel_tool_calls",
        )


def _system(request: ChatRequest, encoder: Encoder) -> Json | None:
    parts: list[Json | msgspec.Raw] = []
    extra: dict[str, msgspec.Raw] = {}
    is_leading = True
    for number, message in enumerate(request.messages):
        if message.role not in ("system", "developer"):
            is_leading = False
            continue
        if not is_leading:
            encoder.dropped.append(f"messages[{number}].position")
        parts += encoder.parts(message.parts, f"messages[{number}].content")
        extra.update(message.extra if request.dialect == NAME else {})
    has_system = any(message.role in ("system", "developer") for message in request.messages)
    return {"parts": parts, **extra} if has_system else None


def _contents(request: ChatRequest, encoder: Encoder) -> list[Json]:
    """Turns.

    Tool results that follow each other are one turn, as the vendor counts them against the calls; so
    are neighbouring answers of other dialects. Within this one, what the user said right after a result
    stands in the same turn as it.
    """
    contents: list[Json] = []
    is_own = request.dialect == NAME
    joined = {("tool", "tool"), ("tool", "user") if is_own else ("assistant", "assistant")}
    before = ""
    for number, message in enumerate(request.messages):
        if message.role in ("system", "developer"):
            continue
        if message.name is not None and message.role != "tool":
            encoder.dropped.append(f"messages[{number}].name")
        parts = encoder.parts(message.parts, f"messages[{number}].content")
        last = contents[-1]["parts"] if contents else None
        is_joined = (before, message.role) in joined and message.parts and not message.extra
        if is_joined and isinstance(last, list):
            last += parts
        elif parts or is_own:
            extra = message.extra if is_own else {}
            role = "model" if message.role == "assistant" else "user"
            contents.append({"role": role, "parts": parts, **extra})
        else:
            continue
        before = message.role
    return contents


def _tools_json(request: ChatRequest) -> list[object]:
    """`tools`: neighbouring functions share one object, built-in tools keep their place among them."""
    found: list[object] = []
    functions: list[Json] = []
    for number, tool in enumerate(request.tools):
        if tool.raw is not None:
            if request.dialect != NAME:
                raise untranslatable(
                    f"tools[{number}]", request.dialect, NAME, what=f"tool '{tool.kind}'"
                )
            found.append(tool.raw)
            functions = []
            continue
        if not functions:
            found.append({"functionDeclarations": functions})
        functions.append(_declaration(tool, request.dialect))
    return found


def _declaration(tool: Tool, source: str) -> Json:
    shown: Json = {"name": tool.name}
    if tool.description is not None:
        shown["description"] = tool.description
    if tool.parameters is not None:
        shown["parametersJsonSchema"] = tool.parameters
    return {**shown, **(tool.extra if source == NAME else {})}


def _calling(choice: ToolChoice) -> Json:
    shown: Json = {"mode": _WORDS[choice.mode]}
    if choice.name is not None:
        shown["allowedFunctionNames"] = [choice.name]
    return shown


def _config(request: ChatRequest, dropped: list[str]) -> Json:
    config: Json = {
        name: getattr(request, core)
        for name, core in _CONFIG.items()
        if getattr(request, core) is not None
    }
    if request.n != 1:
        config["candidateCount"] = request.n
    if request.stop:
        config["stopSequences"] = list(request.stop)
    wanted = request.response_format
    if wanted is not None:
        config["responseMimeType"] = "text/plain" if wanted.kind == "text" else "application/json"
        if wanted.schema is not None:
            config["responseJsonSchema"] = wanted.schema
        labels = [name for name in ("name", "description") if getattr(wanted, name) is not None]
        dropped += [f"response_format.{name}" for name in labels]
    dropped += [
        f"tools[{number}].strict" for number, tool in enumerate(request.tools) if tool.strict
    ]
    thinking = thinking_config(request, dropped)
    if thinking is not None:
        config["thinkingConfig"] = thinking
    return config


def _put_tier(body: Json, request: ChatRequest, dropped: list[str]) -> None:
    tier = request.service_tier
    if tier is None:
        return
    if request.dialect == NAME:
        body["serviceTier"] = tier
    elif tier not in TIERS:
        dropped.append("service_tier")
    elif TIERS[tier] is not None:
        body["serviceTier"] = TIERS[tier]


def _place(body: Json, path: list[str], raw: msgspec.Raw) -> None:
    """Put a kept field back where it stood; what was translated in between wins except at the end."""
    for name in path[:-1]:
        inner = body.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        body = inner
    body[path[-1]] = raw
