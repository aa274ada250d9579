"""One question asked by each vendor's own client, and what the client understood of the answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec

#: A PNG of one pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
PURPOSE = "Look a city up."


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request in words that every dialect has, unless its client cannot say it.

    tools: names of functions that take a city. told: the result of a call of the first tool.
    """

    text: str = "Where is Ulm?"
    system: str | None = None
    tools: tuple[str, ...] = ()
    must_call: bool = False
    told: str | None = None
    has_image: bool = False
    wants_city: bool = False
    most: int | None = None
    stop: str | None = None
    effort: str | None = None


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What the client returned. finish: the dialect's own word. calls: names and parsed arguments."""

    text: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    finish: str | None = None
    stop_sequence: str | None = None
    input_tokens: int = -1
    output_tokens: int = -1
    reasoning_tokens: int | None = None


class CannotAskError(Exception):
    """The client's dialect has no words for the question."""


def ask_chat(client: Any, model: str, question: Question, *, stream: bool) -> Heard:
    """By `client.chat.completions`, streamed through the package's own accumulator."""
    messages: list[Any] = []
    if question.system:
        messages.append({"role": "system", "content": question.system})
    said: Any = question.text
    if question.has_image:
        url = f"data:image/png;base64,{PIXEL}"
        said = [{"type": "text", "text": said}, {"type": "image_url", "image_url": {"url": url}}]
    messages.append({"role": "user", "content": said})
    if question.told is not None:
        call = {"name": question.tools[0], "arguments": '{"city": "Ulm"}'}
        calls = [{"id": "call_1", "type": "function", "function": call}]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": "call_1", "content": question.told})
    fields: dict[str, Any] = {"model": model, "messages": messages}
    if question.tools:
        fields["tools"] = [
            {
                "type": "function",
                "function": {"name": name, "description": PURPOSE, "parameters": CITY},
            }
            for name in question.tools
        ]
    if question.must_call:
        fields["tool_choice"] = "required"
    if question.wants_city:
        schema = {"name": "place", "schema": CITY, "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    if question.most is not None:
        fields["max_completion_tokens"] = question.most
    if question.stop is not None:
        fields["stop"] = [question.stop]
    if question.effort is not None:
        fields["reasoning_effort"] = question.effort
    if stream:
        with client.chat.completions.stream(
            **fields, stream_options={"include_usage": True}
        ) as events:
            for _ in events:
                pass
            made = events.current_completion_snapshot
    else:
        made = client.chat.completions.create(**fields)
    choice = made.choices[0]
    called: list[Any] = choice.message.tool_calls or []
    details = made.usage.completion_tokens_details
    return Heard(
        text=choice.message.content or "",
        refusal=choice.message.refusal or "",
        calls=tuple((c.function.name, json.loads(c.function.arguments)) for c in called),
        finish=choice.finish_reason,
        input_tokens=made.usage.prompt_tokens,
        output_tokens=made.usage.completion_tokens,
        reasoning_tokens=(details.reasoning_tokens or 0) if details else 0,
    )


def ask_responses(client: Any, model: str, question: Question, *, stream: bool) -> Heard:
    """By `client.responses`, streamed through the package's own accumulator."""
    if question.stop is not None:
        raise CannotAskError("Responses have no stop sequences.")
    said: Any = question.text
    if question.has_image:
        url = f"data:image/png;base64,{PIXEL}"
        said = [
            {"type": "input_text", "text": said},
            {"type": "input_image", "image_url": url, "detail": "auto"},
        ]
    items: list[Any] = [{"role": "user", "content": said}]
    if question.told is not None:
        call = {"call_id": "call_1", "name": question.tools[0], "arguments": '{"city": "Ulm"}'}
        items.append({"type": "function_call"} | call)
        items.append({"type": "function_call_output", "call_id": "call_1", "output": question.told})
    fields: dict[str, Any] = {"model": model, "input": items, "store": False}
    if question.system:
        fields["instructions"] = question.system
    if question.tools:
        fields["tools"] = [
            {
                "type": "function",
                "name": name,
                "description": PURPOSE,
                "parameters": CITY,
                "strict": False,
            }
            for name in question.tools
        ]
    if question.must_call:
        fields["tool_choice"] = "required"
    if question.wants_city:
        schema = {"type": "json_schema", "name": "place", "schema": CITY, "strict": True}
        fields["text"] = {"format": schema}
    if question.most is not None:
        fields["max_output_tokens"] = question.most
    if question.effort is not None:
        fields["reasoning"] = {"effort": question.effort}
    if stream:
        made = None
        with client.responses.stream(**fields) as events:
            for event in events:
                if event.type in ("response.completed", "response.incomplete"):
                    made = event.response
        assert made is not None, "the stream ended without its last event"
    else:
        made = client.responses.create(**fields)
    return _of_response(made)


def _of_response(made: Any) -> Heard:
    parts = [p for item in made.output if item.type == "message" for p in item.content]
    calls = [item for item in made.output if item.type == "function_call"]
    reason = made.incomplete_details.reason if made.incomplete_details else None
    return Heard(
        text=made.output_text,
        refusal="".join(part.refusal for part in parts if part.type == "refusal"),
        calls=tuple((c.name, json.loads(c.arguments)) for c in calls),
        finish=reason or made.status,
        input_tokens=made.usage.input_tokens,
        output_tokens=made.usage.output_tokens,
        reasoning_tokens=made.usage.output_tokens_details.reasoning_tokens,
    )


def ask_anthropic(client: Any, model: str, question: Question, *, stream: bool) -> Heard:
    """By `client.messages`, streamed through the package's own accumulator."""
    said: Any = question.text
    if question.has_image:
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        said = [{"type": "image", "source": source}, {"type": "text", "text": said}]
    messages: list[Any] = [{"role": "user", "content": said}]
    if question.told is not None:
        call = {"id": "toolu_1", "name": question.tools[0], "input": {"city": "Ulm"}}
        messages.append({"role": "assistant", "content": [{"type": "tool_use"} | call]})
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": question.told}
        messages.append({"role": "user", "content": [result]})
    fields: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": 4096}
    if question.system:
        fields["system"] = question.system
    if question.tools:
        fields["tools"] = [
            {"name": name, "description": PURPOSE, "input_schema": CITY} for name in question.tools
        ]
    if question.must_call:
        fields["tool_choice"] = {"type": "any"}
    if question.wants_city:
        fields["output_config"] = {"format": {"type": "json_schema", "schema": CITY}}
    if question.most is not None:
        fields["max_tokens"] = question.most
    if question.stop is not None:
        fields["stop_sequences"] = [question.stop]
    if question.effort is not None:
        fields["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    if stream:
        with client.messages.stream(**fields) as events:
            made = events.get_final_message()
    else:
        made = client.messages.create(**fields)
    usage = made.usage
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return Heard(
        text="".join(block.text for block in made.content if block.type == "text"),
        calls=tuple((b.name, b.input) for b in made.content if b.type == "tool_use"),
        finish=made.stop_reason,
        stop_sequence=made.stop_sequence,
        input_tokens=usage.input_tokens + cached,
        output_tokens=usage.output_tokens,
    )


def ask_google(client: Any, model: str, question: Question, *, stream: bool) -> Heard:
    """By `client.models.generate_content`; its stream is joined by hand, as its users do."""
    parts: list[Any] = [{"text": question.text}]
    if question.has_image:
        data = base64.b64decode(PIXEL)
        parts.append({"inline_data": {"mime_type": "image/png", "data": data}})
    contents: list[Any] = [{"role": "user", "parts": parts}]
    if question.told is not None:
        name = question.tools[0]
        call = {"function_call": {"name": name, "args": {"city": "Ulm"}}}
        result = {"function_response": {"name": name, "response": {"result": question.told}}}
        contents.append({"role": "model", "parts": [call]})
        contents.append({"role": "user", "parts": [result]})
    config: dict[str, Any] = {}
    if question.system:
        config["system_instruction"] = question.system
    if question.tools:
        declarations = [
            {"name": name, "description": PURPOSE, "parameters_json_schema": CITY}
            for name in question.tools
        ]
        config["tools"] = [{"function_declarations": declarations}]
        config["automatic_function_calling"] = {"disable": True}
    if question.must_call:
        config["tool_config"] = {"function_calling_config": {"mode": "ANY"}}
    if question.wants_city:
        config["response_mime_type"] = "application/json"
        config["response_json_schema"] = CITY
    if question.most is not None:
        config["max_output_tokens"] = question.most
    if question.stop is not None:
        config["stop_sequences"] = [question.stop]
    if question.effort is not None:
        config["thinking_config"] = {"thinking_budget": 1024, "include_thoughts": True}
    fields = {"model": model, "contents": contents, "config": config}
    if stream:
        made = list(client.models.generate_content_stream(**fields))
    else:
        made = [client.models.generate_content(**fields)]
    candidates = [c.candidates[0] for c in made if c.candidates]
    pieces = [p for c in candidates if c.content for p in c.content.parts or []]
    calls = [piece.function_call for piece in pieces if piece.function_call]
    finishes = [c.finish_reason for c in candidates if c.finish_reason]
    usage = next(c.usage_metadata for c in reversed(made) if c.usage_metadata)
    thoughts = usage.thoughts_token_count or 0
    return Heard(
        text="".join(piece.text for piece in pieces if piece.text and not piece.thought),
        calls=tuple((call.name, call.args) for call in calls),
        finish=finishes[-1].value if finishes else None,
        input_tokens=usage.prompt_token_count,
        output_tokens=(usage.candidates_token_count or 0) + thoughts,
        reasoning_tokens=thoughts,
    )


SPEAKERS = {
    "openai-chat": ask_chat,
    "openai-responses": ask_responses,
    "anthropic-messages": ask_anthropic,
    "google-generate": ask_google,
}
