"""What every kind of flow is once it is open: something that runs lines. DAG, flex and prompty each make one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from farthing.flows.engine.plan import LineResult
from farthing.flows.graph import Flow
from farthing.flows.models import Spent


class Runnable(Protocol):
    """A flow that is open: its files are read, its functions imported, its connections resolved.

    flow: inputs, outputs and name; of a flex flow or a prompty without nodes. spent: what its model calls
    have cost since it was opened. has_end: something runs behind all lines.
    """

    @property
    def flow(self) -> Flow: ...

    @property
    def spent(self) -> Spent: ...

    @property
    def has_end(self) -> bool: ...

    async def run(self, inputs: Mapping[str, Any], *, number: int | None = None) -> LineResult:
        """Run one line; any number at once. What fails is in the result, never raised.

        number: of the line in its data, for messages.
        """
        ...

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        """What runs once behind all lines; an empty result where there is nothing. Metrics are logged."""
        ...

    async def aclose(self) -> None:
        """Let go of threads and what else it holds. Idempotent."""
        ...
