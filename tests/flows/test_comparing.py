"""Variants compared over lines: what is shared and paid, how cells differ, and going on after any end."""

from __future__ import annotations

import asyncio
import csv
import json
import statistics
from pathlib import Path

import pytest

import farthing
from farthing.base.config.settings import Storage
from farthing.base.storage import Query, Work, connect
from farthing.core.errors import (
    ConflictError,
    FlowError,
    FlowFormatError,
    FlowInputError,
    NotFoundError,
)
from farthing.flows.batch.batch import Progress
from farthing.flows.batch.records import MIGRATIONS, Run
from farthing.flows.batch.runs import PAGE
from farthing.flows.variants.comparing import Evaluation, Watch
from farthing.flows.variants.files import write
from farthing.flows.variants.matrix import Cell, size_of
from farthing.flows.variants.results import Compared, compared
from tests.flows.batches import open_runs
from tests.flows.variant_world import FILES, FLOW, MAPPING, Project, lay, project

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str | None:
    """The database of the runs; None: a file in the project."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


def judged(it: Project) -> Evaluation:
    return Evaluation(flow=it.folder / "judge", column_mapping=MAPPING)


class Heard(Watch):
    """What a comparison tells, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)

    def begin(self, cell: Cell, kept: Run | None) -> None:
        self.told.append(f"begin {cell.label} {0 if kept is None else kept.completed}")

    def evaluate(self, cell: Cell) -> None:
        self.told.append(f"evaluate {cell.label}")

    def end(self, cell: Cell, run: Run) -> None:
        self.told.append(f"end {cell.label} {run.completed}")


# --- what is shared, and paid ---


async def test_what_cells_have_in_common_is_paid_once_and_the_invoice_agrees(
    tmp_path: Path, url: str | None
) -> None:
    async with project(tmp_path, url=url) as it:
        comparison = it.comparison()
        size = size_of(comparison.graph, comparison.matrix, 5)
        # Of each line: the outline once, three drafts, and a tone for each of the six pairs.
        assert (size.cells, size.lines, size.calls, size.calls_alone) == (6, 5, 5 * 10, 5 * 18)
        found = await it.compare()
        assert it.billed == (size.calls, found.paid.nanodollars)
        assert found.paid.calls == size.calls
        assert found.shared.calls == size.calls_alone - size.calls
        assert [cell.label for cell in found.cells] == [
            "default", "tone.cool", "draft.short", "draft.short,tone.cool",
            "draft.again", "draft.again,tone.cool",
        ]  # fmt: skip
        assert all(cell.run.completed == 5 and cell.spent.calls == 15 for cell in found.cells)
        assert len(await it.rows(found)) == 5
        again = await it.compare()
        assert it.billed == (size.calls, again.paid.nanodollars)


async def test_each_cell_costs_in_the_table_what_it_costs_alone(tmp_path: Path) -> None:
    async with project(tmp_path) as it:
        together = await it.compare()
        for cell in together.cells:
            words = [f"{node}.{variant}" for node, variant in cell.choices.items()]
            alone = await it.compare(*words, name=f"alone {cell.label}")
            (other,) = alone.cells
            assert other.paid == other.spent == cell.spent
            assert other.metrics == cell.metrics
            assert other.run.completed == cell.run.completed


async def test_one_node_at_a_time_goes_the_same_way(tmp_path: Path) -> None:
    async with project(tmp_path) as it:
        found = await it.compare(is_matrix=False)
        assert [cell.label for cell in found.cells] == [
            "default", "draft.short", "draft.again", "tone.cool",
        ]  # fmt: skip
        # The draft that goes into the cool tone is the default's.
        assert it.billed == (5 * (1 + 3 + 4), found.paid.nanodollars)


async def test_a_variant_may_be_compared_with_its_equal(tmp_path: Path) -> None:
    """Equal bodies are asked each for itself: what differs between them is chance."""
    async with project(tmp_path) as it:
        found = await it.compare("draft.plain,again")
        assert found.nodes == ("draft",)
        assert [(cell.label, cell.differing) for cell in found.cells] == [
            ("default", 0),
            ("draft.again", 0),
        ]
        assert it.billed[0] == 5 * (1 + 2 + 2)


