"""Compares variants of a flow from the command line: how much it is, its progress, and how each did."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from farthing.base import runtime
from farthing.cli.output import note

if TYPE_CHECKING:
    from farthing.cli.flow_run import Order
    from farthing.cli.flow_variants_shown import Answer
    from farthing.flows.batch.runs import Runs
    from farthing.flows.graph import Flow
    from farthing.flows.variants.comparing import Comparison, Evaluation
    from farthing.flows.variants.matrix import Matrix

#: Lines to run, all combinations together, beyond which --yes must be said.
MOST_LINES = 10_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be compared. order: how each cell is run. words: of --matrix; None: one node at a time."""

    order: Order
    words: tuple[str, ...] | None
    node: str | None
    evaluation: Evaluation | None
    is_sure: bool
    details: bool
    output: Path | None
    as_json: bool

    @property
    def has_lines(self) -> bool:
        """Whether there is anything to run."""
        return bool(self.order.trial.inputs or self.order.definition.data)


def asked_of(
    path: Path,
    *,
    inputs: Sequence[str],
    data: Path | None,
    name: str | None,
    limit: int | None,
    matrix: tuple[str, ...],
    node: str | None,
    evaluate: Path | None,
    evaluate_mapping: Sequence[str],
    column_mapping: Sequence[str],
    connections: Sequence[str],
    is_sure: bool,
    details: bool,
    output: Path | None,
    as_json: bool,
    **told: Any,
) -> Asked:
    """The options of `farthing flow variants`. Raises click.UsageError, FlowInputError."""
    from farthing.cli.flow import trial_of
    from farthing.cli.flow_run import Order, nested
    from farthing.cli.spaced import pairs
    from farthing.flows.batch.records import Definition
    from farthing.flows.variants.comparing import Evaluation

    _check_options(
        bool(inputs),
        data,
        name,
        is_matrix=bool(matrix),
        node=node,
        needs_lines=bool(matrix or evaluate or limit),
        shows_lines=bool(details or output),
    )
    trial = trial_of(path, inputs=inputs, **told)
    definition = Definition(
        flow=str(path.resolve()),
        data=str(data.resolve()) if data is not None else None,
        column_mapping=dict(pairs(column_mapping, "--column-mapping")),
        connections=nested(pairs(connections, "--connections")),
        environment=tuple(trial.environment),
        limit=limit,
    )
    return Asked(
        order=Order(trial=trial, definition=definition, name=name),
        words=tuple(word for word in matrix if word) if matrix else None,
        node=node,
        evaluation=None
        if evaluate is None
        else Evaluation(
            flow=evaluate.absolute(),
            column_mapping=dict(pairs(evaluate_mapping, "--evaluate-mapping")),
        ),
        is_sure=is_sure,
        details=details,
        output=output,
        as_json=as_json,
    )


def _check_options(
    has_inputs: bool,
    data: Path | None,
    name: str | None,
    *,
    is_matrix: bool,
    node: str | None,
    needs_lines: bool,
    shows_lines: bool,
) -> None:
    if has_inputs and data is not None:
        raise click.UsageError("Compare on one line (--inputs) or on a file of them (--data).")
    if has_inputs and name is not None:
        raise click.UsageError("What is tried on one line is not kept: leave --name away.")
    if is_matrix and node is not None:
        raise click.UsageError(f"Say it with --matrix alone: --matrix '${{{node}.*}}'.")
    if not has_inputs and data is None and (needs_lines or (name is None and shows_lines)):
        raise click.UsageError("What is to be run needs lines: --data FILE, or --inputs.")


def compare_or_show(asked: Asked) -> bool:
    """Do what was asked for. Whether every cell came to its end. Raises what `Comparer.run` raises."""
    from farthing.cli import flow_variants_shown as shown
    from farthing.flows.variants.files import check_ending

    name = asked.order.name
    if asked.output is not None:
        check_ending(asked.output)
    if not asked.has_lines and name is None:
        from farthing.cli.flow_show import list_variants

        list_variants(asked.order.trial.path, asked.node, as_json=asked.as_json)
        return True
    answer = runtime.run(_compare(asked) if asked.has_lines else _read(asked, name or ""))
    shown.show(answer, as_json=asked.as_json, is_one_line=bool(asked.order.trial.inputs))
    return all(cell.run.status == "completed" for cell in answer.comparison.cells)


