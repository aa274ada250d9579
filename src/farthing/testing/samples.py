"""The shortest honest exchange of each dialect, for tests that need a vendor who says something."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

#: The model that every sample names.
MODEL = "model-under-test"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One request, its whole answer, and the same answer as a stream, frame by frame."""

    request: bytes
    whole: bytes
    stream: tuple[bytes, ...]


def data(value: object) -> bytes:
    """One unnamed server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def named(kind: str, **fields: object) -> bytes:
    """One server-sent event whose name is also the `type` of its data."""
    return f"event: {kind}\n".encode() + data({"type": kind, **fields})


def _openai_chat() -> Sample:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    base = {"id": "chatcmpl-1", "created": 1, "model": MODEL}
    chunk = {**base, "object": "chat.completion.chunk"}

    def piece(delta: object, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return data({**chunk, "choices": [choice]})

    message = {"role": "assistant", "content": "Hello"}
    whole = {
        **base,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }
    return Sample(
        request=json.dumps(
            {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
        ).encode(),
        whole=json.dumps(whole).encode(),
        stream=(
            piece({"role": "assistant", "content": ""}),
            piece({"content": "Hello"}),
            piece({}, "stop"),
            data({**chunk, "choices": [], "usage": usage}),
            b"data: [DONE]\n\n",
        ),
    )


def _openai_completions() -> Sample:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    base = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL}

    def answer(text: str, finish: str | None, **more: object) -> dict[str, object]:
        choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
        return {**base, "choices": [choice], **more}

    return Sample(
        request=json.dumps({"model": MODEL, "prompt": "Hi", "max_tokens": 9}).encode(),
        whole=json.dumps(answer("Hello", "stop", usage=usage)).encode(),
        stream=(
            data(answer("Hel", None)),
            data(answer("lo", "stop")),
            data({**base, "choices": [], "usage": usage}),
            b"data: [DONE]\n\n",
        ),
    )


def _openai_responses() -> Sample:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    }
    base = {"id": "resp_1", "object": "response", "created_at": 1, "model": MODEL}
    begun: dict[str, object] = {**base, "status": "in_progress", "output": []}
    text = {"type": "output_text", "text": "Hello", "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant"}
    said = {**item, "status": "completed", "content": [text]}
    whole = {**base, "status": "completed", "output": [said], "usage": usage}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    opened = {**item, "status": "in_progress", "content": []}
    frames: tuple[tuple[str, dict[str, object]], ...] = (
        ("response.created", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": opened}),
        ("response.content_part.added", {**place, "part": {**text, "text": ""}}),
        ("response.output_text.delta", {**place, "delta": "Hello", "logprobs": []}),
        ("response.output_text.done", {**place, "text": "Hello", "logprobs": []}),
        ("response.content_part.done", {**place, "part": text}),
        ("response.output_item.done", {"output_index": 0, "item": said}),
        ("response.completed", {"response": whole}),
    )
    return Sample(
        request=json.dumps({"model": MODEL, "input": "Hi", "store": False}).encode(),
        whole=json.dumps(whole).encode(),
        stream=tuple(
            named(kind, sequence_number=number, **fields)
            for number, (kind, fields) in enumerate(frames)
        ),
    )


def _anthropic_messages() -> Sample:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL}
    empty: dict[str, object] = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    text = {"type": "text", "text": "Hello"}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    usage = {"input_tokens": 10, "output_tokens": 2}
    request = {
        "model": MODEL,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    start = {**empty, "usage": {"input_tokens": 10, "output_tokens": 1}}
    return Sample(
        request=json.dumps(request).encode(),
        whole=json.dumps({**message, "content": [text], **end, "usage": usage}).encode(),
        stream=(
            named("message_start", message=start),
            named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            named("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"}),
            named("content_block_stop", index=0),
            named("message_delta", delta=end, usage={"output_tokens": 2}),
            named("message_stop"),
        ),
    )


def _google_generate() -> Sample:
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12}

    def answer(text: str, **more: object) -> dict[str, object]:
        candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, **more}
        return {"candidates": [candidate], "modelVersion": MODEL, "responseId": "r1"}

    last = {**answer("lo", finishReason="STOP"), "usageMetadata": usage}
    whole = {**answer("Hello", finishReason="STOP"), "usageMetadata": usage}
    return Sample(
        request=json.dumps({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}).encode(),
        whole=json.dumps(whole).encode(),
        stream=(data(answer("Hel")), data(last)),
    )


#: Dialect → sample.
SAMPLES: Mapping[str, Sample] = MappingProxyType(
    {
        "openai-chat": _openai_chat(),
        "openai-completions": _openai_completions(),
        "openai-responses": _openai_responses(),
        "anthropic-messages": _anthropic_messages(),
        "google-generate": _google_generate(),
    }
)