async def test_the_time_of_what_is_shared_counts_for_each_cell(tmp_path: Path) -> None:
    async with project(tmp_path, lines=2, first_s=0.1) as it:
        found = await it.compare("tone.*")
        assert [cell.paid.calls for cell in found.cells] == [6, 2]
        for cell in found.cells:  # three calls behind one another
            assert cell.latency_s is not None
            assert 0.3 <= cell.latency_s < 0.6


PROMPT = """- name: frame
  type: prompt
  source: {type: code, path: frame.jinja2}
  inputs: {topic: '${inputs.topic}'}
- name: outline
"""


async def test_what_comes_from_a_prompt_or_is_no_json_is_told_apart_by_what_it_holds(
    tmp_path: Path,
) -> None:
    """A prompt's text has random tokens in it, and an object has no JSON: both are made again, equal."""
    thing = (
        "from dataclasses import dataclass\nfrom promptflow.core import tool\n\n"
        "@dataclass\nclass Thing:\n    text: str\n\n    def __str__(self):\n        return self.text\n\n"
        "@tool\ndef thing(topic: str) -> Thing:\n    return Thing(topic)\n"
    )
    flow = FLOW.replace("- name: outline\n", PROMPT).replace(
        "topic: '${inputs.topic}'}\n- {name: draft",
        "frame: '${frame.output}', thing: '${thing.output}'}\n"
        "- {name: thing, type: python, source: {type: code, path: thing.py}, "
        "inputs: {topic: '${inputs.topic}'}}\n- {name: draft",
    )
    files = {
        **FILES,
        "flow.dag.yaml": flow,
        "frame.jinja2": "user:\nOf {{topic}}:\n",
        "outline.jinja2": "{{frame}}\nsystem:\n{{thing}}\n",
        "thing.py": thing,
    }
    async with project(tmp_path, lines=3) as it:
        lay(tmp_path / "flow", files)
        (tmp_path / "data.jsonl").write_text('{"topic": "user:\\nhello"}\n' * 3)
        found = await it.compare("tone.*")
        assert [cell.run.failed for cell in found.cells] == [0, 0]
        assert it.billed == (3 * (1 + 1 + 2), found.paid.nanodollars)


CALLING = """
from pathlib import Path
from promptflow.core import Prompty, tool

@tool
def outline(topic: str) -> str:
    return Prompty.load(Path(__file__).parent / "outline.prompty")(topic=topic)
"""
CALLED = """---
model: {api: chat, configuration: {type: openai, model: m}, parameters: {max_tokens: 12}}
inputs: {topic: {type: string}}
---
user:
Outline {{topic}}.
"""


async def test_what_a_function_asks_of_models_is_shared_with_its_cost(tmp_path: Path) -> None:
    async with project(tmp_path, lines=3) as it:
        body = FLOW[FLOW.index("- name: outline") : FLOW.index("- {name: draft")]
        node = (
            "- name: outline\n  type: python\n  source: {type: code, path: outline.py}\n"
            "  inputs: {topic: '${inputs.topic}'}\n"
        )
        lay(
            tmp_path / "flow",
            {
                "flow.dag.yaml": FLOW.replace(body, node),
                "outline.py": CALLING,
                "outline.prompty": CALLED,
            },
        )
        found = await it.compare("tone.*")
        assert [(cell.run.completed, cell.spent.calls) for cell in found.cells] == [(3, 9), (3, 9)]
        assert it.billed == (3 * (1 + 1 + 2), found.paid.nanodollars)
        alone = await it.compare("tone.cool", name="alone")
        assert alone.cells[0].paid == found.cells[1].spent


async def test_equal_lines_are_not_taken_for_one(tmp_path: Path) -> None:
    async with project(tmp_path) as it:
        (tmp_path / "data.jsonl").write_text('{"topic": "the same"}\n' * 4)
        await it.compare("tone.*")
        assert it.billed[0] == 4 * (1 + 1 + 2)


# --- side by side ---


async def test_how_many_lines_differ_from_the_baseline_is_counted(tmp_path: Path) -> None:
    async with project(tmp_path) as it:
        found = await it.compare()
        assert [cell.is_baseline for cell in found.cells] == [True] + [False] * 5
        lines = await it.rows(found)
        assert [row.number for row in lines] == list(range(5))
        for cell in found.cells[1:]:
            changed = [
                row.sides[cell.label].outputs != row.sides["default"].outputs for row in lines
            ]
            assert [row.sides[cell.label].differs for row in lines] == changed
            assert (cell.differing, cell.compared) == (sum(changed), 5)
        assert {cell.label: cell.differing for cell in found.cells} == {
            "default": 0, "tone.cool": 5, "draft.short": 5, "draft.short,tone.cool": 5,
            "draft.again": 0, "draft.again,tone.cool": 5,
        }  # fmt: skip
        assert [row.inputs["topic"] for row in lines][1] == "harbours 1"


