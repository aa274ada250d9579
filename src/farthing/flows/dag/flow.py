"""A DAG flow that is open: each node has its body, and lines run through the engine."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from farthing.base.clock import Clock
from farthing.core.errors import FlowInputError
from farthing.flows.batch.metrics import collecting, log_metric
from farthing.flows.cache import NodeCache
from farthing.flows.code.nodes import python_body
from farthing.flows.connections.connections import Connections
from farthing.flows.dag.includes import template_of
from farthing.flows.engine import ambient
from farthing.flows.engine.engine import LINE_TIMEOUT_S, THREADS, Engine
from farthing.flows.engine.line import failure
from farthing.flows.engine.pieces import is_generator, pieces, stream_threads
from farthing.flows.engine.plan import Body, LineResult, Plan
from farthing.flows.graph import Flow, Node
from farthing.flows.models import TAKES_PIECES, Models, Spent
from farthing.flows.prompts import guard
from farthing.flows.prompts.images import load_inputs, unfetched
from farthing.flows.prompts.requests import Vendor

if TYPE_CHECKING:
    from farthing.flows.prompts.fetch import ImageFetcher
    from farthing.flows.prompts.llm import Llm

#: What stands in place of a node's body.
Around = Callable[[Flow, Node, Body], Body]
#: Tools that can give their answer piece by piece, as LLM nodes can.
_STREAMING_TOOLS = ("promptflow.tools.aoai_gpt4v.", "promptflow.tools.openai_gpt4v.")


class DagFlow:
    """See `runnable.Runnable`."""

    def __init__(
        self,
        flow: Flow,
        *,
        models: Models,
        connections: Connections,
        clock: Clock,
        threads: int = THREADS,
        line_timeout_s: float = LINE_TIMEOUT_S,
        cache: NodeCache | None = None,
        images: ImageFetcher | None = None,
        is_streaming: bool = False,
        around: Around | None = None,
    ) -> None:
        """Imports the flow's functions. cache: for nodes with `enable_cache`; without it none is cached.

        images: fetches those that inputs give by their addresses; by default from public hosts only.
        is_streaming: outputs that come piece by piece are asynchronous generators; else joined texts.
        around: given each node with its body, what stands in its place. Raises FlowFormatError, ConnectionMissingError.
        """
        self.flow = flow
        self._cache = cache
        self._around = around
        self._images = images
        self._is_streaming = is_streaming
        self._streams = stream_threads()
        self._line_timeout_s = line_timeout_s
        self._models = models
        self._connections = connections
        self._clock = clock
        self._llms: list[Llm] = []
        self._called = Spent()  # by prompties that its functions call
        self._engine = Engine(clock, threads=threads, line_timeout_s=line_timeout_s)
        self._plan = Plan(flow, {node.name: self._body(node) for node in flow.nodes})

    @property
    def spent(self) -> Spent:
        """What its LLM nodes, and the prompties of its functions, have cost so far."""
        total = Spent()
        total.add(self._called)
        for llm in self._llms:
            total.add(llm.spent)
        return total

    @property
    def has_end(self) -> bool:
        """See `Runnable`."""
        return bool(self._plan.aggregations)

    async def run(self, inputs: Mapping[str, Any], *, number: int | None = None) -> LineResult:
        """See `Runnable.run`."""
        try:
            taken = await self._fetched(load_inputs(self.flow, inputs))
        except FlowInputError as error:
            return LineResult(inputs=dict(inputs), error=error)
        with ambient.line(self._models, self._called, self._clock) as here:
            result = await self._engine.run(self._plan, taken, number=number)
            await self._read_streams(result)
            if result.error is not None:
                here.close()  # a function that still waits for a model is told
        return result

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        """See `Runnable.aggregate`."""
        with ambient.line(self._models, self._called, self._clock), collecting() as metrics:
            result = await self._engine.aggregate(self._plan, lines)
        result.metrics = dict(metrics)
        for name, value in metrics.items():
            log_metric(name, value)  # for those who collect around this
        return result

    async def aclose(self) -> None:
        """See `Runnable.aclose`."""
        self._streams.close()
        await self._engine.__aexit__()

    async def _fetched(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs with the bytes of images that they give by their addresses. Raises FlowInputError."""
        if next(unfetched(inputs), None) is None:
            return inputs
        if self._images is None:
            from farthing.flows.prompts.fetch import ImageFetcher  # few flows fetch

            self._images = ImageFetcher()
        return await self._images.fetched(inputs)

    # --- streams ---

    async def _read_streams(self, result: LineResult) -> None:
        """Join the generators in the outputs, or hand them on to be read on the loop; here, with the line's
        context: they may call models as they go."""
        read: dict[int, Any] = {}
        for name, source in result.outputs.items():
            if not is_generator(source):
                continue
            if id(source) not in read:
                coming = pieces(source, self._streams, contextvars.copy_context())
                try:
                    read[id(source)] = coming if self._is_streaming else await self._joined(coming)
                except Exception as error:  # border: a user's generator, or a model that breaks off
                    nodes = (node for node, value in result.values.items() if value is source)
                    result.error = failure(next(nodes, name), error)
                    return
            result.outputs[name] = read[id(source)]
        if read:
            result.values = {
                name: read.get(id(value), value) for name, value in result.values.items()
            }

    async def _joined(self, coming: AsyncGenerator[Any, None]) -> str:
        async with asyncio.timeout(self._line_timeout_s), aclosing(coming):
            return "".join([str(piece) async for piece in coming])

    # --- bodies ---

    def _body(self, node: Node) -> Body:
        makers: dict[str, Callable[[Node], Body]] = {
            "llm": self._llm,
            "prompt": self._prompt,
            "python": lambda each: python_body(self.flow, each, self._connections),
            "custom_llm": lambda each: python_body(self.flow, each, self._connections),
        }
        body = makers[node.kind](node)
        if (node.source.tool or "").startswith(_STREAMING_TOOLS) and self.flow.is_last(node):
            body = _in_pieces(body)
        if self._cache is not None:
            body = self._cache.wrap(self.flow, node, body)
        return body if self._around is None else self._around(self.flow, node, body)

    def _prompt(self, node: Node) -> Body:
        from farthing.flows.prompts.llm import prompt_body  # templates: many graphs have none

        return prompt_body(template_of(self.flow, node), self._new_token)

    def _llm(self, node: Node) -> Body:
        from farthing.flows.prompts.llm import Llm

        vendor: Vendor = "AzureOpenAI"
        if node.connection:
            vendor = self._connections.vendor(node.connection, node)
        elif node.provider == "OpenAI":
            vendor = "OpenAI"
        llm = Llm(
            node,
            template_of(self.flow, node),
            self._models,
            vendor=vendor,
            new_token=self._new_token,
            is_last=self.flow.is_last(node),
        )
        self._llms.append(llm)
        return llm.body

    def _new_token(self) -> str:
        return guard.new_token(self._clock)


def _in_pieces(body: Body) -> Body:
    """The body, asked for a stream where whoever asked for the line takes pieces."""

    def call(**values: Any) -> Any:
        if TAKES_PIECES.get():
            values["stream"] = True
        return body.call(**values)

    return msgspec.structs.replace(body, call=call)
