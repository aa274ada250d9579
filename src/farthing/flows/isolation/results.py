"""What comes of a line, as it travels: JSON for the store, and the objects themselves for whoever has their classes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import msgspec

from farthing.core.errors import FarthingError, FlowError
from farthing.flows.batch.keeping import MOST_BYTES, Recorder, as_json_or, unwritable
from farthing.flows.batch.metrics import numbers
from farthing.flows.engine.plan import LineResult
from farthing.flows.graph import Flow
from farthing.flows.isolation.errors import raised, told
from farthing.flows.isolation.frames import Over


class Parcels:
    """Makes `Over` of results; in a worker.

    has_end: what those behind all lines need goes along, pickled. is_whole: each result goes along as it is,
    in place of JSON.
    """

    def __init__(self, flow: Flow, has_end: bool, *, is_whole: bool) -> None:
        self._recorder = Recorder(flow)
        self._has_end = has_end
        self._is_whole = is_whole

    def of_line(self, result: LineResult) -> Over:
        """A line. An output that cannot be kept, or not be handed on, makes it a failed one."""
        if self._is_whole:
            return self._whole(result)
        error, outputs, values, carried = result.error, None, None, None
        if error is None:
            outputs = as_json_or(result.outputs, None)
            error = None if outputs is not None else unwritable(result.outputs)
        if error is None and self._has_end:
            needed = self._recorder.trimmed(result)
            values = as_json_or(needed.values, None)
            carried, error = _pickled(needed)
        inputs = as_json_or(self._recorder.shown(result.inputs), None)
        return _over(
            result,
            error,
            inputs=_bytes(inputs),
            outputs=_bytes(outputs) if error is None else None,
            values=_bytes(values),
            carried=carried,
        )

    def of_end(self, result: LineResult) -> Over:
        """What is behind all lines."""
        return self._whole(result) if self._is_whole else _over(result, result.error)

    def _whole(self, result: LineResult) -> Over:
        """The result with its objects. What a node returned and cannot be handed on is left out."""
        whole = msgspec.structs.replace(
            result, error=None, values={k: v for k, v in result.values.items() if _is_portable(v)}
        )
        carried, error = _pickled(whole)
        return _over(result, result.error or error, carried=carried)


def result_of(over: Over, inputs: Mapping[str, Any]) -> LineResult:
    """The result of a line; in the parent. inputs: as they were handed over, if none came back."""
    return LineResult(
        inputs=dict(inputs) if over.inputs is None else msgspec.json.decode(over.inputs),
        outputs=msgspec.json.decode(over.outputs or b"{}"),
        values=msgspec.json.decode(over.values or b"{}"),
        metrics=over.metrics,
        bypassed=frozenset(over.bypassed),
        traces=over.traces,
        warnings=over.warnings,
        error=None if over.error is None else raised(over.error),
        is_bare=over.is_bare,
        carried=over.carried,
    )


def whole_result_of(over: Over, inputs: Mapping[str, Any]) -> LineResult:
    """The same with its objects, whose classes are found in this process."""
    if over.carried is None:
        return result_of(over, inputs)
    try:
        result: LineResult = pickle.loads(over.carried)  # noqa: S301 -- of a worker, which runs the same code
    except Exception as error:  # border: classes of the user's own
        failed = FlowError(
            f"What a line returned cannot be read in another process ({type(error).__name__}).",
            hint="Return objects of classes at the top of a module, or run without isolation.",
        )
        return LineResult(inputs=dict(inputs), error=failed)
    result.error = None if over.error is None else raised(over.error)
    return result


def carried_of(line: LineResult) -> bytes:
    """A line for those behind all lines; in the parent. Raises FlowError."""
    if line.carried is not None:
        return line.carried
    carried, error = _pickled(msgspec.structs.replace(line, error=None))
    if carried is None:
        assert error is not None, "one of the two is there"
        raise error
    return carried


def _over(result: LineResult, error: FarthingError | None, **parts: bytes | None) -> Over:
    return Over(
        error=None if error is None else told(error),
        metrics=numbers(result.metrics),
        bypassed=sorted(result.bypassed),
        traces=result.traces,
        warnings=result.warnings,
        is_bare=result.is_bare,
        **parts,
    )


def _pickled(result: LineResult) -> tuple[bytes | None, FarthingError | None]:
    """The result, or why there is none."""
    try:
        wire = pickle.dumps(result)
    except Exception:  # border: classes of the user's own
        return None, _unportable(result)
    if len(wire) <= MOST_BYTES:
        return wire, None
    return None, FlowError(
        f"What the line returned is too long to be handed to another process: {len(wire) >> 20:,} MiB, "
        f"and {MOST_BYTES >> 20} are the most.",
        hint="Write it to a file, and return its name.",
    )


def _unportable(result: LineResult) -> FarthingError:
    parts = {"input": result.inputs, "output": result.outputs, "value of the node": result.values}
    for what, values in parts.items():
        for name, value in values.items():
            if not _is_portable(value):
                return FlowError(
                    f"The {what} '{name}' is a {type(value).__name__} that cannot be handed to another process.",
                    hint="Return texts, numbers, lists and dicts, or objects of classes at the top of a "
                    "module; or run without isolation.",
                    param=name,
                )
    return FlowError("What the line returned cannot be handed to another process.")


def _is_portable(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # border: classes of the user's own
        return False
    return True


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
