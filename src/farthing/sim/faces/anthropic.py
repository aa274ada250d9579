"""Anthropic's messages as the vendor writes them (API reference, read 2026-11)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from farthing.core.usage import Usage
from farthing.sim.asks import Ask, Frame, RefusedError, Reply, Spoken, ToolMode, ToolSpec, Turn
from farthing.sim.faces.shape import Json, decode, encode, sse
from farthing.sim.text import count

_STOP_WORDS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}
_MODES: dict[str, ToolMode] = {"any": "required", "tool": "tool", "none": "none"}


class _Cache(msgspec.Struct, frozen=True):
    ttl: str = "5m"


class _Block(msgspec.Struct, frozen=True):
    type: str
    text: str = ""
    thinking: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()
    content: str | list[_Block] = ""
    cache_control: _Cache | None = None


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[_Block]


class _Tool(msgspec.Struct, frozen=True):
    name: str
    input_schema: msgspec.Raw = msgspec.Raw()


class _ToolChoice(msgspec.Struct, frozen=True):
    type: str = "auto"
    name: str | None = None
    disable_parallel_tool_use: bool = False


class _Thinking(msgspec.Struct, frozen=True):
    type: str
    budget_tokens: int = 64


class _Format(msgspec.Struct, frozen=True):
    type: str
    schema: msgspec.Raw = msgspec.Raw()


class _OutputConfig(msgspec.Struct, frozen=True):
    format: _Format | None = None
    effort: str | None = None


class _Body(msgspec.Struct, frozen=True):
    model: str
    messages: list[_Message]
    max_tokens: int | None = None
    system: str | list[_Block] = ""
    stream: bool = False
    tools: list[_Tool] = []
    tool_choice: _ToolChoice = _ToolChoice()
    stop_sequences: list[str] = []
    thinking: _Thinking | None = None
    output_config: _OutputConfig = _OutputConfig()
    output_format: _Format | None = None
    temperature: float = 1.0


def parse(body: bytes) -> Ask:
    """The request. Raises RefusedError (400)."""
    ask = parse_count(body)
    if ask.max_tokens is None:
        raise RefusedError(400, "invalid", "max_tokens: Field required", param="max_tokens")
    if ask.max_tokens < 1:
        message = "max_tokens: Input should be greater than or equal to 1"
        raise RefusedError(400, "invalid", message, param="max_tokens")
    return ask


def parse_count(body: bytes) -> Ask:
    """A request to count tokens: the same, without max_tokens. Raises RefusedError (400)."""
    request = decode(body, _Body)
    if not request.messages:
        raise RefusedError(400, "invalid", "messages: at least one message is required")
    if not 0 <= request.temperature <= 1:
        raise RefusedError(
            400, "invalid", "temperature: must be in range 0..1", param="temperature"
        )
    turns = [*_turns("system", request.system)] if request.system else []
    for index, message in enumerate(request.messages):
        if message.role not in ("user", "assistant"):
            raise RefusedError(400, "invalid", f"messages.{index}.role: must be user or assistant")
        turns += _turns(message.role, message.content)
    thinking, form = request.thinking, request.output_config.format or request.output_format
    is_thinking = thinking is not None and thinking.type != "disabled"
    return Ask(
        model=request.model,
        turns=tuple(turns),
        stream=request.stream,
        tools=tuple(ToolSpec(name=t.name, schema=bytes(t.input_schema)) for t in request.tools),
        tool_mode=_MODES.get(request.tool_choice.type, "auto"),
        tool_name=request.tool_choice.name,
        is_parallel=not request.tool_choice.disable_parallel_tool_use,
        schema=bytes(form.schema) if form is not None else None,
        max_tokens=request.max_tokens,
        stop=tuple(request.stop_sequences),
        show_thoughts=is_thinking,
        thinking_budget=thinking.budget_tokens if thinking is not None and is_thinking else 0,
    )


def whole(reply: Reply) -> bytes:
    """The body of an unstreamed answer."""
    spoken = reply.spoken[0]
    return encode(
        _envelope(reply)
        | {
            "content": _content(spoken, reply),
            "stop_reason": _stop_reason(spoken),
            "stop_sequence": spoken.stop_sequence,
            "usage": usage_json(reply.usage),
        }
    )


def stream(reply: Reply) -> Iterator[Frame]:
    """The events of a streamed answer."""
    spoken = reply.spoken[0]
    early: Json = {"output_tokens": 1, "output_tokens_details": {"thinking_tokens": 0}}
    started = usage_json(reply.usage) | early
    empty: Json = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": started}
    yield _frame("message_start", {"message": _envelope(reply) | empty})
    yield _frame("ping", {})
    index = 0
    if spoken.thoughts:
        yield from _think(spoken, index)
        index += 1
    if spoken.pieces:
        yield _frame(
            "content_block_start", {"index": index, "content_block": {"type": "text", "text": ""}}
        )
        for start in range(0, len(spoken.pieces), reply.events_of):
            part = spoken.pieces[start : start + reply.events_of]
            delta: Json = {"type": "text_delta", "text": "".join(part)}
            yield _delta(index, delta, len(part))
        yield _frame("content_block_stop", {"index": index})
        index += 1
    for call in spoken.calls:
        block: Json = {"type": "tool_use", "id": _tool_id(call.id), "name": call.name, "input": {}}
        yield _frame(
            "content_block_start",
            {"index": index, "content_block": block},
            count(call.name) + 4,
            True,
        )
        yield _delta(index, {"type": "input_json_delta", "partial_json": ""}, 0)
        half = len(call.arguments) // 2
        for text, tokens in (
            (call.arguments[:half], 0),
            (call.arguments[half:], count(call.arguments)),
        ):
            yield _delta(index, {"type": "input_json_delta", "partial_json": text}, tokens)
        yield _frame("content_block_stop", {"index": index})
        index += 1
    last: Json = {"stop_reason": _stop_reason(spoken), "stop_sequence": spoken.stop_sequence}
    yield _frame("message_delta", {"delta": last, "usage": usage_json(reply.usage)})
    yield _frame("message_stop", {})


def usage_json(usage: Usage) -> Json:
    """Anthropic's usage: input without what was read from or written to the cache."""
    fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    return {
        "input_tokens": fresh,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - usage.cache_write_1h_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": "standard",
    }


