"""A served flow: inputs out of a request's body, one line run, its answer whole or piece by piece. No HTTP."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec

from farthing.base.telemetry.logs import describe_exception
from farthing.core.errors import (
    FarthingError,
    FlowError,
    FlowFormatError,
    FlowInputError,
    NodeFailedError,
)
from farthing.flows.engine.line import take_inputs
from farthing.flows.engine.pieces import close, is_generator, pieces, stream_threads
from farthing.flows.engine.plan import LineResult
from farthing.flows.models import TAKES_PIECES
from farthing.flows.runnable import Runnable
from farthing.flows.serving.inputs import refuse_files
from farthing.flows.serving.swagger import document

_log = logging.getLogger("farthing.flows")

#: Selects the outputs of an answer: a JSON list of names.
INCLUDED_FIELDS = "PROMPTFLOW_RESPONSE_INCLUDED_FIELDS"
SAMPLES = "samples.json"
#: Lists and objects within each other in a body. Far more are sent by nobody but to exhaust the stack.
MAX_DEPTH = 100
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
#: The output that holds what a flow returned that is no dict.
_BARE = "output"


class TwoStreamsError(FlowError):
    """An answer can be streamed when one of its outputs is a generator, not when two are."""

    code = "two_streams"
    status = 400


class Answer(msgspec.Struct, kw_only=True):
    """What one line gave. outputs: JSON values, those that are no generator.

    stream: the name of the output that is a generator, its pieces in `pieces`. is_bare: the flow returned
    one value and no dict, and the answer is that value. Close it when it is not read to its end.
    """

    outputs: dict[str, Any]
    stream: str | None = None
    pieces: AsyncGenerator[Any, None] | None = None
    is_bare: bool = False

    async def whole(self) -> Any:
        """All of it as one JSON value, the pieces joined. Raises what the generator raises."""
        if self.stream is not None and self.pieces is not None:
            parts = [str(piece) async for piece in self.pieces]
            self.outputs[self.stream] = "".join(parts)
            self.stream = self.pieces = None
        return self.outputs.get(_BARE) if self.is_bare else self.outputs

    async def aclose(self) -> None:
        """Let go of the generator. Idempotent."""
        if self.pieces is not None:
            await self.pieces.aclose()


class ServedFlow:
    """A flow that answers requests, any number at once."""

    def __init__(self, runnable: Runnable, environ: Mapping[str, str]) -> None:
        """environ: where INCLUDED_FIELDS is looked up. Raises FlowFormatError when it is no list."""
        self.flow = runnable.flow
        self._runnable = runnable
        self._threads = stream_threads()
        self._hidden = _hidden(runnable, environ)
        self._sample = _sample(self.flow.folder / SAMPLES)

    def swagger(self, *, server: str | None = None) -> dict[str, Any]:
        """Its interface as an OpenAPI 3.0.0 document. server: the address below which it is, if not `/`."""
        return document(self.flow, hidden=self._hidden, sample=self._sample, server=server)

    def inputs(self, body: bytes) -> dict[str, Any]:
        """The inputs that a body holds. Raises FlowInputError.

        A flow without inputs takes any body; one with a single input also a text that is no JSON.
        """
        declared = self.flow.inputs
        if not declared:
            return {}
        try:
            if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
                _refuse_depth(body)
            given = json.loads(body)
        except ValueError:
            if len(declared) > 1:
                raise FlowInputError(
                    f"The body is no JSON, and the flow has {len(declared)} inputs.",
                    hint=f"Send a JSON object with {', '.join(each.name for each in declared)}.",
                ) from None
            given = {declared[0].name: _text(body)}
        if not isinstance(given, dict):
            raise FlowInputError(
                f"The body is a JSON {type(given).__name__}, and an object of inputs is expected.",
                hint=f'Send e.g. {{"{declared[0].name}": …}}.',
            )
        return given

    async def score(self, inputs: Mapping[str, Any], *, takes_pieces: bool = False) -> Answer:
        """Run one line. Raises what failed it, as a FarthingError.

        takes_pieces: the last models are asked for streams, and one output may come piece by piece; without
        it, outputs that are generators are joined.

        Inputs that would make the flow read a file are refused: whoever asks is not on this machine.
        """
        refuse_files(self.flow.inputs, inputs)
        taken = take_inputs(self.flow.inputs, inputs)
        # The flow's own defaults may be files of its folder.
        given = {name: value for name, value in taken.items() if name in inputs}
        refuse_files(self.flow.inputs, given)
        token = TAKES_PIECES.set(takes_pieces)
        try:
            result = await self._runnable.run(inputs)
        finally:
            TAKES_PIECES.reset(token)
        answer = None
        try:
            if result.error is not None:
                self._tell(result)
                raise result.error
            if not takes_pieces:
                await self._join_several(result)
            answer = self._answer(result)
        finally:
            await self._close_unused(result, answer)
        return answer

    async def aclose(self) -> None:
        """Close the flow. Idempotent."""
        self._threads.close()
        await self._runnable.aclose()

    async def _join_several(self, result: LineResult) -> None:
        """Make texts of the generators when there are several; a single one is read as it is sent."""
        shown = {name: each for name, each in result.outputs.items() if name not in self._hidden}
        sources = {name: each for name, each in shown.items() if is_generator(each)}
        texts: dict[int, str] = {}
        for name, source in sources.items() if len(sources) > 1 else ():
            if id(source) not in texts:
                coming = _told(pieces(source, self._threads), name)
                texts[id(source)] = "".join([str(piece) async for piece in coming])
            result.outputs[name] = texts[id(source)]

    def _answer(self, result: LineResult) -> Answer:
        shown = {name: each for name, each in result.outputs.items() if name not in self._hidden}
        streams = [name for name, each in shown.items() if is_generator(each)]
        if len(streams) > 1:
            raise TwoStreamsError(
                f"The outputs {', '.join(streams)} are generators, and one at most can be answered.",
                hint=f"Join the others in the flow, or select outputs with {INCLUDED_FIELDS}.",
            )
        answer = Answer(
            outputs={
                name: _plain(each, name) for name, each in shown.items() if name not in streams
            },
            is_bare=result.is_bare,
        )
        if streams:
            answer.stream = streams[0]
            answer.pieces = _told(pieces(shown[streams[0]], self._threads), streams[0])
        return answer

    async def _close_unused(self, result: LineResult, answer: Answer | None) -> None:
        used = result.outputs[answer.stream] if answer is not None and answer.stream else None
        for value in [*result.values.values(), *result.outputs.values()]:
            if value is not used and is_generator(value):
                await close(value, self._threads)

    def _tell(self, result: LineResult) -> None:
        error = result.error
        if error is not None and error.status >= 500 and error.__cause__ is not None:
            _log.warning(
                "A line of the flow '%s' failed.\n%s", self.flow.name, describe_exception(error)
            )


async def _told(source: AsyncGenerator[Any, None], name: str) -> AsyncGenerator[Any, None]:
    """The pieces as JSON values. What the flow's own code raises becomes a NodeFailedError."""
    async with aclosing(source):
        try:
            async for piece in source:
                yield piece if type(piece) is str else _plain(piece, name)
        except FarthingError:
            raise
        except Exception as error:  # border: a user's generator
            _log.warning("The output '%s' failed.\n%s", name, describe_exception(error))
            raise NodeFailedError(
                f"The output '{name}' failed with {type(error).__name__} on the way.",
                hint="Look at the generator that its node returns.",
                cause=type(error).__name__,
            ) from error