async def _compare(asked: Asked) -> Answer:
    from farthing.base.clock import SystemClock
    from farthing.cli.flow_models import flow_models, image_fetcher
    from farthing.cli.flow_run import number_of
    from farthing.cli.flow_variants_shown import Answer, watching
    from farthing.core.private import Private
    from farthing.flows.engine.engine import LINE_TIMEOUT_S
    from farthing.flows.jobs import graph_at, inside, project_connections
    from farthing.flows.variants.comparing import Comparer

    trial, clock = asked.order.trial, SystemClock()
    graph = graph_at(trial.path)
    matrix, lines = await asyncio.to_thread(_matrix, asked, graph)
    key = Private(trial.key) if trial.key else None
    async with _store(asked) as runs:
        comparison = _comparison(asked, graph, matrix)
        with watching(matrix, lines, quiet=asked.as_json) as watch:
            async with flow_models(trial.config, url=trial.url, key=key) as models:
                work = Comparer(
                    runs,
                    models,
                    project_connections(),
                    clock,
                    line_timeout_s=number_of("PF_LINE_TIMEOUT_SEC") or LINE_TIMEOUT_S,
                    images=image_fetcher(trial.config),
                    watch=watch,
                )
                done = sum(run.completed for run in (await work.kept(comparison)).values())
                _announce(asked, comparison, lines, done)
                try:
                    with inside(graph.folder):
                        await work.run(comparison)
                except asyncio.CancelledError:
                    if comparison.rows is None:
                        note(f"\nStopped. Go on: say the same with --name {comparison.name}")
                    raise
        return await Answer.of(runs, comparison.name, asked)


async def _read(asked: Asked, name: str) -> Answer:
    from farthing.cli.flow_run import open_runs
    from farthing.cli.flow_variants_shown import Answer

    async with open_runs(asked.order.trial.config) as runs:
        return await Answer.of(runs, name, asked)


@asynccontextmanager
async def _store(asked: Asked) -> AsyncIterator[Runs]:
    """The project's runs; for one line that is only tried, a store that goes with it."""
    from farthing.base.clock import SystemClock
    from farthing.base.config.settings import Storage
    from farthing.base.storage import connect
    from farthing.cli.flow_run import open_runs
    from farthing.flows.batch.runs import Runs

    if not asked.order.trial.inputs:
        async with open_runs(asked.order.trial.config) as runs:
            yield runs
        return
    os.umask(0o077)
    with tempfile.TemporaryDirectory(prefix="farthing-") as folder:
        storage = Storage(url=f"sqlite:{Path(folder) / 'tried.db'}")
        async with Runs(connect(storage), SystemClock()) as runs:
            yield runs


# --- how much it is ---


def _matrix(asked: Asked, graph: Flow) -> tuple[Matrix, int]:
    """The cells and the number of lines. Raises FlowInputError where that is too much to be meant."""
    from farthing.core.errors import FlowInputError
    from farthing.flows.variants.comparing import count_lines
    from farthing.flows.variants.matrix import count_of, one_by_one, product, selected

    definition = asked.order.definition
    words = asked.words if asked.words is not None else [asked.node] if asked.node else []
    selection = selected(graph, words)
    if asked.words is not None:
        cells = count_of(selection)
    else:
        cells = 1 + sum(len(each) - 1 for each in selection.values())
    lines = 1
    if definition.data is not None:
        lines = count_lines(Path(definition.data), definition.limit)
    if cells * lines > MOST_LINES and not asked.is_sure:
        raise FlowInputError(
            f"That is {cells:,} combinations × {lines:,} lines = {cells * lines:,} lines to run.",
            hint=f"Say --yes to run them all. Or take fewer lines (--limit {max(MOST_LINES // cells, 1):,}) "
            "or fewer variants (--matrix '${node.first,second}').",
            param="matrix",
        )
    make = product if asked.words is not None else one_by_one
    return make(graph, selection), lines


def _announce(asked: Asked, comparison: Comparison, lines: int, done: int) -> None:
    from farthing.flows.variants.matrix import size_of

    if asked.as_json or comparison.rows is not None:
        return
    size = size_of(comparison.graph, comparison.matrix, lines)
    text = f"{comparison.name}: {size.cells:,} combinations × {size.lines:,} lines"
    text += f" = {size.lines_in_all:,}"
    if size.calls:
        text += f"; LLM nodes make at most {size.calls:,} model calls"
        if size.calls_alone > size.calls:
            text += f", {size.calls_alone:,} if nothing were shared"
    if any(node.kind in ("python", "custom_llm") for node in comparison.graph.nodes):
        text += "; those of Python functions are not known"
    if done:
        text += f"; {done:,} lines are done"
    note(text + ".")


def _comparison(asked: Asked, graph: Flow, matrix: Matrix) -> Comparison:
    from farthing.base.clock import SystemClock
    from farthing.flows.batch.batch import default_name
    from farthing.flows.variants.comparing import Comparison

    trial = asked.order.trial
    definition = asked.order.definition
    if trial.inputs:
        # An input that has a default is taken from the line only where the mapping says so.
        mapping = {each: f"${{data.{each}}}" for each in trial.inputs}
        mapping.update(definition.column_mapping)
        definition = msgspec.structs.replace(definition, column_mapping=mapping)
    return Comparison(
        name=asked.order.name or default_name(graph.name, None, SystemClock()),
        graph=graph,
        matrix=matrix,
        definition=definition,
        rows=(dict(trial.inputs),) if trial.inputs else None,
        environment=trial.environment,
        evaluation=asked.evaluation,
    )