async def test_where_the_defaults_are_not_compared_the_first_cell_is_the_baseline(
    tmp_path: Path,
) -> None:
    async with project(tmp_path, lines=1) as it:
        found = await it.compare("draft.short,again")
        assert [(cell.label, cell.is_baseline) for cell in found.cells] == [
            ("draft.short", True),
            ("draft.again", False),
        ]
        # Later the defaults join, and are the baseline then; what is shared is there already.
        billed = it.billed[0]
        found = await it.compare()
        assert found.cells[0].label == "default"
        assert found.cells[0].is_baseline
        assert it.billed[0] - billed < 10


async def test_an_evaluation_judges_each_cell(tmp_path: Path) -> None:
    async with project(tmp_path) as it:
        watch = Heard()
        found = await it.compare("tone.*", evaluation=judged(it), watch=watch)
        assert [cell.metrics["warm"] for cell in found.cells] == [1.0, 0.0]
        assert "words" in found.cells[0].metrics
        assert watch.told == [
            "begin default 0", "evaluate default", "end default 5",
            "begin tone.cool 0", "evaluate tone.cool", "end tone.cool 5",
        ]  # fmt: skip
        lines = await it.rows(found)
        judge = lines[0].sides["tone.cool"].evaluations["judge"]
        assert json.loads(judge.outputs or "") == {"is_about": False}
        # Nothing is left to do.
        runs = len(await it.runs.all(limit=100))
        await it.compare("tone.*", evaluation=judged(it))
        assert len(await it.runs.all(limit=100)) == runs == 4


async def test_metrics_of_one_name_are_told_by_who_measured_them(tmp_path: Path) -> None:
    async with project(tmp_path, lines=2) as it:
        share = (tmp_path / "judge" / "share.py").read_text().replace("'warm'", "'words'")
        (tmp_path / "judge" / "share.py").write_text(share)
        found = await it.compare("tone.warm", evaluation=judged(it))
        assert set(found.cells[0].metrics) == {"words", "judge.words"}


async def test_lines_are_written_side_by_side(tmp_path: Path) -> None:
    async with project(tmp_path, lines=3) as it:
        found = await it.compare("tone.*", evaluation=judged(it))
        assert await write(it.runs, found, tmp_path / "out.csv") == 3
        with (tmp_path / "out.csv").open(newline="") as file:
            table = list(csv.DictReader(file))
        lines = await it.rows(found)
        assert list(table[0]) == [
            "line", "inputs.topic", "default: text", "default: size", "default: judge.is_about",
            "tone.cool: text", "tone.cool: size", "tone.cool: judge.is_about", "tone.cool: differs",
        ]  # fmt: skip
        for row, told in zip(lines, table, strict=True):
            assert told["line"] == str(row.number)
            assert told["tone.cool: text"] == row.sides["tone.cool"].outputs["text"]
            assert told["tone.cool: differs"] == "yes"
        assert await write(it.runs, found, tmp_path / "out.jsonl") == 3
        records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert records[2]["cells"]["tone.cool"]["outputs"] == lines[2].sides["tone.cool"].outputs
        assert records[2]["cells"]["default"]["evaluations"] == {"judge": {"is_about": True}}
        for name in ("out.txt", "nowhere/out.csv"):
            with pytest.raises(FlowInputError, match="cannot be written"):
                await write(it.runs, found, tmp_path / name)


PLAIN = """
inputs: {topic: {type: string}}
outputs: {o: {type: string, reference: '${n.output}'}}
nodes:
- {name: n, use_variants: true}
node_variants:
  n:
    default_variant_id: upper
    variants:
      upper: {node: {type: python, source: {type: code, path: n.py}, inputs: {t: '${inputs.topic}', is_up: true}}}
      lower: {node: {type: python, source: {type: code, path: n.py}, inputs: {t: '${inputs.topic}', is_up: false}}}
"""
CASES = """
from promptflow.core import tool

@tool
def n(t: str, is_up: bool) -> str:
    at = int(t)
    if (at % 7 == 0 and is_up) or (at % 600 > 500 and not is_up):
        raise ValueError
    return f"{at % 5}{'a' if is_up or at % 2 else 'b'}"
"""


