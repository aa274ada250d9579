"""Lines in processes of their own: whose globals they see, what fails them, and that nothing else does."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farthing.core import errors
from farthing.core.errors import FarthingError, FlowFormatError, FlowInputError
from farthing.flows.connections.connections import ConnectionMissingError
from farthing.flows.isolation import flow as isolated
from farthing.flows.isolation.errors import raised, told
from farthing.flows.isolation.settings import Isolation, asked_of_prompt_flow, isolation_of
from tests.flows.apart import Place, is_alive, place, rows, written

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which processes run"),
    pytest.mark.slow,
]


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as made:
        yield made


COUNTING = """
import os
SEEN = []

@tool
def work(x: int) -> list:
    SEEN.append(x)
    return [os.getpid(), list(SEEN)]
"""


async def test_lines_see_the_globals_of_their_own_process_only(it: Place, tmp_path: Path) -> None:
    ran = await it.ran(written(tmp_path / "f", COUNTING), rows(*range(12)), "3")
    by_process: dict[int, list[list[int]]] = {}
    for each in ran.outputs.values():
        pid, seen = each["y"]
        by_process.setdefault(pid, []).append(seen)
    assert os.getpid() not in by_process
    assert len(by_process) <= 3
    for seen in by_process.values():  # what one process saw grows line by line
        assert sorted(map(len, seen)) == list(range(1, len(seen) + 1))
    last = [max(seen, key=len) for seen in by_process.values()]
    assert sorted(x for seen in last for x in seen) == list(range(12))


async def test_a_fresh_process_for_each_line_sees_nothing_of_others(
    it: Place, tmp_path: Path
) -> None:
    ran = await it.ran(written(tmp_path / "f", COUNTING), rows(*range(4)), "line")
    assert [each["y"][1] for each in ran.outputs.values()] == [[0], [1], [2], [3]]
    assert len({each["y"][0] for each in ran.outputs.values()}) == 4


ENDS = """
import os, signal

@tool
def work(x: str) -> str:
    if x == "exit":
        os._exit(3)
    if x == "done":
        os._exit(0)
    if x == "segfault":
        signal.raise_signal(signal.SIGSEGV)
    if x == "ended":
        signal.raise_signal(signal.SIGTERM)
    if x == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return x
"""
EXITED = "Code of the flow, or a library of it, has called os._exit or the like."


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("exit", f"The process of line 2 ended with exit code 3. {EXITED}"),
        ("done", f"The process of line 2 ended with exit code 0. {EXITED}"),
        (
            "segfault",
            "The process of line 2 ended with signal 11 (SIGSEGV). It crashed in compiled code; "
            "where it was is on standard error above.",
        ),
        (
            "ended",
            "The process of line 2 ended with signal 15 (SIGTERM). Somebody has sent it that signal.",
        ),
        (
            "killed",
            "The process of line 2 ended with signal 9 (SIGKILL). Somebody killed it: so does the "
            "system when memory runs out.",
        ),
    ],
)
async def test_a_process_that_ends_fails_its_line_alone_and_is_replaced(
    it: Place, tmp_path: Path, how: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = await it.ran(written(tmp_path / "f", ENDS), rows("a", "b", how, "c", "d", "e"), "1")
    assert ran.run.status == "completed"
    assert ran.errors == {2: message}
    assert [each["y"] for each in ran.outputs.values()] == ["a", "b", "c", "d", "e"]
    if how == "segfault":
        assert "work.py" in capfd.readouterr().err


async def test_a_copy_that_a_process_leaves_behind_ends_with_it(it: Place, tmp_path: Path) -> None:
    code = f"""
    import os, pathlib, time

    @tool
    def work(x: int) -> int:
        if x != 1:
            return x
        child = os.fork()
        if not child:
            time.sleep(60)  # it holds the worker's socket open
        pathlib.Path({str(tmp_path / "child")!r}).write_text(str(child))
        os._exit(3)
    """
    ran = await it.ran(written(tmp_path / "f", code), rows(0, 1, 2), "1")
    assert list(ran.outputs) == [0, 2]
    assert ran.errors[1].startswith("The process of line 1 ended with exit code 3.")
    assert not is_alive(int((tmp_path / "child").read_text()))


HANGS = """
import os, subprocess, time

