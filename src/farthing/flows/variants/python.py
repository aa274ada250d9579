"""`farthing.compare_variants`: the cells of a matrix over data, from a program."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from farthing.base.clock import SystemClock
from farthing.base.config.settings import Storage
from farthing.base.storage import connect
from farthing.flows.batch.batch import IN_FLIGHT
from farthing.flows.batch.data import read
from farthing.flows.batch.records import Definition
from farthing.flows.batch.runs import Runs
from farthing.flows.connections.connections import Connections
from farthing.flows.graph import Flow
from farthing.flows.jobs import graph_at
from farthing.flows.models import GatewayModels
from farthing.flows.python.waiting import wait
from farthing.flows.variants.comparing import Comparer, Comparison, Evaluation
from farthing.flows.variants.matrix import one_by_one, product, selected
from farthing.flows.variants.results import Compared, Row, compared, rows
from farthing.gateway.python import background


class ComparedLines(Compared, frozen=True, kw_only=True):
    """A comparison with its lines. `rows[0].sides["default"].outputs` are those of line 0 by the defaults."""

    rows: tuple[Row, ...]


def compare_variants(
    flow: Path | str,
    data: Path | str | Iterable[Mapping[str, Any]],
    *,
    matrix: Sequence[str] | None = None,
    column_mapping: Mapping[str, Any] | None = None,
    evaluate: Path | str | None = None,
    evaluate_mapping: Mapping[str, Any] | None = None,
    in_flight: int = IN_FLIGHT,
) -> ComparedLines:
    """Run variants of a `flow.dag.yaml` over data and wait. What combinations share is done and paid once.

    data: rows, or a file (jsonl, csv, tsv, json, parquet) or folder of them. matrix: `["ask.*",
    "tone.warm,cool"]` runs every combination of these, `[]` of all variants; None one node at a time. column_mapping:
    inputs by name, `${data.column}` or a value; without it each column goes to the input of its name.
    evaluate: a flow that judges each combination's lines; evaluate_mapping: its inputs, `${run.outputs.answer}`.
    in_flight: lines at once. Nothing is kept on disk: `farthing flow variants` keeps comparisons and goes on
    with them. Raises FlowFormatError, FlowInputError, ConnectionMissingError.
    """
    graph = graph_at(Path(flow))
    selection = selected(graph, matrix or ())
    given = tuple(dict(each) for each in data) if not isinstance(data, Path | str) else None
    comparison = Comparison(
        name="variants",
        graph=graph,
        matrix=one_by_one(graph, selection) if matrix is None else product(graph, selection),
        definition=Definition(
            flow=str(Path(flow).resolve()),
            data=None if given is not None else str(Path(str(data)).resolve()),
            column_mapping=dict(column_mapping or _by_name(graph, given, data)),
        ),
        rows=given,
        evaluation=None
        if evaluate is None
        else Evaluation(flow=Path(evaluate), column_mapping=evaluate_mapping or {}),
    )
    return wait(_compare(comparison, in_flight))


async def _compare(comparison: Comparison, in_flight: int) -> ComparedLines:
    client, clock = background(), SystemClock()
    with tempfile.TemporaryDirectory(prefix="farthing-") as folder:
        async with Runs(connect(Storage(url=f"sqlite:{Path(folder) / 'runs.db'}")), clock) as runs:
            comparer = Comparer(
                runs,
                GatewayModels(client.gateway, client.caller),
                Connections(Path.cwd(), environ=os.environ),
                clock,
                in_flight=in_flight,
            )
            await comparer.run(comparison)
            found = await compared(runs, comparison.name)
            lines = tuple([row async for row in rows(runs, found)])
    return ComparedLines(**msgspec.structs.asdict(found), rows=lines)


def _by_name(graph: Flow, given: Sequence[Mapping[str, Any]] | None, source: Any) -> dict[str, str]:
    """The mapping by which each column goes to the input of its name, inputs with defaults too."""
    if given is not None:
        first = given[0] if given else {}
    else:
        first = next((row.values for row in read(Path(source))), {})
    return {each.name: f"${{data.{each.name}}}" for each in graph.inputs if each.name in first}
