"""Model calls of a worker: asked there, made in the parent through its own gateway, so that nothing is booked twice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from farthing.core.errors import FarthingError, FlowError
from farthing.flows.isolation.errors import raised, told
from farthing.flows.isolation.frames import Answered, Ask, Cancel, Frame, Piece
from farthing.flows.models import Models, Spent


class ParentModels(Models):
    """In a worker: the models of the parent. `hear` is told what comes back; all of it on one loop."""

    def __init__(self, say: Callable[[Frame], None]) -> None:
        """say: sends a frame to the parent."""
        self._say = say
        self._ids = itertools.count()
        self._waiting: dict[int, asyncio.Queue[Piece | Answered]] = {}

    def hear(self, frame: Piece | Answered) -> None:
        """Something has come for a call; if nobody waits for it any longer it is dropped."""
        waiting = self._waiting.get(frame.id)
        if waiting is not None:
            waiting.put_nowait(frame)

    async def ask(self, api: str, body: dict[str, Any], spent: Spent) -> dict[str, Any]:
        """See `Models.ask`."""
        async with aclosing(self._call(api, body, spent, is_stream=False)) as frames:
            answered = [frame async for frame in frames]
        assert isinstance(answered[-1], Answered), "a call ends with its answer"
        answer: dict[str, Any] = msgspec.json.decode(answered[-1].body)
        return answer

    async def stream(
        self, api: str, body: dict[str, Any], spent: Spent
    ) -> AsyncGenerator[str, None]:
        """See `Models.stream`."""
        async with aclosing(self._call(api, body, spent, is_stream=True)) as frames:
            async for frame in frames:
                if isinstance(frame, Piece):
                    yield frame.text

    async def _call(
        self, api: str, body: dict[str, Any], spent: Spent, *, is_stream: bool
    ) -> AsyncGenerator[Piece | Answered, None]:
        """What comes back, the answer last. Raises what the call failed with. Left early, it is cancelled."""
        number = next(self._ids)
        coming = self._waiting[number] = asyncio.Queue()
        ask = Ask(id=number, api=api, body=msgspec.json.encode(body), is_stream=is_stream)
        is_over = False
        try:
            self._say(ask)
            while not is_over:
                frame = await coming.get()
                if isinstance(frame, Answered):
                    is_over = True
                    spent.add(frame.spent)
                    if frame.error is not None:
                        raise raised(frame.error)
                yield frame
        finally:
            del self._waiting[number]
            if not is_over:
                self._say(Cancel(id=number))


class Calls:
    """In the parent: the calls of one worker that are under way. spent: all that they have cost, summed up."""

    def __init__(
        self, models: Models, spent: Spent, say: Callable[[Frame], Awaitable[None]]
    ) -> None:
        """say: sends a frame to the worker; returns once it may send more."""
        self._models = models
        self._spent = spent
        self._say = say
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, ask: Ask) -> None:
        """Make a call."""
        task = asyncio.create_task(self._make(ask))
        self._tasks[ask.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(ask.id, None))

    def cancel(self, number: int) -> None:
        """Give one up. What it has used is booked."""
        task = self._tasks.get(number)
        if task is not None:
            task.cancel()

    async def aclose(self) -> None:
        """Give all up; return once they are booked."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, ask: Ask) -> None:
        spent, answer, error = Spent(), b"", None
        try:
            if ask.is_stream:
                await self._stream(ask, spent)
            else:
                body = msgspec.json.decode(ask.body)
                answer = msgspec.json.encode(await self._models.ask(ask.api, body, spent))
        except FarthingError as failed:
            error = told(failed)
        except Exception as failed:  # border: a provider's plug-in; the worker's node must hear
            error = told(FlowError(f"The call of a model failed with {type(failed).__name__}."))
        finally:
            self._spent.add(spent)
        await self._say(Answered(id=ask.id, spent=spent, body=answer, error=error))

    async def _stream(self, ask: Ask, spent: Spent) -> None:
        body = msgspec.json.decode(ask.body)
        async with aclosing(self._models.stream(ask.api, body, spent)) as pieces:
            async for text in pieces:
                await self._say(Piece(id=ask.id, text=text))