async def test_many_lines_are_read_page_by_page_wherever_cells_lack_some(tmp_path: Path) -> None:
    """The cells have failed on different lines, and one has them no more."""
    async with project(tmp_path) as it:
        lay(tmp_path / "plain", {"flow.dag.yaml": PLAIN, "n.py": CASES})
        count = 3 * PAGE + 7
        data = "".join(json.dumps({"topic": str(n)}) + "\n" for n in range(count))
        (tmp_path / "data.jsonl").write_text(data)
        found = await it.compare(flow="plain")
        upper, lower = found.cells
        numbers = range(count)
        fine = [n for n in numbers if n % 7]
        both = [n for n in fine if n % 600 <= 500]
        assert upper.run.completed == len(fine)
        assert (lower.compared, lower.differing) == (len(both), sum(n % 2 == 0 for n in both))
        lines = await it.rows(found)
        assert [row.number for row in lines] == list(numbers)
        assert all(set(row.sides) == {"default", "n.lower"} for row in lines)
        assert lines[7].sides["n.lower"].differs is None
        # The failed lines of one cell go away when it is taken up and stopped again.
        await it.runs.take(upper.run.name, needs_values=False)
        lines = await it.rows(found)
        assert [row.number for row in lines if "default" in row.sides] == fine
        us = [
            each.latency_us
            for row in lines
            if (side := row.sides.get("default")) and (each := side.line)
        ]
        assert upper.latency_s == pytest.approx(statistics.median(us) / 1e6)


# --- before anything is paid ---


async def test_a_mistake_in_the_last_variant_is_told_before_the_first_runs(tmp_path: Path) -> None:
    async with project(tmp_path) as it:
        (tmp_path / "flow" / "flow.dag.yaml").write_text(
            FLOW.replace(
                "tone: cool, draft: '${draft.output}'}", "tone: cool, temperature: '${draft.output}'}"
            ).replace("path: tone.jinja2},\n        inputs: {deployment_name: m, max_tokens: 16, tone: cool",
                      "path: gone.jinja2},\n        inputs: {deployment_name: m, max_tokens: 16, tone: cool")
        )  # fmt: skip
        with pytest.raises(FlowFormatError, match="tone"):
            await it.compare()
        assert it.billed == (0, 0)
        assert await it.runs.all() == []


async def test_a_judge_that_cannot_be_opened_is_told_before_the_first_runs(tmp_path: Path) -> None:
    async with project(tmp_path) as it:
        (tmp_path / "judge" / "look.py").write_text("nonsense(")
        with pytest.raises(FlowError):
            await it.compare(evaluation=judged(it))
        assert it.billed == (0, 0)


async def test_a_mapping_of_the_judge_that_fits_nothing_is_told_before_the_first_runs(
    tmp_path: Path,
) -> None:
    async with project(tmp_path) as it:
        mapping = {"answer": "${run.outputs.texd}", "topic": "${data.topic}"}
        judge = Evaluation(flow=it.folder / "judge", column_mapping=mapping)
        with pytest.raises(FlowInputError, match=r"evaluation 'judge'.*texd.*run\.outputs\.text"):
            await it.compare(evaluation=judge)
        assert it.billed == (0, 0)
        # Columns of the data are inputs of the run too, as they are for any run over it.
        mapping = {"answer": "${run.outputs.text}", "topic": "${run.inputs.topic}"}
        judge = Evaluation(flow=it.folder / "judge", column_mapping=mapping)
        found = await it.compare("tone.warm", evaluation=judge)
        assert found.cells[0].metrics["warm"] == 1.0


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"limit": 2}, "limit"),
        ({"column_mapping": {"topic": "${data.other}"}}, "column mapping"),
        ({"connections": {"outline": {"max_tokens": "3"}}}, "connections"),
    ],
)
async def test_a_name_is_of_one_comparison(
    tmp_path: Path, more: dict[str, object], field: str
) -> None:
    async with project(tmp_path, lines=3) as it:
        await it.compare("tone.*")
        billed = it.billed
        with pytest.raises(ConflictError, match=f"another {field}"):
            await it.compare("tone.*", **more)
        (tmp_path / "data.jsonl").write_text('{"topic": "other"}\n')
        with pytest.raises(ConflictError, match="is not what it was"):
            await it.compare()
        assert it.billed == billed


