"""OpenAI's and Azure's chat completions as the vendors write them (API reference, read 2026-11)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from farthing.core.usage import Usage
from farthing.sim.asks import Ask, Frame, RefusedError, Reply, Spoken, ToolMode, ToolSpec, Turn
from farthing.sim.faces.shape import Json, decode, encode, sse
from farthing.sim.filters import completion_annotations, prompt_annotations
from farthing.sim.text import count

FINGERPRINT = "farthing-sim"
END = Frame(data=b"data: [DONE]\n\n")


class _Part(msgspec.Struct, frozen=True):
    type: str = "text"
    text: str = ""
    refusal: str = ""


class _Named(msgspec.Struct, frozen=True):
    name: str
    arguments: str = ""
    parameters: msgspec.Raw = msgspec.Raw()


class _Tool(msgspec.Struct, frozen=True):
    type: str = "function"
    function: _Named | None = None


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[_Tool] | None = None


class _Schema(msgspec.Struct, frozen=True):
    name: str
    schema: msgspec.Raw = msgspec.Raw()


class _Format(msgspec.Struct, frozen=True):
    type: str
    json_schema: _Schema | None = None


class _Options(msgspec.Struct, frozen=True):
    include_usage: bool = False


class _Choice(msgspec.Struct, frozen=True):
    type: str = "function"
    function: _Named | None = None


class _Body(msgspec.Struct, frozen=True):
    messages: list[_Message]
    model: str = ""
    stream: bool | None = None
    stream_options: _Options | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None
    service_tier: str | None = None
    temperature: float | None = None


def parse(body: bytes) -> Ask:
    """The request. Raises RefusedError (400)."""
    request = decode(body, _Body)
    if not request.messages:
        raise RefusedError(400, "empty_array", "'messages' is too short.", param="messages")
    n = 1 if request.n is None else request.n
    if not 1 <= n <= 128:
        raise RefusedError(400, "invalid_value", "'n' must be between 1 and 128.", param="n")
    most = request.max_completion_tokens
    most = request.max_tokens if most is None else most
    if most is not None and most < 1:
        raise RefusedError(
            400, "integer_below_min_value", "'max_tokens' must be at least 1.", param="max_tokens"
        )
    if request.temperature is not None and not 0 <= request.temperature <= 2:
        raise RefusedError(
            400, "decimal_out_of_range", "'temperature' must be in [0, 2].", param="temperature"
        )
    mode, named = _tool_choice(request.tool_choice)
    form = request.response_format
    schema = bytes(form.json_schema.schema) if form and form.json_schema else None
    stop = request.stop
    return Ask(
        model=request.model,
        turns=tuple(_turn(message) for message in request.messages),
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        tools=tuple(
            ToolSpec(name=tool.function.name, schema=bytes(tool.function.parameters))
            for tool in request.tools or ()
            if tool.function is not None
        ),
        tool_mode=mode,
        tool_name=named,
        is_parallel=request.parallel_tool_calls is not False,
        schema=schema,
        is_json=bool(form and form.type == "json_object"),
        max_tokens=most,
        n=n,
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        effort=request.reasoning_effort,
        tier=request.service_tier,
    )


def whole(reply: Reply) -> bytes:
    """The body of an unstreamed answer."""
    body: Json = {
        "id": f"chatcmpl-{reply.id}",
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [_choice(spoken, reply) for spoken in reply.spoken],
        "usage": usage_json(reply.usage),
        "service_tier": reply.ask.tier or "default",
        "system_fingerprint": FINGERPRINT,
    }
    if reply.screening is not None:
        body["prompt_filter_results"] = prompt_annotations(reply.screening)
    return encode(body)


def stream(reply: Reply) -> Iterator[Frame]:
    """The events of a streamed answer."""
    if reply.screening is not None:
        first = _chunk(reply, [], prompt_filter_results=prompt_annotations(reply.screening))
        yield Frame(data=sse(first | {"id": "", "model": "", "created": 0}))
    for spoken in reply.spoken:
        yield from _speak(reply, spoken)
    if reply.ask.include_usage:
        yield Frame(data=sse(_chunk(reply, []) | {"usage": usage_json(reply.usage)}))
    yield END


def usage_json(usage: Usage) -> Json:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def finish_word(spoken: Spoken) -> str:
    """The vendor's finish reason; a refusal ends with `stop`."""
    return "stop" if spoken.finish == "refusal" else spoken.finish


