"""A prompty as a flow that is open: each line is one call of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

from farthing.base.clock import Clock
from farthing.core.errors import FlowError
from farthing.flows.engine import ambient
from farthing.flows.engine.engine import LINE_TIMEOUT_S
from farthing.flows.engine.line import failure, take_inputs
from farthing.flows.engine.plan import LineResult, Trace
from farthing.flows.graph import Flow, Output
from farthing.flows.models import Models, Spent
from farthing.flows.prompts.chat import is_picture
from farthing.flows.prompty.file import Dialect, PromptyFile
from farthing.flows.prompty.pictures import with_pictures
from farthing.flows.prompty.prompty import AsyncPrompty, Prompty


class PromptyFlow:
    """A prompty as a flow: see `runnable.Runnable`. Its one output is `output`, or those that it declares.

    init: what is changed in its front matter, `{"model": {…}}`. is_streaming: a generator stays one.
    """

    def __init__(
        self,
        source: Path | Prompty,
        *,
        models: Models,
        clock: Clock,
        init: Mapping[str, Any] | None = None,
        line_timeout_s: float = LINE_TIMEOUT_S,
        is_streaming: bool = False,
    ) -> None:
        """Raises FlowFormatError."""
        self._prompty = AsyncPrompty(
            source.file.path if isinstance(source, Prompty) else source, **dict(init or {})
        )
        if isinstance(source, Prompty):
            self._prompty.file = source.file
        self._prompty.check_model()
        self._models, self._clock = models, clock
        self._line_timeout_s = line_timeout_s
        self._is_streaming = is_streaming
        self.spent = Spent()
        self.has_end = False
        file = self._prompty.file
        self.flow = Flow(
            name=file.name,
            folder=file.path.parent.absolute(),
            inputs=file.signature,
            outputs=_outputs(file),
            description=file.description,
            warnings=file.notes,
        )

    async def run(self, inputs: Mapping[str, Any], *, number: int | None = None) -> LineResult:
        """See `Runnable.run`. Without inputs the sample's are taken."""
        where = "" if number is None else f" of line {number}"
        try:
            given = dict(inputs) or self._prompty.file.samples
            taken = self._taken(given, where)
        except FlowError as error:
            return LineResult(inputs=dict(inputs), error=error)
        result, started_s = LineResult(inputs=taken), self._clock.now()
        with ambient.line(self._models, self.spent, self._clock) as here:
            try:
                async with asyncio.timeout(self._line_timeout_s) as limit:
                    value = await self._prompty.call(here, **taken)
                    if isinstance(value, AsyncGenerator) and not self._is_streaming:
                        value = await _joined(value)
            except Exception as error:  # border: what a line raises is its result
                told = failure(self.flow.name, error)
                if isinstance(error, TimeoutError) and limit.expired():
                    told = line_timeout(self._line_timeout_s)
                result.error = told
            else:
                result.values = {self.flow.name: value}
                result.is_bare = not isinstance(value, dict)
                result.outputs = {"output": value} if result.is_bare else value
        status = "ok" if result.error is None else "failed"
        result.traces = [
            Trace(
                node=self.flow.name,
                status=status,
                started_s=started_s,
                latency_s=self._clock.now() - started_s,
                error=result.error.code if result.error else None,
            )
        ]
        return result

    def _taken(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The inputs of a line. Raises FlowInputError."""
        if self._prompty.file.dialect is Dialect.FIRST:
            taken = take_inputs(self.flow.inputs, given, where=where)
            shown = with_pictures(given, self.flow.folder)
            # A picture must not be made a text, which is what the type string would do to it.
            return taken | {name: shown[name] for name in taken if is_picture(shown.get(name))}
        # Texts are read as what is declared, as files of data and command lines need it. Other values
        # pass as they are, and so does what is not declared: the second version checks no types.
        inputs = [
            each if isinstance(given.get(each.name), str) else structs.replace(each, kind="")
            for each in self.flow.inputs
        ]
        return {**given, **take_inputs(inputs, given, where=where)}

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        """Nothing runs behind the lines of a prompty."""
        return LineResult(inputs={})

    async def aclose(self) -> None:
        """It holds nothing."""


def _outputs(file: PromptyFile) -> tuple[Output, ...]:
    is_chat = any(each.is_chat_input for each in file.inputs) and file.dialect is Dialect.SECOND
    names = file.outputs or ("output",)
    return tuple(
        Output(
            name=each,
            reference=None,
            is_chat_output=is_chat and len(names) == 1,
            is_assumed=not file.outputs,
        )
        for each in names
    )


def line_timeout(limit_s: float) -> FlowError:
    """The error of a line that took too long."""
    return FlowError(
        f"The line took longer than {limit_s:g} s.",
        hint="Raise PF_LINE_TIMEOUT_SEC, or look at what the flow waits for.",
    )


async def _joined(pieces: AsyncGenerator[Any, None]) -> Any:
    found = [piece async for piece in pieces]
    return "".join(map(str, found)) if all(isinstance(p, str) for p in found) else found