@tool
{kind} work(x: object) -> int:
    if x != 0:
        return os.getpid()
    child = subprocess.Popen(["sleep", "60"])
    with open("{pids}", "w") as file:
        file.write(f"{{os.getpid()}} {{child.pid}}")
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_line_that_hangs_has_its_process_killed_with_what_it_started(
    it: Place, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "GRACE_S", 0.2)
    pids = tmp_path / "pids"
    folder = written(tmp_path / "f", HANGS.format(kind=kind, pids=pids))
    ran = await it.ran(folder, rows(1, 0, 2, 3), "1", line_timeout_s=2.0)
    first, *others = [each["y"] for each in ran.outputs.values()]
    hung, child = map(int, pids.read_text().split())
    assert (first, len(others)) == (hung, 2)
    assert hung not in others
    assert not is_alive(hung)
    assert not is_alive(child)
    # A function that waits in a thread leaves its worker able to say where it was.
    assert ran.errors == {
        1: "The line took longer than 2 s; it was at: work. "
        "Raise PF_LINE_TIMEOUT_SEC, or look at what the node waits for."
        if kind == "def"
        else "The process of line 1 was ended: it took longer than 2 s and did not come back. "
        "Raise PF_LINE_TIMEOUT_SEC, or look at what the line waits for."
    }


async def test_what_an_orderly_end_runs_is_run(it: Place, tmp_path: Path) -> None:
    code = f"""
    import atexit, pathlib
    atexit.register(pathlib.Path({str(tmp_path / "ended")!r}).touch)

    @tool
    def work(x: int) -> int:
        return x
    """
    await it.ran(written(tmp_path / "f", code), rows(1), "1")
    assert (tmp_path / "ended").exists()