async def test_a_default_that_changed_makes_it_another_comparison(tmp_path: Path) -> None:
    async with project(tmp_path, lines=1) as it:
        await it.compare("tone.*")
        text = FLOW.replace("default_variant_id: plain", "default_variant_id: short")
        (tmp_path / "flow" / "flow.dag.yaml").write_text(text)
        with pytest.raises(ConflictError, match="defaults of them"):
            await it.compare("tone.*")


async def test_the_first_lines_alone_may_be_taken(tmp_path: Path) -> None:
    async with project(tmp_path) as it:
        found = await it.compare("tone.*", limit=2)
        assert [cell.run.completed for cell in found.cells] == [2, 2]
        assert it.billed[0] == 2 * 4
        assert [row.number for row in await it.rows(found)] == [0, 1]


async def test_another_model_for_a_node_holds_in_each_cell(tmp_path: Path) -> None:
    async with project(tmp_path, lines=2) as it:
        found = await it.compare("tone.*", connections={"outline": {"max_tokens": "1"}})
        short = [row for row in it.simulator.invoice.rows if row.usage.output_tokens == 1]
        assert len(short) == 2  # one outline of each line, which both cells share
        assert it.billed[0] == found.paid.calls == 2 * 4


# --- going on ---


async def test_what_is_done_is_not_paid_again(tmp_path: Path) -> None:
    async with project(tmp_path) as it:
        first = await it.compare()
        billed = it.billed
        again = await it.compare()
        assert it.billed == billed
        assert [cell.spent for cell in again.cells] == [cell.spent for cell in first.cells]


async def test_a_comparison_grows_by_variants(tmp_path: Path) -> None:
    async with project(tmp_path) as it:
        await it.compare("draft.plain,short", "tone.*")
        billed = it.billed[0]
        found = await it.compare()
        # New are the third draft, and its two tones.
        assert it.billed == (billed + 5 * 3, found.paid.nanodollars)
        assert len(found.cells) == 6


FAILING = """
import os
from promptflow.core import tool

@tool
def size(text: str, topic: str) -> int:
    if "lamps" in topic and not os.path.exists(MENDED):
        raise ValueError
    return len(text.split())
"""


async def test_a_line_that_failed_goes_on_behind_what_is_shared(tmp_path: Path) -> None:
    async with project(tmp_path) as it:
        mended = tmp_path / "mended"
        lay(tmp_path / "flow", {"size.py": FAILING.replace("MENDED", repr(str(mended)))})
        ports = "{text: '${tone.output}', topic: '${inputs.topic}'}"
        text = FLOW.replace("{text: '${draft.output}'}", ports)
        (tmp_path / "flow" / "flow.dag.yaml").write_text(text)
        found = await it.compare("tone.*")
        assert [cell.run.failed for cell in found.cells] == [1, 1]
        assert it.billed == (5 * 4, found.paid.nanodollars)
        mended.touch()
        found = await it.compare("tone.*")
        assert [(cell.run.completed, cell.run.failed) for cell in found.cells] == [(5, 0), (5, 0)]
        # Outline and draft of the line were kept; the tone is of one cell, and is asked again.
        assert it.billed == (5 * 4 + 2, found.paid.nanodollars)
        assert [cell.spent.calls for cell in found.cells] == [5 * 3 + 1, 5 * 3 + 1]


async def test_modules_that_changed_do_the_shared_work_again_and_it_is_told(tmp_path: Path) -> None:
    async with project(tmp_path, lines=2) as it:
        await it.compare("tone.warm")
        assert it.billed[0] == 2 * 3
        lay(tmp_path / "flow", {"size.py": FILES["size.py"] + "\nX = 1\n"})
        lay(tmp_path / "flow", {"notes.txt": "of no account"})
        watch = Heard()
        await it.compare("tone.*", watch=watch)
        assert it.billed[0] == 2 * 3 * 2
        assert [text for text in watch.told if "size.py changed" in text]
        assert not [text for text in watch.told if "notes.txt" in text]


