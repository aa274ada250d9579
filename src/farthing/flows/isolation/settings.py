"""How a run is isolated: in how many processes, and for how long a process lives."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from farthing.core.errors import FlowInputError

#: Processes at most where no number is asked for: prompt flow's default. Each needs memory for the flow.
DEFAULT_PROCESSES = 4
#: More are a slip of the pen.
MOST_PROCESSES = 256
#: What asks for the default number, and for a process for each line.
AUTO, LINE = "auto", "line"


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """processes: how many at once. is_fresh: each line gets a new one, so that it meets no other line's globals."""

    processes: int
    is_fresh: bool = False


def isolation_of(told: str | None) -> Isolation | None:
    """What `auto`, `line` or a number asks for; None: lines run in this process.

    By default there are as many processes as cores, at most four. Raises FlowInputError.
    """
    if told is None:
        return None
    word = told.strip().lower()
    if word in (AUTO, LINE):
        return Isolation(processes=min(_cores(), DEFAULT_PROCESSES), is_fresh=word == LINE)
    if word.isascii() and word.isdigit() and 1 <= int(word) <= MOST_PROCESSES:
        return Isolation(processes=int(word))
    raise FlowInputError(
        f"'{told[:40]}' is no number of processes.",
        hint=f"Say how many, 1 to {MOST_PROCESSES}; 'auto' for as many as cores, at most "
        f"{DEFAULT_PROCESSES}; or 'line' for a new process for each line.",
        param="isolate",
    )


def asked_of_prompt_flow(environment: Mapping[str, str]) -> str | None:
    """What PF_WORKER_COUNT and PF_BATCH_METHOD ask for, to be read by `isolation_of`.

    As in prompt flow a count that is none, or not above 0, counts as not given. Either method, fork or
    spawn, asks for processes, which are always spawned.
    """
    count, method = environment.get("PF_WORKER_COUNT"), environment.get("PF_BATCH_METHOD")
    try:
        number = int(count or "")
    except ValueError:
        number = 0
    if number > 0:
        return str(min(number, MOST_PROCESSES))
    return AUTO if method else None


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
