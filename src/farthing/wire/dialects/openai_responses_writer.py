"""Writes streams of the Responses API: deltas to events, in the order that its clients require."""

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
from farthing.wire.dialects.openai_errors import error_json
from farthing.wire.dialects.openai_responses_answer import (
    logprobs_of,
    message_json,
    response_json,
    seal_of,
    thought_json,
)
from farthing.wire.dialects.openai_responses_items import Json
from farthing.wire.dialects.openai_responses_turns import Item
from farthing.wire.dialects.openai_responses_words import ending


class _Open:
    """An item that is being written: its place in `output`, and its text so far."""

    def __init__(self, kind: str, number: int, index: int, item: Json) -> None:
        self.key = (kind, number)
        self.index = index
        self.item = item
        self.text = ""
        self.seal: str | None = None
        self.parts: list[Json] = []

    @property
    def id(self) -> object:
        return self.item["id"]


class Writer:
    """Writes one stream for a client; only choice 0 can be said here.

    Messages and reasoning are closed when another item begins. Calls stay open until the end, since
    another vendor may still send arguments of an earlier one. A call's own sealed signature has no place
    here (Google's codec knows what to send in its stead). A failure is an `error` event that carries
    its words twice: flat, as the API documents it, and behind `error`, which makes the official clients
    raise (openai 2.54.0, _streaming.py, 2026-11-24). No `response.completed` follows it.
    """

    def __init__(self, head: Head, *, call_id: str, created: int) -> None:
        self._id = call_id
        self._model = head.model
        self._created = created
        self._tier: str | None = None
        self._usage: Usage | None = None
        self._finished: Finished | None = None
        self._is_started = False
        self._sequence = 0
        self._output: list[Item] = []
        self._open: _Open | None = None
        self._calls: dict[int, _Open] = {}

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
        """An `error` event. Nothing follows, so no client takes the answer for whole."""
        told = error_json(error)
        flat = {name: told[name] for name in ("code", "message", "param")}
        return self._frame("error", {**flat, "error": told})

    def end(self) -> bytes:
        """Close what is open; then the whole response with its usage."""
        out = self._start(None) + self._close()
        for call in self._calls.values():
            out += self._close_call(call)
        finish = self._finished
        end = ending(finish.finish_reason if finish else None, None)
        return out + self._frame(f"response.{end['status']}", {"response": self._response(end)})

    def _start(self, started: Started | None) -> bytes:
        if self._is_started:
            return b""
        self._is_started = True
        if started is not None:
            self._id = started.id or self._id
            self._model = started.model or self._model
            self._created = started.created or self._created
            self._usage, self._tier = started.usage, started.service_tier
        response = self._response({"status": "in_progress", "incomplete_details": None})
        response = {**response, "usage": None}
        created = self._frame("response.created", {"response": response})
        return created + self._frame("response.in_progress", {"response": response})

    def _response(self, end: Json) -> Json:
        return response_json(
            self._id,
            self._model,
            self._created,
            end,
            self._output,
            usage=self._usage,
            tier=self._tier,
            is_own=False,
        )

    def _content(self, delta: TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta) -> bytes:
        match delta:
            case TextDelta():
                empty: Json = {"type": "output_text", "text": "", "annotations": []}
                opened = self._enter_part(delta.part, empty)
                raw = None if delta.logprobs is None else logprobs_of(delta.logprobs)
                more: Json = {"delta": delta.text, "logprobs": raw or []}
                return opened + self._say("response.output_text.delta", delta.text, more)
            case RefusalDelta():
                opened = self._enter_part(-1, {"type": "refusal", "refusal": ""})
                return opened + self._say(
                    "response.refusal.delta", delta.text, {"delta": delta.text}
                )
            case ReasoningDelta():
                return self._think(delta)
            case ToolCallDelta():
                return self._call(delta)

    # --- messages ---

    def _enter_part(self, number: int, part: Json) -> bytes:
        """Open the message, and in it the part. number: the text's, -1 for the refusal."""
        if self._open is not None and self._open.key == ("message", number):
            return b""
        out = b""
        if self._open is None or self._open.key[0] != "message":
            out = self._close()
            item = message_json(f"msg_{self._id}_{len(self._output)}", [], "in_progress")
            out += self._add("message", number, item)
        else:
            out = self._close_part(self._open)
        opened = self._open
        assert opened is not None
        opened.key = ("message", number)
        opened.text = ""
        opened.parts.append(part)
        return out + self._in_part(opened, "response.content_part.added", {"part": part})

    def _say(self, event: str, text: str, fields: Json) -> bytes:
        opened = self._open
        assert opened is not None
        if not text:
            return b""
        opened.text += text
        return self._in_part(opened, event, fields)

    def _in_part(self, opened: _Open, event: str, fields: Json) -> bytes:
        place = {"content_index": len(opened.parts) - 1}
        return self._in_item(opened, event, {**place, **fields})

    def _close_part(self, opened: _Open) -> bytes:
        part = opened.parts[-1]
        if part["type"] == "refusal":
            part = {**part, "refusal": opened.text}
            out = self._in_part(opened, "response.refusal.done", {"refusal": opened.text})
        else:
            part = {**part, "text": opened.text}
            done: Json = {"text": opened.text, "logprobs": []}
            out = self._in_part(opened, "response.output_text.done", done)
        opened.parts[-1] = part
        return out + self._in_part(opened, "response.content_part.done", {"part": part})

    # --- reasoning ---

    def _think(self, delta: ReasoningDelta) -> bytes:
        seal = seal_of(delta.signature, delta.encrypted)
        if seal is None and delta.encrypted is not None and delta.id is not None:
            seal = delta.encrypted  # this vendor's own: its items have ids
        if not delta.text and seal is None:
            return b""
        out = b""
        if self._open is None or self._open.key != ("reasoning", delta.part):
            out = self._close()
            id_ = delta.id or f"rs_{self._id}_{len(self._output)}"
            out += self._add("reasoning", delta.part, thought_json(id_, "", None))
        opened = self._open
        assert opened is not None
        opened.seal = seal or opened.seal
        if not delta.text:
            return out
        if not opened.text:
            part = {"type": "summary_text", "text": ""}
            out += self._in_summary(opened, "part.added", {"part": part})
        opened.text += delta.text
        return out + self._in_summary(opened, "text.delta", {"delta": delta.text})

    def _in_summary(self, opened: _Open, event: str, fields: Json) -> bytes:
        return self._in_item(
            opened, f"response.reasoning_summary_{event}", {"summary_index": 0, **fields}
        )

    # --- calls ---

    def _call(self, delta: ToolCallDelta) -> bytes:
        out = b""
        opened = self._calls.get(delta.index)
        if opened is None:
            out = self._close()
            number = f"{self._id}_{len(self._output)}"
            item: Json = {
                "id": f"fc_{number}",
                "type": "function_call",
                "status": "in_progress",
                "call_id": delta.id or f"call_{number}",
                "name": delta.name or "",
                "arguments": "",
            }
            out += self._add("call", delta.index, item)
            opened, self._open = self._open, None
            assert opened is not None
            self._calls[delta.index] = opened
        if not delta.arguments:
            return out
        opened.text += delta.arguments
        event = "response.function_call_arguments.delta"
        return out + self._in_item(opened, event, {"delta": delta.arguments})

    def _close_call(self, call: _Open) -> bytes:
        arguments = call.text or "{}"
        done = {"arguments": arguments, "name": call.item["name"]}
        out = self._in_item(call, "response.function_call_arguments.done", done)
        return out + self._done(call, {**call.item, "status": "completed", "arguments": arguments})

    # --- items and frames ---

    def _add(self, kind: str, number: int, item: Json) -> bytes:
        self._open = _Open(kind, number, len(self._output), item)
        self._output.append(item)
        added = {"output_index": self._open.index, "item": item}
        return self._frame("response.output_item.added", added)

    def _close(self) -> bytes:
        opened, self._open = self._open, None
        if opened is None:
            return b""
        if opened.key[0] == "message":
            out = self._close_part(opened)
            done = {**opened.item, "status": "completed", "content": opened.parts}
            return out + self._done(opened, done)
        out = b""
        if opened.text:
            part = {"type": "summary_text", "text": opened.text}
            out = self._in_summary(opened, "text.done", {"text": opened.text})
            out += self._in_summary(opened, "part.done", {"part": part})
        return out + self._done(opened, thought_json(str(opened.id), opened.text, opened.seal))

    def _done(self, opened: _Open, item: Json) -> bytes:
        self._output[opened.index] = item
        done = {"output_index": opened.index, "item": item}
        return self._frame("response.output_item.done", done)

    def _in_item(self, opened: _Open, event: str, fields: Json) -> bytes:
        place = {"item_id": opened.id, "output_index": opened.index}
        return self._frame(event, {**place, **fields})

    def _frame(self, event: str, fields: Json) -> bytes:
        data = {"type": event, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: " + event.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