async def test_a_stopped_comparison_goes_on_where_it_was(tmp_path: Path) -> None:
    async with project(tmp_path, lines=40, first_s=0.002) as it:
        comparison = it.comparison()
        task = asyncio.create_task(it.comparer(stopper := Stopper()).run(comparison))
        await stopper.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        halfway = await compared(it.runs, "first")
        assert [cell.run.status for cell in halfway.cells] == ["completed", "cancelled"]
        in_flight = 16 * 3  # lines at once, calls of a line
        found = await it.compare()
        assert all(cell.run.completed == 40 for cell in found.cells)
        calls, nanodollars = it.billed
        assert 40 * 10 <= calls <= 40 * 10 + in_flight
        assert found.paid.calls <= calls
        assert found.paid.nanodollars <= nanodollars


class Stopper(Watch):
    """Notes when the second cell has kept some lines."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._cells = 0

    def begin(self, cell: Cell, kept: Run | None) -> None:
        self._cells += 1

    def progress(self, progress: Progress) -> None:
        if self._cells == 2 and progress.completed:
            self.reached.set()


async def test_what_is_deleted_is_forgotten_and_paid_anew(tmp_path: Path) -> None:
    async with project(tmp_path, lines=2) as it:
        found = await it.compare("tone.*")
        for cell in found.cells:
            await it.runs.delete(cell.run.name)
        assert await it.runs.done_for("first", 0) == {}
        with pytest.raises(NotFoundError, match="no comparison 'first'"):
            await compared(it.runs, "first")
        await it.compare("tone.*")
        assert it.billed[0] == 2 * 2 * 4


async def test_a_database_from_before_comparisons_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}"
    database = connect(Storage(url=url))
    await database.open()
    await database.migrate([each for each in MIGRATIONS if each.number == 1])

    def old() -> Work[None]:
        yield Query(
            "INSERT INTO flow_lines (run, line, status, inputs, started_at_ms, latency_us) "
            "VALUES (7, 0, 'completed', '{}', 0, 0)"
        )

    await database.write(old)
    await database.close()
    async with open_runs(url) as runs:
        (line,) = await runs.lines_after(7)
        assert (line.number, line.shared) == (0, None)


async def test_an_unknown_comparison_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    async with project(tmp_path, lines=1) as it:
        await it.compare("tone.*", name="papers")
        with pytest.raises(NotFoundError, match=r"'papes'.*'papers'"):
            await compared(it.runs, "papes")


# --- from a program ---


def test_a_program_compares_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARTHING_STORAGE__URL", f"sqlite:{tmp_path / 'farthing.db'}")
    lay(
        tmp_path / "plain",
        {
            "flow.dag.yaml": PLAIN.replace(
                "{type: string}}\nout", "{type: string, default: '3'}}\nout"
            ),
            "n.py": CASES,
        },
    )
    given = [{"topic": "1"}, {"topic": "2"}, {"topic": "7"}]
    found = farthing.compare_variants("plain", given, matrix=["n.*"])
    assert isinstance(found, Compared)
    assert found.nodes == ("n",)
    assert [(c.label, c.run.completed, c.run.failed) for c in found.cells] == [
        ("default", 2, 1),
        ("n.lower", 3, 0),
    ]
    assert [row.sides["n.lower"].outputs for row in found.rows] == [
        {"o": "1a"}, {"o": "2b"}, {"o": "2a"},
    ]  # fmt: skip
    assert [row.sides["n.lower"].differs for row in found.rows] == [False, True, None]
    (tmp_path / "data.csv").write_text("t\n1\n2\n")
    judge = PLAIN.replace(
        "use_variants: true",
        "type: python, source: {type: code, path: j.py}, inputs: {t: '${inputs.topic}'}",
    ).partition("node_variants")[0]
    code = "from promptflow.core import tool\n\n@tool\ndef j(t: str) -> str:\n    return t * 2\n"
    lay(tmp_path / "judge", {"flow.dag.yaml": judge, "j.py": code})
    one = farthing.compare_variants(
        tmp_path / "plain",
        "data.csv",
        column_mapping={"topic": "${data.t}"},
        evaluate="judge",
        evaluate_mapping={"topic": "${run.outputs.o}"},
    )
    assert one.rows[0].sides["default"].evaluations["judge"].outputs == '{"o":"1a1a"}'
    assert [row.sides["n.lower"].outputs["o"] for row in one.rows] == ["1a", "2b"]
    with pytest.raises(FlowFormatError, match="'lower'"):
        farthing.compare_variants("plain", given, matrix=["n.lowr"])