def _speak(reply: Reply, spoken: Spoken) -> Iterator[Frame]:
    opening: Json = {"role": "assistant", "content": None if spoken.calls else "", "refusal": None}
    # Hidden reasoning takes its time before the first word and is billed with it.
    head = _chunk(reply, [_delta(spoken, opening, reply)])
    yield Frame(data=sse(head), tokens=len(spoken.thoughts))
    word = "refusal" if spoken.is_refusal else "content"
    for start in range(0, len(spoken.pieces), reply.events_of):
        part = spoken.pieces[start : start + reply.events_of]
        chunk = _chunk(reply, [_delta(spoken, {word: "".join(part)}, reply)])
        yield Frame(data=sse(chunk), tokens=len(part), is_content=True)
    for index, call in enumerate(spoken.calls):
        named = {"name": call.name, "arguments": ""}
        first: Json = {"index": index, "id": call.id, "type": "function", "function": named}
        chunk = _chunk(reply, [_delta(spoken, {"tool_calls": [first]}, reply)])
        yield Frame(data=sse(chunk), tokens=count(call.name) + 4, is_content=True)
        half = len(call.arguments) // 2
        billed = count(call.arguments)
        for text, tokens in ((call.arguments[:half], 0), (call.arguments[half:], billed)):
            more = {"index": index, "function": {"arguments": text}}
            chunk = _chunk(reply, [_delta(spoken, {"tool_calls": [more]}, reply)])
            yield Frame(data=sse(chunk), tokens=tokens, is_content=True)
    last = _delta(spoken, {}, reply) | {"finish_reason": finish_word(spoken)}
    yield Frame(data=sse(_chunk(reply, [last])))


def _chunk(reply: Reply, choices: list[Json], **more: object) -> Json:
    body: Json = {
        "id": f"chatcmpl-{reply.id}",
        "object": "chat.completion.chunk",
        "created": reply.created,
        "model": reply.model,
        "service_tier": reply.ask.tier or "default",
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    }
    if reply.ask.include_usage:
        body["usage"] = None
    return body | more


def _delta(spoken: Spoken, delta: Json, reply: Reply) -> Json:
    body: Json = {"index": spoken.index, "delta": delta, "logprobs": None, "finish_reason": None}
    if reply.screening is not None and ("content" in delta or not delta):
        body |= completion_annotations(reply.screening)
    return body


def _choice(spoken: Spoken, reply: Reply) -> Json:
    message: Json = {
        "role": "assistant",
        "content": spoken.text,
        "refusal": None,
        "annotations": [],
    }
    if spoken.is_refusal:
        message |= {"content": None, "refusal": spoken.text}
    if spoken.calls:
        message["content"] = None
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in spoken.calls
        ]
    body: Json = {
        "index": spoken.index,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_word(spoken),
    }
    if reply.screening is not None:
        body |= completion_annotations(reply.screening)
    return body


def _turn(message: _Message) -> Turn:
    content = message.content
    if content is None or isinstance(content, str):
        text, images = content or "", 0
    else:
        text = "".join(part.text or part.refusal for part in content)
        images = sum(part.type == "image_url" for part in content)
    for tool in message.tool_calls or ():
        if tool.function is not None:
            text += f" {tool.function.name} {tool.function.arguments}"
    return Turn(role=message.role, text=text, images=images)


def _tool_choice(choice: str | _Choice | None) -> tuple[ToolMode, str | None]:
    if isinstance(choice, _Choice):
        return "tool", choice.function.name if choice.function else None
    if choice == "required":
        return "required", None
    return ("none", None) if choice == "none" else ("auto", None)
