"""What the cells of a matrix have in common is done once: values of nodes, kept with each line, and their cost.

A node's value hangs on the line, on its own body and inputs, and on the variants that were chosen for it and for
what stands before it. Where all of these are the same in two cells, the second takes what the first has made. The
variants count even if their bodies are equal, so that a variant may be compared with itself to see how much the
answers of a model differ by chance.
"""

from __future__ import annotations

import pickle
import types
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any

import msgspec

from farthing.base.clock import Clock
from farthing.flows.batch.records import Done, Shares
from farthing.flows.batch.runs import Runs
from farthing.flows.cache import MAX_BYTES, identity_of, plain_json
from farthing.flows.dag.flow import Around
from farthing.flows.engine.plan import Body, LineResult
from farthing.flows.graph import Flow, Node
from farthing.flows.models import Models, Spent
from farthing.flows.prompts.guard import PromptText
from farthing.flows.runnable import Runnable
from farthing.flows.variants.matrix import Cell, Matrix, lineages


class _Line:
    """A line under way. kept: what was made for it before, by key; the others by node, of this cell."""

    def __init__(self, number: int, kept: dict[str, Done]) -> None:
        self.number = number
        self.kept = kept
        self.taken: dict[str, Done] = {}
        self.made: dict[str, Done] = {}


_LINE: ContextVar[_Line | None] = ContextVar("farthing_flow_matrix_line", default=None)
_METER: ContextVar[Spent | None] = ContextVar("farthing_flow_node_meter", default=None)


class Sharing:
    """What one matrix shares. code: says what the flow's own modules hold; values of other code are not taken."""

    def __init__(
        self, runs: Runs, clock: Clock, *, name: str, matrix: Matrix, code: bytes = b""
    ) -> None:
        self._runs = runs
        self._clock = clock
        self._name = name
        self._code = code
        chosen = {pair for cell in matrix.cells for pair in cell.choices.items()}
        names = [node for node, _ in chosen]
        self._varying = {node for node in names if names.count(node) > 1}

    def around(self, flow: Flow, cell: Cell) -> Around:
        """What stands in place of the bodies of this cell's flow. Models must be `Metered`."""
        shared = self._shared(flow, cell)

        def once(flow: Flow, node: Node, body: Body) -> Body:
            if node.name not in shared:
                return body
            digest = blake2b(identity_of(flow, node) + self._code, digest_size=32)
            digest.update(msgspec.json.encode([node.name, sorted(shared[node.name])]))
            return _once(node.name, digest.digest(), body, self._name, self._clock)

        return once

    def opened(self, flow: Runnable, cell: Cell) -> Runnable:
        """The cell's open flow, as its lines are to be run."""
        if not self._shared(flow.flow, cell):
            return flow
        return SharingFlow(flow, self._runs, self._name)

    def _shared(self, flow: Flow, cell: Cell) -> dict[str, frozenset[tuple[str, str]]]:
        """The nodes that other cells have too, each with its lineage.

        A value that hangs on every node that varies is of one cell. A prompt's text costs nothing, and
        nodes behind all lines see what is of one cell.
        """
        alike = lineages(flow, cell.choices)
        return {
            node.name: alike[node.name]
            for node in flow.nodes
            if node.kind != "prompt"
            and not node.is_aggregation
            and not self._varying <= {name for name, _ in alike[node.name]}
        }


class SharingFlow:
    """See `runnable.Runnable`. Before a line it looks up what other cells have made for it."""

    def __init__(self, flow: Runnable, runs: Runs, matrix: str) -> None:
        self._flow = flow
        self._runs = runs
        self._matrix = matrix

    @property
    def flow(self) -> Flow:
        """See `Runnable`."""
        return self._flow.flow

    @property
    def spent(self) -> Spent:
        """See `Runnable`."""
        return self._flow.spent

    @property
    def has_end(self) -> bool:
        """See `Runnable`."""
        return self._flow.has_end

    async def run(self, inputs: Mapping[str, Any], *, number: int | None = None) -> LineResult:
        """See `Runnable.run`. A line without a number shares nothing."""
        if number is None:
            return await self._flow.run(inputs)
        here = _Line(number, await self._runs.done_for(self._matrix, number))
        token = _LINE.set(here)
        try:
            result = await self._flow.run(inputs, number=number)
        finally:
            _LINE.reset(token)
        result.shares = Shares(
            taken=tuple(here.taken.values()),
            made=tuple(here.made.values()),
            saved_s=_saved_s(self.flow, result, dict(here.taken)),
        )
        return result

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        """See `Runnable.aggregate`."""
        return await self._flow.aggregate(lines)

    async def aclose(self) -> None:
        """See `Runnable.aclose`."""
        await self._flow.aclose()


