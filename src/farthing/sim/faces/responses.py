"""OpenAI's responses as the vendor writes them (API reference, read 2026-11)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from farthing.core.usage import Usage
from farthing.sim.asks import Ask, Frame, RefusedError, Reply, Spoken, ToolMode, ToolSpec, Turn
from farthing.sim.faces.shape import Json, decode, encode, sse
from farthing.sim.text import count


class _Part(msgspec.Struct, frozen=True):
    type: str
    text: str = ""


class _Item(msgspec.Struct, frozen=True):
    type: str = "message"
    role: str = "user"
    content: str | list[_Part] | None = None
    name: str = ""
    arguments: str = ""
    output: str | list[_Part] = ""


class _Tool(msgspec.Struct, frozen=True):
    type: str
    name: str = ""
    parameters: msgspec.Raw = msgspec.Raw()


class _Named(msgspec.Struct, frozen=True):
    type: str
    name: str | None = None


class _Format(msgspec.Struct, frozen=True):
    type: str = "text"
    schema: msgspec.Raw = msgspec.Raw()


class _Text(msgspec.Struct, frozen=True):
    format: _Format = _Format()


class _Reasoning(msgspec.Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None


class _Body(msgspec.Struct, frozen=True):
    input: str | list[_Item]
    model: str = ""
    instructions: str | None = None
    max_output_tokens: int | None = None
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Named | None = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    service_tier: str | None = None
    previous_response_id: str | None = None


def parse(body: bytes) -> Ask:
    """The request. Raises RefusedError (400, or 404 for a stored response: nothing is stored)."""
    request = decode(body, _Body)
    if request.previous_response_id is not None:
        message = "Previous response was not found; the simulator stores none."
        raise RefusedError(
            400, "previous_response_not_found", message, param="previous_response_id"
        )
    items = request.input
    turns = [Turn(role="user", text=items)] if isinstance(items, str) else [_turn(i) for i in items]
    if request.instructions:
        turns.insert(0, Turn(role="system", text=request.instructions))
    mode: ToolMode = "auto"
    if isinstance(request.tool_choice, _Named):
        mode = "tool"
    elif request.tool_choice == "required":
        mode = "required"
    elif request.tool_choice == "none":
        mode = "none"
    form = request.text.format if request.text is not None else _Format()
    reasoning = request.reasoning or _Reasoning()
    return Ask(
        model=request.model,
        turns=tuple(turns),
        stream=bool(request.stream),
        tools=tuple(
            ToolSpec(name=tool.name, schema=bytes(tool.parameters))
            for tool in request.tools or ()
            if tool.type == "function"
        ),
        tool_mode=mode,
        tool_name=request.tool_choice.name if isinstance(request.tool_choice, _Named) else None,
        is_parallel=request.parallel_tool_calls is not False,
        schema=bytes(form.schema) if form.type == "json_schema" else None,
        is_json=form.type == "json_object",
        max_tokens=request.max_output_tokens,
        effort=reasoning.effort,
        show_thoughts=reasoning.summary is not None,
        tier=request.service_tier,
    )


def whole(reply: Reply) -> bytes:
    """The body of an unstreamed answer."""
    return encode(_response(reply, _outputs(reply), _status(reply.spoken[0]), reply.usage))


def stream(reply: Reply) -> Iterator[Frame]:
    """The events of a streamed answer, numbered from 0."""
    for number, (event, body, tokens, is_content) in enumerate(_events(reply)):
        data = sse({"type": event, "sequence_number": number} | body, event)
        yield Frame(data=data, tokens=tokens, is_content=is_content)


def usage_json(usage: Usage) -> Json:
    """The usage object of the responses dialect."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


_Event = tuple[str, Json, int, bool]


