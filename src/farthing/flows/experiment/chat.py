"""Chat groups of experiments: flows that answer each other, turn by turn, as one flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farthing.flows.engine.plan import LineResult
from farthing.flows.graph import Flow, Output
from farthing.flows.models import Spent
from farthing.flows.runnable import Runnable

#: The output of a chat group, and what its roles refer to as `${parent.conversation_history}`.
HISTORY = "conversation_history"


class ChatGroup:
    """See `runnable.Runnable`. A line is a conversation: each role in turn, until one of them ends it.

    roles: open flows by role, in their order. history: the input of each role, if any, that gets the turns
    so far, each a list of the role and its outputs. stop_signal: an output that ends it; None: none does.
    Inputs of a line are named `role.input`.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        roles: Mapping[str, Runnable],
        history: Mapping[str, str],
        *,
        max_turns: int,
        stop_signal: str | None,
    ) -> None:
        self._roles = roles
        self._history = history
        self._max_turns = max_turns
        self._stop_signal = stop_signal
        outputs = (Output(name=HISTORY, reference=None, kind="list"),)
        self.flow = Flow(name=name, folder=folder, outputs=outputs)

    @property
    def spent(self) -> Spent:
        """See `Runnable`."""
        total = Spent()
        for each in self._roles.values():
            total.add(each.spent)
        return total

    @property
    def has_end(self) -> bool:
        """See `Runnable`. A conversation is its own end."""
        return False

    async def run(self, inputs: Mapping[str, Any], *, number: int | None = None) -> LineResult:
        """See `Runnable.run`. A turn that fails is the line's failure."""
        result = LineResult(inputs=dict(inputs))
        said: list[list[Any]] = []
        names = list(self._roles)
        for turn in range(self._max_turns):
            role = names[turn % len(names)]
            start = f"{role}."
            given = {k.removeprefix(start): v for k, v in inputs.items() if k.startswith(start)}
            if role in self._history:
                given[self._history[role]] = list(said)
            answer = await self._roles[role].run(given, number=number)
            result.traces = [*result.traces, *answer.traces]
            result.warnings.extend(answer.warnings)
            if answer.error is not None:
                result.error = answer.error
                return result
            said.append([role, answer.outputs])
            if self._stop_signal is not None and self._stop_signal in answer.outputs.values():
                break
        result.outputs = {HISTORY: said}
        result.values = {self.flow.name: result.outputs}
        return result

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        """Nothing runs behind conversations."""
        return LineResult(inputs={})

    async def aclose(self) -> None:
        """Its roles are closed by who opened them."""