def _think(spoken: Spoken, index: int) -> Iterator[Frame]:
    block: Json = {"type": "thinking", "thinking": "", "signature": ""}
    yield _frame("content_block_start", {"index": index, "content_block": block})
    for start in range(0, len(spoken.thoughts), 8):
        part = spoken.thoughts[start : start + 8]
        yield _delta(index, {"type": "thinking_delta", "thinking": "".join(part)}, len(part))
    yield _delta(index, {"type": "signature_delta", "signature": "c2ltdWxhdGVk"}, 0)
    yield _frame("content_block_stop", {"index": index})


def _frame(event: str, body: Json, tokens: int = 0, is_content: bool = False) -> Frame:
    return Frame(data=sse({"type": event} | body, event), tokens=tokens, is_content=is_content)


def _delta(index: int, delta: Json, tokens: int) -> Frame:
    return _frame("content_block_delta", {"index": index, "delta": delta}, tokens, True)


def _envelope(reply: Reply) -> Json:
    return {"id": f"msg_{reply.id}", "type": "message", "role": "assistant", "model": reply.model}


def _content(spoken: Spoken, reply: Reply) -> list[Json]:
    blocks: list[Json] = []
    if spoken.thoughts:
        thinking = "".join(spoken.thoughts)
        blocks.append({"type": "thinking", "thinking": thinking, "signature": "c2ltdWxhdGVk"})
    if spoken.pieces:
        blocks.append({"type": "text", "text": spoken.text})
    for call in spoken.calls:
        arguments = msgspec.Raw(call.arguments.encode())
        blocks.append(
            {"type": "tool_use", "id": _tool_id(call.id), "name": call.name, "input": arguments}
        )
    return blocks


def _stop_reason(spoken: Spoken) -> str:
    return "stop_sequence" if spoken.stop_sequence is not None else _STOP_WORDS[spoken.finish]


def _tool_id(call_id: str) -> str:
    return "toolu_" + call_id.removeprefix("call_")


def _turns(role: str, content: str | list[_Block]) -> list[Turn]:
    """One turn per block, so that cache breakpoints keep their places. Tool results are no user words."""
    if isinstance(content, str):
        return [Turn(role=role, text=content)]
    turns = []
    for block in content:
        is_result = block.type == "tool_result"
        text, images = _flat(block)
        turns.append(
            Turn(
                role="tool" if is_result else role,
                text=text,
                images=images,
                cache=block.cache_control.ttl if block.cache_control else None,
            )
        )
    return turns


def _flat(block: _Block) -> tuple[str, int]:
    text = (
        block.text or block.thinking or block.name + bytes(block.input).decode("utf-8", "replace")
    )
    if isinstance(block.content, str):
        return text + block.content, int(block.type == "image")
    inner = [_flat(part) for part in block.content]
    return text + "".join(t for t, _ in inner), sum(i for _, i in inner) + int(
        block.type == "image"
    )