def _events(reply: Reply) -> Iterator[_Event]:
    spoken = reply.spoken[0]
    started = _response(reply, [], "in_progress", None)
    yield "response.created", {"response": started}, 0, False
    yield "response.in_progress", {"response": started}, 0, False
    outputs = _outputs(reply)
    calls = list(spoken.calls)
    for index, item in enumerate(outputs):
        place: Json = {"output_index": index}
        if item["type"] == "reasoning":
            opened = item | {"summary": []}
            yield (
                "response.output_item.added",
                place | {"item": opened},
                len(spoken.thoughts),
                False,
            )
            if reply.ask.show_thoughts:
                yield from _summary(spoken, place | {"item_id": item["id"]})
        elif item["type"] == "message":
            opened = item | {"status": "in_progress", "content": []}
            yield "response.output_item.added", place | {"item": opened}, 0, False
            yield from _text(reply, spoken, place | {"item_id": item["id"], "content_index": 0})
        else:
            call = calls.pop(0)
            opened = item | {"status": "in_progress", "arguments": ""}
            billed = count(call.name) + 4
            yield "response.output_item.added", place | {"item": opened}, billed, True
            where = place | {"item_id": item["id"]}
            half, billed = len(call.arguments) // 2, count(call.arguments)
            for part, tokens in ((call.arguments[:half], 0), (call.arguments[half:], billed)):
                yield (
                    "response.function_call_arguments.delta",
                    where | {"delta": part},
                    tokens,
                    True,
                )
            done = where | {"arguments": call.arguments}
            yield "response.function_call_arguments.done", done, 0, False
        yield "response.output_item.done", place | {"item": item}, 0, False
    status = _status(spoken)
    ended = _response(reply, outputs, status, reply.usage)
    yield f"response.{status}", {"response": ended}, 0, False


def _text(reply: Reply, spoken: Spoken, where: Json) -> Iterator[_Event]:
    word = "refusal" if spoken.is_refusal else "output_text"
    key = "refusal" if spoken.is_refusal else "text"
    empty = _part(spoken, "")
    yield "response.content_part.added", where | {"part": empty}, 0, False
    more: Json = {} if spoken.is_refusal else {"logprobs": []}
    for start in range(0, len(spoken.pieces), reply.events_of):
        said = spoken.pieces[start : start + reply.events_of]
        delta = where | {"delta": "".join(said)} | more
        yield f"response.{word}.delta", delta, len(said), True
    yield f"response.{word}.done", where | {key: spoken.text} | more, 0, False
    yield "response.content_part.done", where | {"part": _part(spoken, spoken.text)}, 0, False


def _summary(spoken: Spoken, where: Json) -> Iterator[_Event]:
    where = where | {"summary_index": 0}
    text = "".join(spoken.thoughts)
    part: Json = {"type": "summary_text", "text": ""}
    yield "response.reasoning_summary_part.added", where | {"part": part}, 0, False
    yield "response.reasoning_summary_text.delta", where | {"delta": text}, 0, True
    yield "response.reasoning_summary_text.done", where | {"text": text}, 0, False
    yield "response.reasoning_summary_part.done", where | {"part": part | {"text": text}}, 0, False


def _outputs(reply: Reply) -> list[Json]:
    spoken = reply.spoken[0]
    items: list[Json] = []
    if spoken.thoughts:
        text = "".join(spoken.thoughts)
        summary = [{"type": "summary_text", "text": text}] if reply.ask.show_thoughts else []
        items.append({"id": f"rs_{reply.id}", "type": "reasoning", "summary": summary})
    status = _status(spoken)
    if spoken.pieces:
        items.append(
            {
                "id": f"msg_{reply.id}",
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [_part(spoken, spoken.text)],
            }
        )
    items.extend(
        {
            "id": "fc_" + call.id.removeprefix("call_"),
            "type": "function_call",
            "status": status,
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in spoken.calls
    )
    return items


def _part(spoken: Spoken, text: str) -> Json:
    if spoken.is_refusal:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _status(spoken: Spoken) -> str:
    return "incomplete" if spoken.finish in ("length", "content_filter") else "completed"


def _response(reply: Reply, outputs: list[Json], status: str, usage: Usage | None) -> Json:
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    reason = reasons.get(reply.spoken[0].finish)
    ask = reply.ask
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": reply.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if status == "incomplete" else None,
        "instructions": None,
        "max_output_tokens": ask.max_tokens,
        "model": reply.model,
        "output": outputs,
        "parallel_tool_calls": ask.is_parallel,
        "previous_response_id": None,
        "reasoning": {"effort": ask.effort, "summary": None},
        "service_tier": ask.tier or "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if usage is None else usage_json(usage),
        "user": None,
        "metadata": {"simulated": "true"},
    }


def _turn(item: _Item) -> Turn:
    if item.type == "function_call_output":
        return Turn(role="tool", text=_flat(item.output))
    if item.type != "message":
        return Turn(role="assistant", text=item.name + item.arguments)
    parts = item.content if isinstance(item.content, list) else []
    images = sum(part.type == "input_image" for part in parts)
    return Turn(role=item.role, text=_flat(item.content), images=images)


def _flat(content: str | list[_Part] | None) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content or ())
