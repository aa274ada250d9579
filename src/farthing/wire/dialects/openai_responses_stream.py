"""Reads streams of the Responses API: events to deltas, usage and the end."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Event, EventKind, Tally
from farthing.core.chat import (
    Delta,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from farthing.core.errors import UpstreamProtocolError, UpstreamTruncatedError
from farthing.wire.dialects.openai_errors import ErrorFields
from farthing.wire.dialects.openai_responses_items import NAME
from farthing.wire.dialects.openai_responses_words import (
    Action,
    WireUsage,
    failure_of,
    finish_of,
    is_paid_search,
)
from farthing.wire.sse import SseSplitter


class _Item(msgspec.Struct):
    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    encrypted_content: str | None = None
    action: Action | None = None


class _Details(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str = ""
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    error: ErrorFields | None = None
    incomplete_details: _Details | None = None
    usage: WireUsage | None = None
    service_tier: str | None = None


class _Data(msgspec.Struct):
    """The data of any event; the fields that its type does not have stay empty."""

    type: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: msgspec.Raw = msgspec.Raw(b"")
    arguments: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(b"")
    item: _Item | None = None
    response: _Response | None = None
    error: ErrorFields | None = None
    code: str | None = None
    param: str | None = None


_DATA = msgspec.json.Decoder(_Data)
_TEXT = msgspec.json.Decoder(str)


class Reader:
    """Reads one stream. Complete only at `response.completed` or `response.incomplete`."""

    def __init__(self, *, want_deltas: bool) -> None:
        self._wants = want_deltas
        self._splitter = SseSplitter()
        self._has_started = False
        self._is_over = False
        self._model: str | None = None
        self._tier: str | None = None
        self._usage: WireUsage | None = None
        self._searches = 0
        self._finish: FinishReason | None = None
        self._characters = 0
        # Output index → number of the item among those of its kind.
        self._calls: dict[int, int] = {}
        self._thoughts: dict[int, int] = {}
        # (Output index, content index) → number of the text among all.
        self._texts: dict[tuple[int, int], int] = {}
        # Which text of a reasoning item is being written.
        self._paragraphs: dict[int, tuple[str, int]] = {}
        self._argued: set[int] = set()

    def feed(self, chunk: bytes) -> list[Event]:
        """Events completed by this chunk. Raises UpstreamProtocolError."""
        return [self._event(frame.wire, frame.data) for frame in self._splitter.feed(chunk)]

    def eof(self) -> list[Event]:
        """Nothing more comes. Raises UpstreamTruncatedError before the final response."""
        if not self._is_over:
            raise UpstreamTruncatedError("The provider's stream stopped before its end.")
        return []

    @property
    def tally(self) -> Tally:
        """What is known so far."""
        return Tally(
            usage=self._usage.to_core(web_searches=self._searches) if self._usage else None,
            finish_reasons=(self._finish,) if self._finish else (),
            model=self._model,
            service_tier=self._tier,
            is_complete=self._is_over,
            output_characters=self._characters,
        )

    def _event(self, wire: bytes, data: bytes | None) -> Event:
        if data is None or self._is_over or data.strip() == b"[DONE]":
            return self._made(wire, EventKind.META)
        try:
            event = _DATA.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UpstreamProtocolError(
                f"The provider sent a stream event that is no {NAME}."
            ) from None
        match event.type:
            case "response.output_text.delta" | "response.refusal.delta":
                return self._on_text(wire, event)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                return self._on_thought(wire, event)
            case "response.function_call_arguments.delta":
                return self._on_arguments(wire, event.output_index, self._text(event))
            case "response.function_call_arguments.done" if event.output_index not in self._argued:
                # Some vendors that copy this API send the arguments in one piece.
                return self._on_arguments(wire, event.output_index, event.arguments or "")
            case "response.output_item.added":
                return self._on_item(wire, event.output_index, event.item or _Item())
            case "response.output_item.done":
                return self._on_item_done(wire, event.output_index, event.item or _Item())
            case "response.created" | "response.in_progress" | "response.queued":
                return self._on_start(wire, event.response or _Response())
            case "response.completed" | "response.incomplete":
                return self._on_end(wire, event)
            case "response.failed" | "error":
                return self._on_failure(wire, event)
        if not event.type and event.error is not None:
            return self._on_failure(wire, event)
        return self._made(wire, EventKind.META)

    def _on_start(self, wire: bytes, response: _Response) -> Event:
        self._model = response.model or self._model
        self._tier = response.service_tier or self._tier
        if self._has_started:
            return self._made(wire, EventKind.META)
        self._has_started = True
        created = response.created_at
        started = Started(
            id=response.id,
            model=response.model or "",
            created=None if created is None else int(created),
            service_tier=response.service_tier,
        )
        return self._made(wire, EventKind.META, started)

    def _on_item(self, wire: bytes, index: int, item: _Item) -> Event:
        match item.type:
            case "function_call":
                self._calls[index] = number = len(self._calls)
                if item.arguments:
                    self._argued.add(index)
                    self._characters += len(item.arguments)
                call = ToolCallDelta(
                    index=number,
                    id=item.call_id,
                    name=item.name,
                    arguments=item.arguments or "",
                )
                return self._made(wire, EventKind.CONTENT, call)
            case "reasoning":
                self._thought(index)
                return self._made(wire, EventKind.META)
            case "message":
                return self._made(wire, EventKind.META)
        # The vendor's own tools: content, but nothing that core has words for.
        return self._made(wire, EventKind.CONTENT)

    def _on_item_done(self, wire: bytes, index: int, item: _Item) -> Event:
        self._searches += is_paid_search(item.type, item.action)
        if item.type == "reasoning" and item.encrypted_content is not None:
            sealed = ReasoningDelta(
                part=self._thought(index), encrypted=item.encrypted_content, id=item.id
            )
            return self._made(wire, EventKind.CONTENT, sealed)
        if item.type == "function_call" and index in self._calls and index not in self._argued:
            return self._on_arguments(wire, index, item.arguments or "")
        return self._made(wire, EventKind.META)

    def _on_text(self, wire: bytes, event: _Data) -> Event:
        text = self._text(event)
        self._characters += len(text)
        if event.type == "response.refusal.delta":
            return self._made(wire, EventKind.CONTENT, RefusalDelta(text=text))
        place = (event.output_index, event.content_index)
        part = self._texts.setdefault(place, len(self._texts))
        logprobs = bytes(event.logprobs).strip()
        shown = None
        if logprobs.startswith(b"[") and logprobs != b"[]":
            shown = msgspec.Raw(b'{"content":' + logprobs + b"}")
        return self._made(wire, EventKind.CONTENT, TextDelta(text=text, part=part, logprobs=shown))

    def _on_thought(self, wire: bytes, event: _Data) -> Event:
        text = self._text(event)
        index = event.output_index
        paragraph = (event.type, event.summary_index or event.content_index)
        if self._paragraphs.setdefault(index, paragraph) != paragraph:
            # As in a whole answer: the texts of one item are paragraphs.
            self._paragraphs[index] = paragraph
            text = "\n\n" + text
        self._characters += len(text)
        thought = ReasoningDelta(text=text, part=self._thought(index))
        return self._made(wire, EventKind.CONTENT, thought)

    def _on_arguments(self, wire: bytes, index: int, arguments: str) -> Event:
        number = self._calls.get(index)
        if number is None:
            raise UpstreamProtocolError("The provider sent arguments of a call that it never made.")
        if not arguments:
            return self._made(wire, EventKind.META)
        self._argued.add(index)
        self._characters += len(arguments)
        return self._made(wire, EventKind.CONTENT, ToolCallDelta(index=number, arguments=arguments))

    def _on_end(self, wire: bytes, event: _Data) -> Event:
        response = event.response
        if response is None:
            raise UpstreamProtocolError("The provider's final event has no response.")
        status = event.type.removeprefix("response.")
        reason = response.incomplete_details.reason if response.incomplete_details else None
        finish = finish_of(status, reason, has_calls=bool(self._calls)) or "other"
        self._is_over = True
        self._finish = finish
        self._model = response.model or self._model
        self._tier = response.service_tier or self._tier
        self._usage = response.usage
        deltas: list[Delta] = [Finished(finish_reason=finish, raw_finish=reason or status)]
        if response.usage is not None:
            usage = response.usage.to_core(web_searches=self._searches)
            deltas.append(UsageDelta(usage=usage, service_tier=self._tier))
        return self._made(wire, EventKind.END, *deltas)

    def _on_failure(self, wire: bytes, event: _Data) -> Event:
        told = event.response.error if event.response else event.error
        if told is None:
            told = ErrorFields(code=event.code, param=event.param)
        # Always told, since whoever forwards the bytes must know what happened.
        failed = Failed(error=failure_of(told))
        return Event(wire=wire, kind=EventKind.ERROR, deltas=(failed,))

    def _thought(self, index: int) -> int:
        return self._thoughts.setdefault(index, len(self._thoughts))

    def _text(self, event: _Data) -> str:
        try:
            return _TEXT.decode(event.delta)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise UpstreamProtocolError(
                f"The provider sent a piece of text that is no {NAME}."
            ) from None

    def _made(self, wire: bytes, kind: EventKind, *deltas: Delta) -> Event:
        return Event(wire=wire, kind=kind, deltas=deltas if self._wants else None)