def _hidden(runnable: Runnable, environ: Mapping[str, str]) -> frozenset[str]:
    """The declared outputs that no answer shows."""
    outputs = runnable.flow.outputs
    wanted = environ.get(INCLUDED_FIELDS)
    if not wanted:
        return frozenset(each.name for each in outputs if each.is_for_evaluation)
    try:
        included = msgspec.json.decode(wanted, type=list[str])
    except msgspec.MsgspecError:
        raise FlowFormatError(
            f"The variable {INCLUDED_FIELDS} is no JSON list of names.",
            hint='Set it to e.g. ["answer"], or remove it.',
        ) from None
    return frozenset(each.name for each in outputs if each.name not in included)


def _sample(file: Path) -> object:
    """The first sample of a flow; an empty one when there is none."""
    if not file.is_file():
        return {}
    try:
        samples = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        _log.warning("%s is left out: it cannot be read as JSON.", file)
        return {}
    if not isinstance(samples, list) or not samples:
        _log.warning("%s is left out: it is no list with a sample.", file)
        return {}
    return samples[0]


def _refuse_depth(body: bytes) -> None:
    """Raises FlowInputError for JSON that is too deep. Its brackets are counted: its reader would recurse."""
    depth = 0
    for bracket in re.findall(rb"[\[\]{}]", _STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise FlowInputError(
                f"The body has lists or objects more than {MAX_DEPTH} deep.",
                hint="Send values that are flatter.",
            )


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise FlowInputError("The body is no UTF-8 text.", hint="Send JSON.") from None


def _plain(value: object, name: str) -> Any:
    """An output as JSON values; images as prompt flow writes them. Raises FlowError."""
    try:
        return msgspec.to_builtins(_with_images(value), enc_hook=_refuse, str_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise FlowError(
            f"The output '{name}' is or holds a {type(value).__name__} that JSON cannot say.",
            hint="Let its node return texts, numbers, lists and dicts.",
        ) from None


def _with_images(value: object) -> object:
    if isinstance(value, dict):
        return {key: _with_images(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_with_images(each) for each in value]
    to_base64 = getattr(value, "to_base64", None)
    if isinstance(value, bytes) and to_base64 is not None:
        kind, _, data = str(to_base64(with_type=True)).partition(",")
        return {kind: data}
    if isinstance(value, str):
        return str(value)  # a subclass is a text like any other
    return value


def _refuse(value: object) -> object:
    raise TypeError(type(value).__name__)
