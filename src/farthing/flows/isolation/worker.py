"""The program of a worker: opens a flow, runs the lines it is handed, one at a time, and ends with its parent."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import pickle
import signal
import socket
import sys
import threading
from contextlib import suppress

import msgspec

from farthing.base.clock import SystemClock
from farthing.core.errors import FarthingError, FlowError, FlowInputError
from farthing.flows.engine.plan import LineResult
from farthing.flows.isolation import main_module
from farthing.flows.isolation.calls import ParentModels
from farthing.flows.isolation.errors import told
from farthing.flows.isolation.frames import (
    Aggregate,
    Answered,
    AnyFrame,
    Begin,
    Behind,
    Frame,
    Opened,
    Over,
    Piece,
    Refused,
    RunLine,
    Stop,
    packed,
    receive,
)
from farthing.flows.isolation.results import Parcels
from farthing.flows.open import open_flow
from farthing.flows.runnable import Runnable


def main(descriptor: int) -> None:
    """Serve the parent, at the other end of this socket, until it has no more work."""
    os.set_inheritable(descriptor, False)  # what a node starts must not keep the socket open
    with suppress(RuntimeError):  # there may be no standard error
        faulthandler.enable()  # where a crash was is told there
    asyncio.run(_Worker(socket.socket(fileno=descriptor)).serve())


class _Worker:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._writing = threading.Lock()
        self._models = ParentModels(self._say)
        self._work: asyncio.Queue[AnyFrame] = asyncio.Queue()
        self._behind: list[LineResult] = []

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        # A thread, because code of the flow may hold up the loop, and the parent's end must be seen then too.
        threading.Thread(target=self._listen, args=(loop,), name="parent", daemon=True).start()
        begin = await self._work.get()
        assert isinstance(begin, Begin), "a worker is told first what to open"
        try:
            flow = self._open(begin)
            self._say(_opened(flow))
        except (Exception, SystemExit) as error:  # border: the flow's own modules
            self._say(Refused(error=told(_of_ours(error))))
            return
        try:
            await self._run(flow, Parcels(flow.flow, flow.has_end, is_whole=begin.is_whole))
        finally:
            await flow.aclose()

    # --- opening ---

    def _open(self, begin: Begin) -> Runnable:
        sys.argv[:] = [os.fsdecode(each) for each in begin.argv]
        os.chdir(os.fsdecode(begin.folder))
        if begin.main is not None:
            main_module.load(begin.main)
        opening = pickle.loads(begin.opening)  # noqa: S301 -- of the parent, through a socket of its own
        flow = open_flow(models=self._models, clock=SystemClock(), **opening)
        os.chdir(flow.flow.folder)  # where its functions look for their files
        return flow

    # --- running ---

    async def _run(self, flow: Runnable, parcels: Parcels) -> None:
        while not isinstance(frame := await self._work.get(), Stop):
            if isinstance(frame, Behind):
                self._behind.append(pickle.loads(frame.line))  # noqa: S301 -- see `_open`
                continue
            if isinstance(frame, RunLine):
                over = await _line(flow, frame, parcels)
            else:
                assert isinstance(frame, Aggregate), "there is no other work"
                lines, self._behind = self._behind, []
                over = parcels.of_end(await flow.aggregate(lines))
            for stream in (sys.stdout, sys.stderr):
                # What a node printed is there even if the next line ends the process. There may be no stream.
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            self._say(over)

    # --- the parent ---

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand on what the parent says; in a thread of its own. Its end is the end of this process."""
        try:
            while (frame := receive(self._channel)) is not None:
                loop.call_soon_threadsafe(self._hear, frame)
        except RuntimeError:
            return  # the loop has ended: this process does, in good order
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)  # with what its nodes have started
        os.kill(os.getpid(), signal.SIGKILL)

    def _hear(self, frame: AnyFrame) -> None:
        if isinstance(frame, Piece | Answered):
            self._models.hear(frame)
        else:
            self._work.put_nowait(frame)

    def _say(self, frame: Frame) -> None:
        wire = packed(frame)
        with self._writing, suppress(OSError):  # without a parent `_listen` ends the process
            self._channel.sendall(wire)


async def _line(flow: Runnable, frame: RunLine, parcels: Parcels) -> Over:
    try:
        inputs = pickle.loads(frame.inputs)  # noqa: S301 -- see `_Worker._open`
    except Exception as error:  # border: classes of the user's own
        return Over(
            error=told(
                FlowInputError(
                    f"The inputs cannot be handed to another process: reading them failed with "
                    f"{type(error).__name__}.",
                    hint="Give texts, numbers, lists and dicts, or run without isolation.",
                )
            )
        )
    return parcels.of_line(await flow.run(inputs, number=frame.number))


def _opened(flow: Runnable) -> Opened:
    """The flow as the parent needs it. Defaults stay here: they may be objects of the flow's own classes."""
    inputs = tuple(msgspec.structs.replace(each, default=None) for each in flow.flow.inputs)
    shown = msgspec.structs.replace(flow.flow, inputs=inputs)
    return Opened(flow=pickle.dumps(shown), has_end=flow.has_end)


def _of_ours(error: BaseException) -> FarthingError:
    if isinstance(error, FarthingError):
        return error
    return FlowError(
        f"Opening the flow in a process of its own failed with {type(error).__name__}.",
        hint="Does it open without isolation? Classes and flows stand at the top of a module.",
    )