async def test_a_flood_of_output_passes_and_holds_up_nothing(
    it: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = """
    import sys

    @tool
    def work(x: int) -> int:
        print("flood " * 200_000)
        print("flood " * 200_000, file=sys.stderr)
        return x
    """
    ran = await it.ran(written(tmp_path / "f", code), rows(*range(10)))
    assert len(ran.outputs) == 10
    printed = capfd.readouterr()
    assert printed.out.count("flood") == printed.err.count("flood") == 2_000_000


@pytest.mark.parametrize(
    "what", ["object()", "print", "{object(): 1}", "chr(0xd800)", "2**80", "(i for i in 'ab')"]
)
async def test_what_cannot_be_kept_fails_its_line_as_in_one_process(
    it: Place, tmp_path: Path, what: str
) -> None:
    code = f"""
    @tool
    def work(x: int):
        return {what} if x == 1 else x
    """
    folder = written(tmp_path / "f", code)
    here = await it.ran(folder, rows(0, 1, 2), None, "here")
    apart = await it.ran(folder, rows(0, 1, 2), "1", "apart")
    assert apart.outputs == here.outputs
    assert apart.errors == here.errors


async def test_inputs_that_no_other_process_has_fail_their_line(it: Place, tmp_path: Path) -> None:
    ran = await it.ran(written(tmp_path / "f", COUNTING), rows(0, lambda: 1, 2), "1")
    assert list(ran.outputs) == [0, 2]
    assert "cannot be handed to another process" in ran.errors[1]
    assert "x (function)" in ran.errors[1]


async def test_a_flow_that_cannot_be_opened_says_so_as_in_one_process(
    it: Place, tmp_path: Path
) -> None:
    folder = written(tmp_path / "f", "import nothing_of_that_name\n")
    said = []
    for isolate in (None, "2"):
        with pytest.raises(FlowFormatError) as caught:
            await it.ran(folder, rows(1), isolate)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "work.py:2: It imports 'nothing_of_that_name'" in said[0]


async def test_a_flow_that_ends_the_process_when_it_is_imported_says_so(
    it: Place, tmp_path: Path
) -> None:
    folder = written(tmp_path / "f", "import os\nos._exit(5)\n")
    with pytest.raises(FarthingError, match="The process of the flow ended with exit code 5"):
        await it.ran(folder, rows(1))


WITH_END = """
inputs:
  x: {type: int}
  picture: {type: image, default: {"data:image/png;base64": "iVBORw0KGgo="}}
outputs:
  y: {type: object, reference: "${work.output}"}
nodes:
- name: work
  type: python
  source: {type: code, path: work.py}
  inputs: {x: "${inputs.x}", picture: "${inputs.picture}"}
- name: end
  type: python
  aggregation: true
  source: {type: code, path: end.py}
  inputs: {all: "${work.output}", xs: "${inputs.x}", pictures: "${inputs.picture}"}
"""
END_WORK = """
from shapes import Shape
SEEN = []

@tool
def work(x: int, picture) -> object:
    SEEN.append(x)
    return Shape(x, {x}, picture)
"""
END_SHAPES = """
import dataclasses

@dataclasses.dataclass
class Shape:
    size: int
    kinds: set
    picture: object
"""
END_END = """
from promptflow.core import tool, log_metric
from shapes import Shape
from promptflow.contracts.multimedia import Image

@tool
def end(all: list, xs: list, pictures: list) -> int:
    assert [type(each) for each in all] == [Shape] * len(xs)
    assert [each.kinds for each in all] == [{x} for x in xs]
    assert all[0].picture == pictures[0] and isinstance(pictures[0], Image)
    assert pictures[0].mime_type == all[0].picture.mime_type == "image/png"
    log_metric("sum", sum(each.size for each in all))
    return len(all)
"""


@pytest.mark.parametrize("isolate", [None, "2", "line"])
async def test_the_nodes_behind_all_lines_see_the_objects_that_lines_returned(
    it: Place, tmp_path: Path, isolate: str | None
) -> None:
    folder = written(tmp_path / "f", END_WORK, WITH_END, shapes=END_SHAPES, end=END_END)
    ran = await it.ran(folder, rows(*range(6)), isolate)
    assert (ran.run.error_message, ran.run.metrics) == (None, {"sum": 15.0})
    assert ran.outputs[3]["y"]["size"] == 3


async def test_a_value_for_those_behind_all_lines_that_cannot_be_handed_on_fails_its_line(
    it: Place, tmp_path: Path
) -> None:
    flow = WITH_END.replace('"${work.output}"}\nnodes', '"${inputs.x}"}\nnodes')
    code = """
    @tool
    def work(x: int, picture) -> object:
        return (lambda: x) if x == 1 else x
    """
    end = """
    from promptflow.core import tool, log_metric

    @tool
    def end(all: list, xs: list, pictures: list) -> None:
        log_metric("sum", sum(all))
    """
    ran = await it.ran(written(tmp_path / "f", code, flow, end=end), rows(0, 1, 2))
    assert ran.errors == {
        1: "The value of the node 'work' is a function that cannot be handed to another process. "
        "Return texts, numbers, lists and dicts, or objects of classes at the top of a module; or run "
        "without isolation."
    }
    assert ran.run.metrics == {"sum": 2.0}


async def test_an_aggregation_that_ends_its_process_fails_no_line(
    it: Place, tmp_path: Path
) -> None:
    end = "import os\n" + END_END.replace("    log_metric", "    os._exit(1)\n    log_metric")
    folder = written(tmp_path / "f", END_WORK, WITH_END, shapes=END_SHAPES, end=end)
    ran = await it.ran(folder, rows(1, 2))
    assert (ran.run.status, ran.run.completed, ran.run.metrics) == ("completed", 2, {})
    assert (ran.run.error_message or "").startswith(
        "The process of what is behind all lines ended with exit code 1."
    )


# --- errors, settings ---


def _made(kind: type[FarthingError]) -> FarthingError:
    more = {"connection": "c"} if kind is ConnectionMissingError else {}
    error = kind("What happened.", **more)
    error.hint, error.param, error.code = "What to do.", "p", "a_code"
    if isinstance(error, FlowFormatError):
        error.path, error.line, error.field = "f.yaml", 3, "inputs"
    return error


@pytest.mark.parametrize(
    "kind",
    [
        ConnectionMissingError,
        *(
            each
            for each in vars(errors).values()
            if isinstance(each, type) and issubclass(each, FarthingError)
        ),
    ],
)
def test_every_error_of_the_tree_is_itself_in_another_process(kind: type[FarthingError]) -> None:
    error = _made(kind)
    again = raised(told(error))
    assert isinstance(again, kind if kind is not ConnectionMissingError else errors.FlowError)
    assert str(again) == str(error)
    assert (again.code, again.status, again.retryable) == (
        error.code,
        error.status,
        error.retryable,
    )
    assert vars(again).items() >= {k: v for k, v in vars(error).items() if v is not None}.items()


def test_a_name_with_half_a_character_can_be_told() -> None:
    assert "\\udcff" in str(raised(told(FlowInputError("No file 'a\udcff'."))))


def test_isolation_is_a_number_auto_or_line() -> None:
    assert isolation_of(None) is None
    assert isolation_of("7") == Isolation(processes=7)
    auto, line = isolation_of("auto"), isolation_of("LINE")
    assert auto is not None
    assert line == Isolation(processes=auto.processes, is_fresh=True)
    assert 1 <= auto.processes <= 4
    for wrong in ("0", "-1", "257", "4.5", "many", "", "٣"):
        with pytest.raises(FlowInputError, match="no number of processes"):
            isolation_of(wrong)


@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({}, None),
        ({"PF_WORKER_COUNT": "3"}, "3"),
        ({"PF_WORKER_COUNT": " 3 ", "PF_BATCH_METHOD": "fork"}, "3"),
        ({"PF_WORKER_COUNT": "0"}, None),
        ({"PF_WORKER_COUNT": "many", "PF_BATCH_METHOD": "spawn"}, "auto"),
        ({"PF_BATCH_METHOD": "spawn"}, "auto"),
        ({"PF_BATCH_METHOD": ""}, None),
        ({"PF_WORKER_COUNT": "5000"}, "256"),
    ],
)
def test_prompt_flows_variables_ask_for_processes(
    variables: dict[str, str], asked: str | None
) -> None:
    assert asked_of_prompt_flow(variables) == asked
