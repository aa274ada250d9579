"""No repr shows what a person or a model wrote."""

import msgspec

from farthing.core.calls import Event, EventKind, Head, Request
from farthing.core.chat import (
    ChatRequest,
    Choice,
    Completion,
    Started,
    TextDelta,
    Tool,
    ToolCallDelta,
)
from farthing.core.messages import Message, ReasoningPart, TextPart, ToolCallPart, ToolResultPart
from farthing.core.private import Private

SECRET = "canary-7f3a"


def test_records_with_text_show_sizes_only() -> None:
    message = Message(role="user", parts=(TextPart(text=SECRET), ReasoningPart(text=SECRET)))
    things = [
        message,
        Message(
            role="tool", parts=(ToolResultPart(call_id=SECRET, content=(TextPart(text=SECRET),)),)
        ),
        ToolCallPart(id="1", name=SECRET, arguments=SECRET),
        ChatRequest(model=SECRET, messages=(message,), user=SECRET, stop=(SECRET,)),
        Completion(
            id="1", model="m", choices=(Choice(index=0, message=message, finish_reason="stop"),)
        ),
        Tool(name=SECRET, parameters=msgspec.Raw(f'"{SECRET}"'.encode())),
        TextDelta(text=SECRET),
        ToolCallDelta(index=0, arguments=SECRET),
        Started(id="1", model=SECRET),
        Event(wire=SECRET.encode(), kind=EventKind.CONTENT),
        Request(dialect="openai-chat", body=SECRET.encode(), head=Head(model="m"), session=SECRET),
        Private(SECRET),
    ]
    for thing in things:
        assert SECRET not in repr(thing)
        assert SECRET not in str(thing)
        assert SECRET not in f"{[thing]}"


def test_private_gives_its_content_only_when_asked() -> None:
    assert Private(SECRET).reveal() == SECRET
    assert repr(Private(SECRET)) == "Private(<11 characters>)"
