"""`farthing`, with a sampler in it: where its main thread's CPU time goes, by the module that spends it.

    python sampled.py OUTPUT up …      the arguments of the command after the file to write

SIGUSR2 starts the sampler; the next one stops it and writes the file. A timer of the process's CPU
time raises SIGPROF; the handler books the CPU time of the main thread since the last sample to the stack that
it finds. So the samples add up to the thread's time, and time that another thread spent (the one that writes
the database) is not booked to a stack that only waited.
"""

from __future__ import annotations

import dis
import json
import resource
import signal
import sys
import time
from collections import defaultdict
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

#: CPU seconds of the process between samples; the kernel rounds it up to its own tick.
INTERVAL_S = 0.001
#: What a stack without a module of ours is booked to: uvloop, the parser, the kernel below them.
LOOP = "loop"
#: Libraries that the loop calls by itself, without a frame of ours below.
LIBRARIES = frozenset({"aiohttp", "uvicorn", "starlette"})


class Sampler:
    """Seconds of the main thread by module. Modules are those of the innermost frames, see `_owner`."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._seconds: dict[str, float] = defaultdict(float)
        self._last = 0.0
        self._start: dict[str, float] | None = None

    def toggle(self, *_: object) -> None:
        """SIGUSR2: start, or stop and write."""
        if self._start is None:
            self._seconds.clear()
            self._start = _clocks()
            self._last = time.thread_time()
            signal.signal(signal.SIGPROF, self._sample)
            signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
            return
        signal.setitimer(signal.ITIMER_PROF, 0)
        spent = {name: value - self._start[name] for name, value in _clocks().items()}
        self._start = None
        whole = self._output.with_suffix(".part")
        whole.write_text(json.dumps({**spent, "modules": self._seconds}))
        whole.rename(self._output)  # its reader waits for a file that is complete

    def _sample(self, _: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        self._seconds[_owner(frame)] += now - self._last
        self._last = time.thread_time()


def _clocks() -> dict[str, float]:
    own = resource.getrusage(resource.RUSAGE_THREAD)
    return {
        "process_s": time.process_time(),
        "thread_s": time.thread_time(),
        "thread_kernel_s": own.ru_stime,
    }


def _owner(frame: FrameType | None) -> str:
    """The module of `farthing` nearest to where the time went, or the library that called back.

    Python runs a signal's handler between bytecodes. When that is the first one of a function, the time went
    by before the function began: below its caller, or in the loop when nobody in Python called it.
    """
    if frame is not None and frame.f_lasti <= _entry(frame.f_code):
        frame = frame.f_back
    library = LOOP
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if (
            module == "asyncio.runners"
        ):  # below it are the command and the start, which spend nothing
            return library
        if module.startswith("farthing."):
            return module
        if module.partition(".")[0] in LIBRARIES:
            library = module
        frame = frame.f_back
    return library


@cache
def _entry(code: CodeType) -> int:
    """The offset of a function's first instruction of its own (RESUME)."""
    return next((i.offset for i in dis.get_instructions(code) if i.opname == "RESUME"), -1)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, Sampler(Path(sys.argv[1])).toggle)
    sys.argv = ["farthing", *sys.argv[2:]]
    from farthing.cli.main import main

    main()
