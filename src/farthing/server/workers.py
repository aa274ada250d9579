"""The supervisor: several processes behind one port, replaced when they die and restarted one by one."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec

from farthing.base.clock import Clock
from farthing.base.telemetry.cells import Snapshot, decode, encode, summed
from farthing.core.errors import FarthingError
from farthing.server.channel import Channel, Message

_log = logging.getLogger("farthing.server")

#: How long a worker may take until it answers requests, seconds.
START_S = 60.0
#: How long others may take to tell their series for a scrape, seconds.
_TELL_S = 1.0
#: Pause before a worker that died is replaced: the first is immediate, a row of deaths slows down.
_PAUSES_S = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
#: A worker that lived this long has not failed at its start, seconds.
_STEADY_S = 10.0
#: What a worker may take beyond its grace time before it is killed, seconds.
_LAST_S = 10.0

#: The command of a worker: its number, the descriptors of its listener and of its channel → arguments.
Command = Callable[[int, int, int], Sequence[str]]


class WorkerError(FarthingError):
    """A worker did not come up."""

    code = "worker_failed"
    status = 500


class Supervisor:
    """Runs one worker for each listening socket and keeps them running.

    The sockets stay open here, so a connection that waits in one is answered by the worker's successor.
    command: how a worker is started. grace_s: what calls may take after SIGTERM. died: told after a worker
    ended by itself, so that what it left open is recovered at once.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        command: Command,
        clock: Clock,
        *,
        grace_s: float,
        died: Callable[[], Awaitable[None]],
    ) -> None:
        self._listeners = list(listeners)
        self._command = command
        self._clock = clock
        self._grace_s = grace_s
        self._died = died
        self._workers: list[_Worker] = []
        self._retired: Snapshot = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._restarting = asyncio.Lock()

    async def start(self) -> None:
        """Start all workers; returns when each answers. Raises WorkerError; none is left running then."""
        try:
            started = [self._started(slot) for slot in range(len(self._listeners))]
            self._workers = list(await asyncio.gather(*started))
        except BaseException:
            await self.stop()
            raise
        for worker in self._workers:
            self._watch(worker)

    async def stop(self, *, at_once: bool = False) -> None:
        """End all workers: SIGTERM, their grace time, then SIGKILL. A second SIGTERM cuts the grace short."""
        self._is_stopping = True
        await asyncio.gather(*(worker.end(self._grace_s + _LAST_S) for worker in self._workers))
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hurry(self) -> None:
        """Do not wait for calls under way any longer."""
        for worker in self._workers:
            worker.send(signal.SIGTERM)

    def reload(self) -> None:
        """Every worker reads the settings file anew."""
        for worker in self._workers:
            worker.send(signal.SIGHUP)

    async def restart(self) -> None:
        """Replace one worker after the other; each goes when its successor answers. No call is lost.

        A successor that does not come up is given up with its error in the log; the old one stays.
        """
        async with self._restarting:
            for slot in range(len(self._workers)):
                try:
                    successor = await self._started(slot)
                except WorkerError as error:
                    _log.error("%s The old worker goes on.", error)
                    return
                old, self._workers[slot] = self._workers[slot], successor
                self._watch(successor)
                old.is_leaving = True
                await old.end(self._grace_s + _LAST_S, by=signal.SIGUSR1)

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers' process ids, by slot."""
        return tuple(worker.pid for worker in self._workers)

    # --- private ---

    async def _started(self, slot: int) -> _Worker:
        listener = self._listeners[slot]
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = (listener.fileno(), theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                *self._command(slot, *descriptors),
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C is for the supervisor, which then asks them to end
            )
        worker = _Worker(slot, process, await Channel.over(ours), self._clock)
        task = asyncio.create_task(self._listen(worker))
        self._keep(task)
        try:
            async with asyncio.timeout(START_S):
                await worker.is_ready.wait()
        except TimeoutError:
            worker.kill()
        if worker.has_ended or not worker.is_serving:
            code = await process.wait()
            raise WorkerError(
                f"Worker {slot} ended with status {code} before it answered requests.",
                hint="Its own message stands above.",
            )
        return worker

    async def _listen(self, worker: _Worker) -> None:
        """What the worker says, until it is gone; then its last series stay in the sum."""
        async for message in worker.channel:
            if message.kind == "ready":
                worker.is_serving = True
                worker.is_ready.set()
            elif message.kind == "told":
                worker.take(message)
            elif message.kind == "collect":
                self._keep(asyncio.create_task(self._collect(worker, message.number)))
        worker.has_ended = True
        worker.is_ready.set()
        worker.channel.close()
        worker.answer_nothing()
        self._retired = summed([self._retired, _counts(worker.series)])
        worker.series = {}

    async def _collect(self, asking: _Worker, number: int) -> None:
        others = [each for each in self._workers if each is not asking and not each.has_ended]
        await asyncio.gather(*(each.tell() for each in others))
        total = summed([self._retired, *(each.series for each in others)])
        asking.channel.send(Message("collected", number, encode(total)))

    def _watch(self, worker: _Worker) -> None:
        self._keep(asyncio.create_task(self._replace_when_dead(worker)))

    async def _replace_when_dead(self, worker: _Worker) -> None:
        deaths = 0
        while True:
            code = await worker.process.wait()
            if self._is_stopping or worker.is_leaving:
                return
            _log.error(
                "Worker %d (process %d) ended with status %d.", worker.slot, worker.pid, code
            )
            await self._recover()
            deaths = 0 if worker.age_s > _STEADY_S else deaths + 1
            await self._clock.sleep(_PAUSES_S[min(deaths, len(_PAUSES_S) - 1)])
            try:
                worker = await self._started(worker.slot)
            except WorkerError as error:
                _log.error("%s", error)
                continue  # the process of the one before is over, so this waits for nothing but the pause
            self._workers[worker.slot] = worker
            _log.info("Worker %d is replaced by process %d.", worker.slot, worker.pid)

    async def _recover(self) -> None:
        try:
            await self._died()
        except FarthingError as error:
            _log.warning("What the worker left open is recovered later: %s", error)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Worker:
    """One process and what is known of it. series: its last ones."""

    def __init__(
        self, slot: int, process: asyncio.subprocess.Process, channel: Channel, clock: Clock
    ) -> None:
        self.slot = slot
        self.process = process
        self.channel = channel
        self.is_ready = asyncio.Event()
        self.is_serving = False
        self.is_leaving = False
        self.has_ended = False
        self.series: Snapshot = {}
        self._clock = clock
        self._since_s = clock.monotonic()
        self._told: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def age_s(self) -> float:
        """Seconds since its start."""
        return self._clock.monotonic() - self._since_s

    async def tell(self) -> None:
        """Wait for its present series; the last ones stay when it does not answer."""
        if self._told is None or self._told.done():
            self._told = asyncio.get_running_loop().create_future()
            self.channel.send(Message("tell", 1))
        with suppress(TimeoutError):
            async with asyncio.timeout(_TELL_S):
                await asyncio.shield(self._told)

    def take(self, message: Message) -> None:
        """Its series. Those that it was asked for (number 1) answer the question."""
        with suppress(msgspec.MsgspecError):
            self.series = decode(message.data)
        if message.number:
            self.answer_nothing()

    def answer_nothing(self) -> None:
        """Nobody need wait for it any longer."""
        if self._told is not None and not self._told.done():
            self._told.set_result(None)

    def send(self, number: int) -> None:
        """Send it a signal, unless it is gone."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it now."""
        with suppress(ProcessLookupError):
            self.process.kill()

    async def end(self, seconds: float, *, by: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, and kill it when it does not within that time."""
        self.send(by)
        try:
            async with asyncio.timeout(seconds):
                await self.process.wait()
        except TimeoutError:
            self.kill()
            await self.process.wait()


def _counts(series: Snapshot) -> Snapshot:
    """What outlives a worker: its counts. What was in flight in it is no more."""
    return {name: rows for name, rows in series.items() if name != "farthing_in_flight"}
