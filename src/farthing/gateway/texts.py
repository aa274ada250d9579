"""What a streamed answer says: its text, piece by piece, out of a call's events."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from farthing.core.chat import Failed, TextDelta
from farthing.gateway.call import Call
from farthing.wire.dialects import codec


async def texts(call: Call, dialect: str) -> AsyncGenerator[str, None]:
    """The pieces of the first answer's text, as they come. dialect: the request's. A failure on the way raises."""
    reader = codec(dialect).reader(want_deltas=True)
    async for event in call:
        for delta in event.deltas or ():
            if isinstance(delta, Failed):
                raise delta.error
        for read in reader.feed(event.wire):
            for delta in read.deltas or ():
                if isinstance(delta, TextDelta):
                    yield delta.text
