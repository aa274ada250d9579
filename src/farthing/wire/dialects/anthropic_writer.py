"""Writes streams of the Messages API: deltas to events, in the order that its clients require."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Head
from farthing.core.chat import (
    Delta,
    Failed,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from farthing.core.errors import FarthingError
from farthing.core.usage import Usage
from farthing.wire.dialects._seals import is_sealed
from farthing.wire.dialects.anthropic_content import Json
from farthing.wire.dialects.anthropic_errors import encode_error
from farthing.wire.dialects.anthropic_words import (
    stop_reason_of,
    usage_json,
)

_TEXT = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
_TEXT_DELTA = b',"delta":{"type":"text_delta","text":'


class Writer:
    """Writes one stream: message_start, blocks one after the other, message_delta, message_stop.

    Only choice 0 can be said here. Usage is shown in message_start as far as it is known by then and in
    full in message_delta; its counts are cumulative.
    """

    def __init__(self, head: Head, *, call_id: str) -> None:
        self._id = call_id
        self._model = head.model
        self._is_started = False
        self._next = 0
        self._open: tuple[str, int] | None = None
        self._places: dict[tuple[str, int], int] = {}
        self._finished: Finished | None = None
        self._usage: Usage | None = None
        self._tier: str | None = None

    def write(self, delta: Delta) -> bytes:
        """The events for one delta. Finish and usage wait for `end`."""
        match delta:
            case Started():
                return self._start(delta)
            case Finished():
                if delta.choice == 0:
                    self._finished = delta
                return b""
            case UsageDelta():
                self._usage = delta.usage
                self._tier = delta.service_tier or self._tier
                return b""
            case Failed():
                return self.error(delta.error)
        if delta.choice != 0:
            return b""
        return self._start(None) + self._content(delta)

    def error(self, error: FarthingError) -> bytes:
        """An `error` event. No message_stop follows, so no client takes the answer for whole."""
        return b"event: error\ndata: " + encode_error(error) + b"\n\n"

    def end(self) -> bytes:
        """Close the open block; then stop reason, usage and message_stop."""
        finished = self._finished
        reason = sequence = None
        if finished is not None:
            sequence = finished.stop_sequence
            finish = finished.finish_reason
            if finish == "stop" and ("refusal", 0) in self._places:
                finish = "refusal"  # told as text here, so the end must say it
            reason = stop_reason_of(finish, finished.raw_finish, sequence)
        tail: Json = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": usage_json(self._usage),
        }
        stop = _frame("message_stop", {"type": "message_stop"})
        return self._start(None) + self._close() + _frame("message_delta", tail) + stop

    def _start(self, started: Started | None) -> bytes:
        if self._is_started:
            return b""
        self._is_started = True
        if started is not None:
            self._id, self._model = started.id or self._id, started.model or self._model
            self._usage, self._tier = started.usage, started.service_tier
        usage = usage_json(self._usage)
        if self._tier in ("standard", "priority", "batch"):
            usage["service_tier"] = self._tier
        message: Json = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return _frame("message_start", {"type": "message_start", "message": message})

    def _content(self, delta: TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta) -> bytes:
        match delta:
            case TextDelta():
                if self._open == ("text", delta.part):  # what most of a stream is, without a dict
                    return _text_frame(self._next - 1, delta.text)
                opened = self._enter("text", delta.part, {"type": "text", "text": ""})
                return opened + _text_frame(self._next - 1, delta.text)
            case RefusalDelta():
                opened = self._enter("refusal", 0, {"type": "text", "text": ""})
                return opened + self._piece({"type": "text_delta", "text": delta.text})
            case ReasoningDelta():
                return self._thinking(delta)
            case ToolCallDelta():
                return self._tool_call(delta)

    def _thinking(self, delta: ReasoningDelta) -> bytes:
        seal = delta.signature
        if delta.encrypted is not None:
            if is_sealed(delta.encrypted):
                seal = delta.encrypted
            elif delta.id is None:
                sealed: Json = {"type": "redacted_thinking", "data": delta.encrypted}
                return self._enter("redacted", delta.part, sealed) + self._close()
        if not delta.text and seal is None:
            return b""
        out = self._enter(
            "reasoning", delta.part, {"type": "thinking", "thinking": "", "signature": ""}
        )
        if delta.text:
            out += self._piece({"type": "thinking_delta", "thinking": delta.text})
        if seal is not None:
            out += self._piece({"type": "signature_delta", "signature": seal})
        return out

    def _tool_call(self, delta: ToolCallDelta) -> bytes:
        key = ("tool", delta.index)
        place = self._places.get(key)
        if place is not None and self._open != key:
            # Late arguments for a call whose block is closed: its index still says where they belong.
            return _delta_frame(
                place, {"type": "input_json_delta", "partial_json": delta.arguments}
            )
        block: Json = {
            "type": "tool_use",
            "id": delta.id or f"toolu_{self._id}_{delta.index}",
            "name": delta.name or "",
            "input": {},
        }
        out = self._enter("tool", delta.index, block)
        if delta.arguments:
            out += self._piece({"type": "input_json_delta", "partial_json": delta.arguments})
        return out

    def _enter(self, kind: str, number: int, block: Json) -> bytes:
        key = (kind, number)
        if self._open == key:
            return b""
        out = self._close()
        self._open = key
        self._places[key] = self._next
        start = {"type": "content_block_start", "index": self._next, "content_block": block}
        self._next += 1
        return out + _frame("content_block_start", start)

    def _piece(self, delta: Json) -> bytes:
        return _delta_frame(self._next - 1, delta)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        stop = {"type": "content_block_stop", "index": self._next - 1}
        return _frame("content_block_stop", stop)


def _delta_frame(index: int, delta: Json) -> bytes:
    data = {"type": "content_block_delta", "index": index, "delta": delta}
    return _frame("content_block_delta", data)


def _text_frame(index: int, text: str) -> bytes:
    return b"%b%d%b%b}}\n\n" % (_TEXT, index, _TEXT_DELTA, msgspec.json.encode(text))


def _frame(event: str, data: Json) -> bytes:
    body = msgspec.json.encode(data)
    return b"event: " + event.encode() + b"\ndata: " + body + b"\n\n"
