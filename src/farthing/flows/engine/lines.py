"""What the lines of a run returned, as a list for who looks at all of them; beyond it what their nodes did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from farthing.flows.engine.plan import LineResult


class Lines(list[Any]):
    """What each completed line returned, in the order of the data."""

    def __init__(self, returned: Iterable[Any], results: Sequence[LineResult]) -> None:
        super().__init__(returned)
        self._results = results

    def node(self, name: str) -> list[Any]:
        """What a node returned in each line; None where it was bypassed, so that all lists have the same lines."""
        return [line.values.get(name) for line in self._results]

    def inputs(self, name: str) -> list[Any]:
        """What each line was given for an input of the flow."""
        return [line.inputs.get(name) for line in self._results]
