"""What the stream tests share: feeding any split of the bytes, and deltas joined to their content."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from farthing.core.calls import Event
from farthing.core.chat import (
    Delta,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from farthing.wire.codec import Codec, StreamReader


def read(codec: Codec, stream: bytes, cuts: Iterable[int] = ()) -> tuple[list[Event], StreamReader]:
    """All events of a complete stream, fed in pieces that end at `cuts`."""
    reader = codec.reader(want_deltas=True)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    events: list[Event] = []
    for start, end in pairwise(places):
        events += reader.feed(stream[start:end])
    return events + reader.eof(), reader


def deltas_of(events: Iterable[Event]) -> list[Delta]:
    """The deltas of all events, in order."""
    return [delta for event in events for delta in event.deltas or ()]


def merged(deltas: Iterable[Delta]) -> dict[str, object]:
    """What a reader of the whole stream knows: joined texts, calls, finishes, the last usage."""
    found: dict[str, object] = {"text": {}, "thinking": {}, "calls": {}, "finish": {}}
    for delta in deltas:
        match delta:
            case TextDelta() | RefusalDelta():
                _join(found["text"], delta.choice, delta.text)
            case ReasoningDelta():
                _join(found["thinking"], delta.choice, delta.text)
                if delta.signature or delta.encrypted:
                    found.setdefault("seals", []).append(delta.signature or delta.encrypted)  # type: ignore[attr-defined]
            case ToolCallDelta():
                calls = found["calls"]
                assert isinstance(calls, dict)
                call = calls.setdefault((delta.choice, delta.index), ["", "", ""])
                call[0] = delta.id or call[0]
                call[1] = delta.name or call[1]
                call[2] += delta.arguments
            case Finished():
                finish = found["finish"]
                assert isinstance(finish, dict)
                finish[delta.choice] = delta.finish_reason
            case UsageDelta():
                found["usage"] = delta.usage
    return found


def _join(texts: object, choice: int, text: str) -> None:
    assert isinstance(texts, dict)
    if text:
        texts[choice] = texts.get(choice, "") + text