class Metered(Models):
    """Models whose calls are also counted for the node that makes them."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def ask(self, api: str, body: dict[str, Any], spent: Spent) -> dict[str, Any]:
        """See `Models.ask`."""
        with _counted(spent) as own:
            return await self._models.ask(api, body, own)

    async def stream(
        self, api: str, body: dict[str, Any], spent: Spent
    ) -> AsyncGenerator[str, None]:
        """See `Models.stream`."""
        with _counted(spent) as own:
            async with aclosing(self._models.stream(api, body, own)) as pieces:
                async for piece in pieces:
                    yield piece


@contextmanager
def _counted(spent: Spent) -> Iterator[Spent]:
    meter, own = _METER.get(), Spent()
    try:
        yield own
    finally:
        spent.add(own)
        if meter is not None:
            meter.add(own)


# --- a node ---


def _once(node: str, identity: bytes, body: Body, matrix: str, clock: Clock) -> Body:
    """The body, asked only for what no other cell has made for the line."""

    def begin(values: dict[str, Any]) -> tuple[_Line | None, str | None, Done | None]:
        line = _LINE.get()
        key = None if line is None else _key(identity, values)
        done = None if line is None or key is None else line.kept.get(key)
        if line is not None and done is not None:
            line.taken[node] = done
        return line, key, done

    def end(line: _Line | None, key: str | None, value: Any, spent: Spent, took_s: float) -> None:
        text = None if line is None or key is None else plain_json(value)
        if line is None or key is None or text is None or len(text) > MAX_BYTES:
            return
        line.made[node] = Done(
            matrix=matrix,
            line=line.number,
            key=key,
            value=text.decode(),
            latency_us=int(took_s * 1_000_000),
            **msgspec.structs.asdict(spent),
        )

    def plain(**values: Any) -> Any:
        line, key, done = begin(values)
        if done is not None:
            return msgspec.json.decode(done.value)
        started_s = clock.monotonic()
        with _metering() as spent:
            value = body.call(**values)
        end(line, key, value, spent, clock.monotonic() - started_s)
        return value

    async def waiting(**values: Any) -> Any:
        line, key, done = begin(values)
        if done is not None:
            return msgspec.json.decode(done.value)
        started_s = clock.monotonic()
        with _metering() as spent:
            value = await body.call(**values)
        end(line, key, value, spent, clock.monotonic() - started_s)
        return value

    call: Callable[..., Any] = waiting if body.is_async else plain
    return msgspec.structs.replace(body, call=call)


@contextmanager
def _metering() -> Iterator[Spent]:
    spent = Spent()
    token = _METER.set(spent)
    try:
        yield spent
    finally:
        _METER.reset(token)


def _key(identity: bytes, values: dict[str, Any]) -> str | None:
    """What work it is; None for inputs that cannot be told apart."""
    try:
        text = msgspec.json.encode(_told_apart(values), order="deterministic")
    except Exception:  # border: objects of the user's own are asked to describe themselves
        return None
    return blake2b(identity + text, digest_size=16).hexdigest()


def _told_apart(value: Any) -> Any:
    """The value as JSON that differs wherever it differs; nothing is read back from it."""
    kind = type(value)
    if value is None or kind in (str, int, bool):
        return value
    if kind is dict and all(type(key) is str for key in value):
        return {key: _told_apart(each) for key, each in value.items()}
    if kind is list:
        return [_told_apart(each) for each in value]
    if kind is frozenset:
        return ["\0set", *sorted(map(str, value))]
    if isinstance(value, PromptText):
        # Its marks are drawn anew each time.
        guarded = value.guarded
        for mark in value.tokens:
            guarded = guarded.replace(mark, "\0")
        return ["\0prompt", guarded]
    if isinstance(value, types.GeneratorType):
        raise TypeError("a generator")
    return ["\0pickle", blake2b(pickle.dumps(value), digest_size=32).hexdigest()]


# --- time ---


def _saved_s(flow: Flow, result: LineResult, taken: Mapping[str, Done]) -> float:
    """How much longer the line would have taken if its nodes had done all of it, seconds.

    That is by how much the longest chain of nodes grows, since nodes that do not wait for each other run at
    once.
    """
    if not taken:
        return 0.0
    took_s = {trace.node: trace.latency_s for trace in result.traces}
    alone_s = {node: took_s.get(node, 0.0) + d.latency_us / 1e6 for node, d in taken.items()}
    return _longest_s(flow, {**took_s, **alone_s}) - _longest_s(flow, took_s)


def _longest_s(flow: Flow, took_s: Mapping[str, float]) -> float:
    ends: dict[str, float] = {}
    for node in flow.nodes:  # in an order in which they can run
        begins = max((ends.get(each, 0.0) for each in node.sources()), default=0.0)
        ends[node.name] = begins + took_s.get(node.name, 0.0)
    return max(ends.values(), default=0.0)
