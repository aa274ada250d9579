"""A sink that is fed from a thread, so that what is slow in it delays no call."""

from __future__ import annotations

import logging
from queue import SimpleQueue
from threading import Thread

from farthing.core.calls import CallRecord
from farthing.core.protocols import CallSink

_log = logging.getLogger("farthing.telemetry")

#: Records that may wait for a slow sink; a terminal that stands still must not fill the memory.
MAX_WAITING = 10_000


class Behind:
    """A `CallSink` that hands its records to another one in a thread of its own, in their order.

    When that one cannot keep up, records beyond `MAX_WAITING` are left out, and how many is logged once it
    has caught up. `close` waits for those that are in the queue.
    """

    def __init__(self, sink: CallSink) -> None:
        self._sink = sink
        self._waiting: SimpleQueue[CallRecord | None] = SimpleQueue()
        self._left_out = 0
        self._thread = Thread(target=self._hand_on, name="farthing-sink", daemon=True)
        self._thread.start()

    def record(self, call: CallRecord) -> None:
        """Put it in the queue."""
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put(call)
        else:
            self._left_out += 1

    def close(self) -> None:
        """Hand on what waits, then end. Idempotent."""
        self._waiting.put(None)
        self._thread.join()

    def _hand_on(self) -> None:
        while (call := self._waiting.get()) is not None:
            try:
                self._sink.record(call)
            except Exception:  # border: a sink that fails loses its line, the others go on
                _log.exception("A sink of call records failed.")
            if self._waiting.empty():
                self._tell()
        self._tell()

    def _tell(self) -> None:
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            _log.warning("Call records left out by a sink that was too slow: %d", left_out)
