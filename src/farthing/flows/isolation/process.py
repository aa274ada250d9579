"""One worker as its parent has it: started, spoken to, and ended with all that it has started."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from farthing.core.errors import FlowError
from farthing.flows.isolation.calls import Calls
from farthing.flows.isolation.errors import raised
from farthing.flows.isolation.frames import (
    Aggregate,
    AnyFrame,
    Ask,
    Begin,
    Behind,
    Cancel,
    Frame,
    Opened,
    Over,
    Refused,
    RunLine,
    Stop,
    packed,
    read,
)
from farthing.flows.models import Models, Spent

#: How long a worker may take to end in good order, seconds: what stands in `atexit` runs meanwhile.
STOP_S = 2.0
#: How long what an ended worker has said is still read, seconds.
DRAIN_S = 0.5
#: Finds modules where this process does.
_PROGRAM = (
    "import sys; fd, *sys.path = sys.argv[1:]; "
    "from farthing.flows.isolation.worker import main; main(int(fd))"
)


class EndedError(Exception):
    """The worker is no more. code: as `Popen.returncode` has it."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Worker:
    """A process with the flow open in it. It does one thing at a time. Made by `started`.

    opened: the flow as it says it is.
    """

    opened: Opened

    def __init__(
        self,
        child: Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        models: Models,
        spent: Spent,
    ) -> None:
        self._child = child
        self._reader = reader
        self._writer = writer
        self._calls = Calls(models, spent, self._say)
        self._answer: asyncio.Future[AnyFrame] | None = None
        self._watching = asyncio.create_task(self._watch())

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._watching.done() or self._child.returncode is not None

    async def run(self, number: int | None, inputs: bytes) -> Over:
        """Run a line. inputs: pickled. Raises EndedError. Cancelled, it leaves a worker to be killed."""
        over = await self._exchange(RunLine(number=number, inputs=inputs))
        assert isinstance(over, Over), "a line is answered by its result"
        return over

    async def aggregate(self, lines: Iterable[bytes]) -> Over:
        """Run what is behind all lines. lines: pickled results. Raises EndedError."""
        for line in lines:
            await self._say(Behind(line=line))
        over = await self._exchange(Aggregate())
        assert isinstance(over, Over), "an aggregation is answered by its result"
        return over

    def kill(self) -> None:
        """End it at once, with what its nodes have started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """End it in good order if it has nothing to do, else at once; return when it is no more."""
        if self._answer is None and not self.is_over:
            await self._say(Stop())
            await asyncio.wait((self._watching,), timeout=STOP_S)
        if not self.is_over:
            self.kill()
        await self._watching

    # --- private ---

    async def _begin(self, begin: Begin) -> None:
        answer = await self._exchange(begin)
        if isinstance(answer, Refused):
            raise raised(answer.error)
        assert isinstance(answer, Opened), "a beginning is answered by a flow"
        self.opened = answer

    async def _exchange(self, frame: Frame) -> AnyFrame:
        """Say something and wait for what it comes to."""
        assert self._answer is None, "a worker does one thing at a time"
        if self.is_over:
            raise EndedError(self._child.returncode)
        self._answer = asyncio.get_running_loop().create_future()
        try:
            await self._say(frame)
            answer = await self._answer
        except EndedError:
            self._answer = None
            raise
        self._answer = None  # left as it is by a cancellation: the worker is busy still
        return answer

    async def _say(self, frame: Frame) -> None:
        with suppress(ConnectionError):  # its end is noticed by `_watch`
            self._writer.write(packed(frame))
            await self._writer.drain()

    async def _watch(self) -> None:
        """Hear what it says until it is no more."""
        listening = asyncio.create_task(self._listen())
        try:
            code = await self._child.wait()
            # What it has started may hold the socket open, so its end is not always that of the stream.
            await asyncio.wait((listening,), timeout=DRAIN_S)
        finally:
            self.kill()
            listening.cancel()
            await asyncio.wait((listening,))
            await self._calls.aclose()
            self._writer.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(EndedError(code))

    async def _listen(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                try:
                    frame = await read(self._reader)
                except msgspec.DecodeError:
                    self.kill()  # something else has written to the socket
                    return
                if isinstance(frame, Ask):
                    self._calls.begin(frame)
                elif isinstance(frame, Cancel):
                    self._calls.cancel(frame.id)
                elif self._answer is not None and not self._answer.done():
                    self._answer.set_result(frame)


async def started(begin: Begin, models: Models, spent: Spent) -> Worker:
    """A worker with the flow open. spent: what its model calls cost is added there.

    Raises what opening the flow raises, FlowError where no process can be started, EndedError.
    """
    here, there = socket.socketpair()
    is_open = False
    try:
        with there:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _PROGRAM,
                str(there.fileno()),
                *sys.path,
                stdin=DEVNULL,
                pass_fds=(there.fileno(),),
                # Ctrl-C is for the parent, and what nodes start can be ended with them.
                start_new_session=True,
            )
        reader, writer = await asyncio.open_unix_connection(sock=here)
        is_open = True
    except OSError as error:
        raise FlowError(
            f"A process for lines cannot be started: {error.strerror or error}.",
            hint="Ask for fewer with --isolate N.",
        ) from error
    finally:
        if not is_open:
            here.close()  # a worker that was started nevertheless ends with it
    worker = Worker(child, reader, writer, models, spent)
    try:
        await worker._begin(begin)
    except BaseException:
        worker.kill()
        await worker.stop()
        raise
    return worker
