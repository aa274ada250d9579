"""A worker's side of its supervisor: it says that it is ready, shares its series, and ends with it."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable

import msgspec

from farthing.base.clock import Clock
from farthing.base.telemetry.cells import Snapshot, decode, encode
from farthing.base.telemetry.metrics import Metrics
from farthing.server.channel import Channel, Message

#: How often a worker shares its series unasked, so that little is lost with one that is killed, seconds.
SHARE_S = 1.0
#: How long a scrape waits for the other workers, seconds.
COLLECT_S = 2.0


class Supervised:
    """The worker's end of the channel.

    `run` answers the supervisor until it is gone, which then calls `orphaned`: a worker without a
    supervisor would hold a port that nobody knows of.
    """

    def __init__(
        self, end: socket.socket, metrics: Metrics, clock: Clock, orphaned: Callable[[], None]
    ) -> None:
        self._end = end
        self._metrics = metrics
        self._clock = clock
        self._orphaned = orphaned
        self._channel: Channel | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[bytes]] = {}

    async def connect(self) -> None:
        """Open the channel; once, before anything else."""
        self._channel = await Channel.over(self._end)

    async def run(self) -> None:
        """Until cancelled, or the supervisor is gone."""
        channel = self._channel
        assert channel is not None, "it is connected"
        sharing = asyncio.create_task(self._share(channel))
        try:
            async for message in channel:
                if message.kind == "tell":
                    channel.send(Message("told", message.number, self._series()))
                elif message.kind == "collected":
                    waiting = self._asked.pop(message.number, None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(message.data)
            self._orphaned()
        finally:
            sharing.cancel()
            channel.close()

    def ready(self) -> None:
        """Requests are answered from now on."""
        assert self._channel is not None, "it is connected"
        self._channel.send(Message("ready"))

    async def others(self) -> list[Snapshot]:
        """The series of all other workers together, those that have ended included; none if nobody answers."""
        if self._channel is None:
            return []
        number = next(self._numbers)
        waiting = self._asked[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Message("collect", number))
        try:
            async with asyncio.timeout(COLLECT_S):
                return [decode(await waiting)]
        except (TimeoutError, msgspec.MsgspecError):
            return []
        finally:
            self._asked.pop(number, None)

    async def _share(self, channel: Channel) -> None:
        while True:
            await self._clock.sleep(SHARE_S)
            channel.send(Message("told", 0, self._series()))

    def _series(self) -> bytes:
        return encode(self._metrics.snapshot())
