"""Google's generateContent as the vendor writes it (Gemini API reference, read 2026-11)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from farthing.core.usage import Usage
from farthing.sim.asks import Ask, Frame, RefusedError, Reply, Spoken, ToolMode, ToolSpec, Turn
from farthing.sim.faces.shape import Json, decode, encode
from farthing.sim.text import count

_FINISH_WORDS = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "PROHIBITED_CONTENT",
}
_MODES: dict[str, ToolMode] = {"ANY": "required", "NONE": "none"}
#: The vendor reads names in snake_case as well, and its own client sends some so (google-genai 2.34.0).
_SNAKE = re.compile(rb'"[a-z]+(?:_[a-z]+)+"\s*:')
#: What stands behind these names is the caller's own JSON.
_FOREIGN = {
    "args", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "responseSchema",
}  # fmt: skip


class _Call(msgspec.Struct, frozen=True):
    name: str = ""
    args: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    text: str = ""
    inline_data: msgspec.Raw = msgspec.Raw()
    file_data: msgspec.Raw = msgspec.Raw()
    function_call: _Call | None = None
    function_response: _Call | None = None


class _Content(msgspec.Struct, frozen=True):
    parts: list[_Part] = []
    role: str = "user"


class _Declaration(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    parameters: msgspec.Raw = msgspec.Raw()
    parameters_json_schema: msgspec.Raw = msgspec.Raw()


class _Tool(msgspec.Struct, frozen=True, rename="camel"):
    function_declarations: list[_Declaration] = []


class _Calling(msgspec.Struct, frozen=True, rename="camel"):
    mode: str = "AUTO"
    allowed_function_names: list[str] = []


class _ToolConfig(msgspec.Struct, frozen=True, rename="camel"):
    function_calling_config: _Calling = _Calling()


class _Thinking(msgspec.Struct, frozen=True, rename="camel"):
    thinking_budget: int | None = None
    thinking_level: str | None = None
    include_thoughts: bool = False


class _Generation(msgspec.Struct, frozen=True, rename="camel"):
    max_output_tokens: int | None = None
    stop_sequences: list[str] = []
    candidate_count: int = 1
    response_mime_type: str = ""
    response_schema: msgspec.Raw = msgspec.Raw()
    response_json_schema: msgspec.Raw = msgspec.Raw()
    thinking_config: _Thinking = _Thinking()
    temperature: float | None = None


class _Body(msgspec.Struct, frozen=True, rename="camel"):
    contents: list[_Content]
    system_instruction: _Content | None = None
    tools: list[_Tool] = []
    tool_config: _ToolConfig = _ToolConfig()
    generation_config: _Generation = _Generation()


class _Counted(msgspec.Struct, frozen=True, rename="camel"):
    generate_content_request: msgspec.Raw = msgspec.Raw()


def parse(body: bytes) -> Ask:
    """The request; model and streaming stand in the path. Raises RefusedError (400)."""
    request = decode(_respelled(body), _Body)
    if not request.contents:
        raise RefusedError(
            400, "invalid", "* GenerateContentRequest.contents: contents is not specified"
        )
    config, calling = request.generation_config, request.tool_config.function_calling_config
    if config.temperature is not None and not 0 <= config.temperature <= 2:
        raise RefusedError(400, "invalid", "* temperature must be in the range [0.0, 2.0].")
    turns = [_turn(content) for content in request.contents]
    if request.system_instruction is not None:
        turns.insert(0, Turn(role="system", text=_turn(request.system_instruction).text))
    allowed = calling.allowed_function_names
    tools = tuple(
        ToolSpec(name=d.name, schema=bytes(d.parameters_json_schema) or bytes(d.parameters))
        for tool in request.tools
        for d in tool.function_declarations
        if not allowed or d.name in allowed
    )
    schema = bytes(config.response_json_schema) or bytes(config.response_schema)
    return Ask(
        model="",
        turns=tuple(turns),
        tools=tools,
        tool_mode=_MODES.get(calling.mode, "auto"),
        schema=schema if schema not in (b"", b"null") else None,
        is_json=config.response_mime_type == "application/json",
        max_tokens=config.max_output_tokens,
        n=config.candidate_count,
        stop=tuple(config.stop_sequences),
        show_thoughts=config.thinking_config.include_thoughts,
        thinking_budget=config.thinking_config.thinking_budget,
        effort=config.thinking_config.thinking_level,
    )


def parse_count(body: bytes) -> Ask:
    """A request to count tokens. Raises RefusedError (400)."""
    wrapped = decode(body, _Counted).generate_content_request
    return parse(bytes(wrapped) or body)


def whole(reply: Reply) -> bytes:
    """The body of an unstreamed answer."""
    if reply.blocked is not None:
        return encode(_blocked(reply))
    candidates = [_candidate(s, _parts(s, reply), _FINISH_WORDS[s.finish]) for s in reply.spoken]
    return encode(_envelope(reply, candidates, reply.usage))


def stream(reply: Reply) -> Iterator[Frame]:
    """The events of a streamed answer; the last one carries finish reason and full usage."""
    if reply.blocked is not None:
        yield _frame(_blocked(reply))
        return
    early = msgspec.structs.replace(reply.usage, output_tokens=0, reasoning_tokens=0)
    for spoken in reply.spoken:
        if spoken.thoughts and reply.ask.show_thoughts:
            part: Json = {"text": "".join(spoken.thoughts), "thought": True}
            chunk = _envelope(reply, [_candidate(spoken, [part])], early)
            yield _frame(chunk, len(spoken.thoughts), is_content=True)
        hidden = 0 if reply.ask.show_thoughts else len(spoken.thoughts)
        for start in range(0, len(spoken.pieces), reply.events_of):
            said = spoken.pieces[start : start + reply.events_of]
            chunk = _envelope(reply, [_candidate(spoken, [{"text": "".join(said)}])], early)
            yield _frame(chunk, len(said) + hidden, is_content=True)
            hidden = 0
        for call in spoken.calls:
            args = msgspec.Raw(call.arguments.encode())
            part = {"functionCall": {"name": call.name, "args": args}}
            chunk = _envelope(reply, [_candidate(spoken, [part])], early)
            billed = count(call.name) + count(call.arguments) + 4 + hidden
            yield _frame(chunk, billed, is_content=True)
            hidden = 0
    ends = [_candidate(s, [{"text": ""}], _FINISH_WORDS[s.finish]) for s in reply.spoken]
    yield _frame(_envelope(reply, ends, reply.usage))


def usage_json(usage: Usage) -> Json:
    """Google's usage: thoughts stand apart from the candidates' tokens."""
    body: Json = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.total_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input_tokens}],
    }
    if usage.reasoning_tokens:
        body["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cached_input_tokens:
        body["cachedContentTokenCount"] = usage.cached_input_tokens
    return body


def _frame(body: Json, tokens: int = 0, *, is_content: bool = False) -> Frame:
    return Frame(data=b"data: " + encode(body) + b"\r\n\r\n", tokens=tokens, is_content=is_content)


def _envelope(reply: Reply, candidates: list[Json], usage: Usage) -> Json:
    return {
        "candidates": candidates,
        "usageMetadata": usage_json(usage),
        "modelVersion": reply.model,
        "responseId": reply.id,
    }


def _blocked(reply: Reply) -> Json:
    return {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": usage_json(reply.usage),
        "modelVersion": reply.model,
        "responseId": reply.id,
    }


def _candidate(spoken: Spoken, parts: list[Json], finish: str | None = None) -> Json:
    body: Json = {"content": {"parts": parts, "role": "model"}, "index": spoken.index}
    return body if finish is None else body | {"finishReason": finish}


def _parts(spoken: Spoken, reply: Reply) -> list[Json]:
    parts: list[Json] = []
    if spoken.thoughts and reply.ask.show_thoughts:
        parts.append({"text": "".join(spoken.thoughts), "thought": True})
    if spoken.pieces:
        parts.append({"text": spoken.text})
    for call in spoken.calls:
        args = msgspec.Raw(call.arguments.encode())
        parts.append({"functionCall": {"name": call.name, "args": args}})
    return parts


def _respelled(body: bytes) -> bytes:
    if not _SNAKE.search(body):
        return body
    return msgspec.json.encode(_in_camel_case(decode(body, dict[str, Any])))


def _in_camel_case(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_camel_case(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub("_(.)", lambda m: m[1].upper(), name): inner for name, inner in value.items()}
    return {
        name: inner if name in _FOREIGN else _in_camel_case(inner) for name, inner in named.items()
    }


def _turn(content: _Content) -> Turn:
    text, images, is_result = "", 0, False
    for part in content.parts:
        text += part.text
        images += bool(bytes(part.inline_data) or bytes(part.file_data))
        for call in (part.function_call, part.function_response):
            if call is not None:
                text += call.name + bytes(call.args or call.response).decode("utf-8", "replace")
        is_result = is_result or part.function_response is not None
    role = "tool" if is_result else "assistant" if content.role == "model" else content.role
    return Turn(role=role, text=text, images=images)
