"""The shortest honest answers of the Messages API, for tests of what lies below it."""

from __future__ import annotations

import json

WHOLE = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 2},
    }
).encode()


def frame(kind: str, **fields: object) -> bytes:
    """One server-sent event."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


START = frame(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1},
    },
)
OPEN = frame("content_block_start", index=0, content_block={"type": "text", "text": ""})
TEXT = frame("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
CLOSE = frame("content_block_stop", index=0)
DELTA = frame(
    "message_delta",
    delta={"stop_reason": "end_turn", "stop_sequence": None},
    usage={"output_tokens": 2},
)
STOP = frame("message_stop")
STREAM = (START, OPEN, TEXT, CLOSE, DELTA, STOP)
ERROR = frame("error", error={"type": "overloaded_error", "message": "canary-text"})
REQUEST = json.dumps(
    {
        "model": "claude-opus-5-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Say hello"}],
    }
).encode()
