"""`farthing flow`: flows are made, looked at, tried, run and compared; in a folder with a simulator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from farthing.cli.flow import flow
from farthing.core.errors import FarthingError, FlowError, FlowFormatError, FlowInputError


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "farthing.toml").write_text(
        '[server]\ndetect = false\n[providers.sim]\ntype = "sim"\nscenario = "demo"\n'
    )
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, code: int = 0, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(flow, arguments, input=stdin)
    if isinstance(result.exception, FarthingError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def write(folder: Path, **files: str) -> None:
    """Files by their name, in which `__` is a dot."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


DOUBLE = "from promptflow.core import tool\n\n@tool\ndef double(n: int) -> int:\n    return 2 * n\n"
DAG = """inputs:
  n: {type: int}
outputs:
  twice: {type: int, reference: '${double.output}'}
nodes:
- name: double
  type: python
  source: {type: code, path: double.py}
  inputs: {n: '${inputs.n}'}
"""


# --- new, test ---


@pytest.mark.parametrize("kind", ["standard", "evaluation", "flex", "prompty"])
def test_every_starter_runs_as_its_author_is_told(kind: str) -> None:
    told = run("new", "mine", "--kind", kind).stderr
    words = told.removeprefix("Try it: farthing flow ").split()
    assert json.loads(run(*words, "--json").stdout)["outputs"]


def test_a_starter_never_overwrites() -> None:
    run("new", "mine")
    with pytest.raises(FlowError, match="is there already"):
        run("new", "mine")


def test_a_line_is_tried_with_what_it_cost() -> None:
    run("new", "mine")
    result = run("test", "mine", "--inputs", "question=Hello you")
    assert "Hello you" in result.stdout
    assert "1 model call" in result.stderr
    assert "tidy" in result.stderr


def test_inputs_come_from_a_file_too(tmp_path: Path) -> None:
    write(
        tmp_path / "f", flow__dag__yaml=DAG, double__py=DOUBLE, data__jsonl='{"n": 4}\n{"n": 5}\n'
    )
    assert run("test", "f", "--inputs", "f/data.jsonl").stdout == "twice: 8\n"
    assert run("test", "f", "--inputs", "n=3").stdout == "twice: 6\n"


def test_metrics_of_what_runs_behind_all_lines_are_shown() -> None:
    run("new", "judge", "--kind", "evaluation")
    result = run("test", "judge", "--inputs", "judge/data.jsonl")
    assert "accuracy (metric): 1.0" in result.stdout


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    write(tmp_path / "f", flow__dag__yaml=DAG, double__py=DOUBLE)
    with pytest.raises(FlowInputError, match="'n'"):
        run("test", "f")


def test_a_node_that_raises_shows_the_users_own_lines(tmp_path: Path) -> None:
    code = DOUBLE.replace("return 2 * n", "return 1 // 0")
    write(tmp_path / "f", flow__dag__yaml=DAG, double__py=code)
    result = CliRunner().invoke(flow, ["test", "f", "--inputs", "n=1"])
    assert isinstance(result.exception, FlowError)
    assert "double.py" in result.stderr
    assert "ZeroDivisionError" in result.stderr
    assert "engine.py" not in result.stderr


def test_a_node_is_tried_alone(tmp_path: Path) -> None:
    more = "- name: again\n  type: python\n  source: {type: code, path: double.py}\n"
    chained = DAG + more + "  inputs: {n: '${double.output}'}\n"
    write(tmp_path / "f", flow__dag__yaml=chained, double__py=DOUBLE)
    one = run("test", "f", "--node", "again", "--inputs", "double.output=7", "--json")
    assert json.loads(one.stdout)["outputs"] == {"output": 14}
    other = run("test", "f", "--node", "again", "--inputs", "n=8", "--json")
    assert json.loads(other.stdout)["outputs"] == {"output": 16}
    with pytest.raises(FlowInputError, match="needs double"):
        run("test", "f", "--node", "again")
    with pytest.raises(FlowFormatError, match="agian"):
        run("test", "f", "--node", "agian")
    with pytest.raises(FlowInputError, match="no input 'm'"):
        run("test", "f", "--node", "again", "--inputs", "n=1", "m=2")


def test_a_chat_remembers_what_was_said() -> None:
    run("new", "talk", "--kind", "chat")
    result = run("test", "talk", "--interactive", stdin="First words\nSecond words\n")
    first, second = result.stdout.splitlines()
    assert "First words" in first
    assert "Second words" in second
    assert "2 model calls" in result.stderr


def test_a_streamed_answer_is_the_whole_answer(tmp_path: Path) -> None:
    _streaming_chat(tmp_path)
    assert "Tell me more" in run("test", "talk", "--interactive", stdin="Tell me more\n").stdout
    outputs = json.loads(run("test", "talk", "--inputs", "question=Tell me", "--json").stdout)
    assert "Tell me" in outputs["outputs"]["answer"]


def _streaming_chat(folder: Path) -> None:
    run("new", "talk", "--kind", "chat", "--model", "sim/small")
    file = folder / "talk" / "flow.dag.yaml"
    file.write_text(file.read_text().replace("max_tokens: 512", "stream: true"))


def test_a_flow_that_is_no_chat_says_what_makes_one(tmp_path: Path) -> None:
    two = DAG.replace("  n: {type: int}\n", "  n: {type: int}\n  m: {type: int}\n")
    write(tmp_path / "f", flow__dag__yaml=two, double__py=DOUBLE)
    with pytest.raises(FlowFormatError, match="is_chat_input"):
        run("test", "f", "--interactive", stdin="")


def test_variables_are_set_before_the_flow_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FROM_FILE", "FROM_OPTION"):
        monkeypatch.setenv(name, "")
    code = (
        "import os\nfrom promptflow.core import tool\n\nX = os.environ['FROM_FILE']\n\n"
        "@tool\ndef double(n: int) -> str:\n    return X + os.environ['FROM_OPTION']\n"
    )
    write(tmp_path / "f", flow__dag__yaml=DAG, double__py=code)
    write(tmp_path, __env="FROM_FILE='a'\n# no\nexport OTHER=b\n")
    environment = ("--env", "--environment-variables", "FROM_OPTION=c")
    assert run("test", "f", *environment, "--inputs", "n=1").stdout == "twice: ac\n"


# --- variants ---

VARIANTS = """inputs:
  question: {type: string, default: Hi}
outputs:
  answer: {type: string, reference: '${ask.output}'}
nodes:
- {name: ask, use_variants: true}
node_variants:
  ask:
    default_variant_id: plain
    variants:
      plain:
        node: &body
          type: prompt
          source: {type: code, path: plain.jinja2}
          inputs: {question: '${inputs.question}'}
      loud:
        node:
          type: prompt
          source: {type: code, path: loud.jinja2}
          inputs: {question: '${inputs.question}'}
"""


def test_variants_are_listed_and_compared(tmp_path: Path) -> None:
    texts = {"plain__jinja2": "{{question}}", "loud__jinja2": "{{question}}!"}
    write(tmp_path / "f", flow__dag__yaml=VARIANTS, **texts)
    assert "${ask.loud}" in run("variants", "f").stdout
    compared = json.loads(run("variants", "f", "--inputs", "question=Yes", "--json").stdout)
    (row,) = compared["rows"]
    answers = {label: each["outputs"]["answer"] for label, each in row["cells"].items()}
    assert answers == {"default": "Yes", "ask.loud": "Yes!"}
    assert run("test", "f", "--variant", "${ask.loud}").stdout == "answer: Hi!\n"
    assert run("test", "f", "--variant", "ask.loud").stdout == "answer: Hi!\n"
    with pytest.raises(FlowFormatError, match=r"'lound'.*'loud'"):
        run("test", "f", "--variant", "${ask.lound}")


# --- run ---


def test_data_is_run_and_what_failed_is_listed(tmp_path: Path) -> None:
    write(tmp_path / "f", flow__dag__yaml=DAG, double__py=DOUBLE)
    write(tmp_path, data__jsonl='{"n": 1}\n{"n": "x"}\n{"n": 3}\n')
    result = run("run", "f", "--data", "data.jsonl", "--name", "one")
    assert "one: completed, 3 lines, 1 failed" in result.stdout
    assert "line 1" in result.stdout
    assert json.loads(run("show", "one", "--json").stdout)["completed"] == 2
    assert "one" in run("list", "--runs").stdout


def test_a_run_is_gone_on_with(tmp_path: Path) -> None:
    code = (
        "import os\nfrom promptflow.core import tool\n\n@tool\ndef double(n: int) -> int:\n"
        "    if not os.path.exists('mended'):\n        raise ValueError\n    return 2 * n\n"
    )
    write(tmp_path / "f", flow__dag__yaml=DAG, double__py=code)
    write(tmp_path, data__csv="n\n1\n2\n")
    first = run("run", "f", "--data", "data.csv", "-n", "one")
    assert "--resume-from one" in first.stderr
    write(tmp_path / "f", mended="")
    again = run("run", "--resume-from", "one")
    assert "one: completed, 2 lines\n" in again.stdout


def test_a_run_is_exported_as_prompt_flow_has_it(tmp_path: Path) -> None:
    run("new", "judge", "--kind", "evaluation")
    run("run", "judge", "--data", "judge/data.jsonl", "--export", "out")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == {"accuracy": 0.5}


def test_a_run_needs_lines() -> None:
    assert "--data FILE" in run("run", "f", code=2).output


def test_a_node_gets_another_model() -> None:
    run("new", "mine", "--model", "no-such-model")
    data = ("--data", "mine/data.jsonl", "--connections", "ask.deployment_name=sim/small")
    assert json.loads(run("run", "mine", *data, "--json").stdout)["failed"] == 0


# --- check, list, show ---


def test_a_project_that_runs_is_told_so() -> None:
    run("new", "mine")
    run("new", "judge", "--kind", "evaluation")
    result = run("check")
    assert "2 of 2 flows run here" in result.stdout


def test_what_is_wanting_is_told_with_file_and_line(tmp_path: Path) -> None:
    asks = (
        "- {name: ask, type: llm, api: chat, source: {type: code, path: a.jinja2},\n"
        "   inputs: {deployment_name: no-such-model}}\n"
    )
    code = "import no_such_package\n" + DOUBLE.replace("n: int)", "n: int, c: CustomConnection)")
    dag = DAG.replace("'${inputs.n}'}", "'${inputs.n}', c: mine}") + asks
    write(tmp_path / "f", flow__dag__yaml=dag, double__py=code, a__jinja2="user:\nHi\n")
    result = run("check", "f", code=1)
    assert "needs a package, a connection, a model" in result.stdout
    assert "f/double.py:1: It imports 'no_such_package'" in result.stdout
    assert "pip install no_such_package" in result.stdout
    assert "f/flow.dag.yaml:9" in result.stdout
    assert "'no-such-model'" in result.stdout
    (report,) = json.loads(run("check", "f", "--json", code=1).stdout)
    assert {each["kind"] for each in report["findings"]} == {"package", "connection", "model"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("n: '${inputs.n}'", "m: '${inputs.n}'"), "does not take"),
        (("path: double.py", "path: dubble.py"), "'dubble.py'"),
        (("${double.output}", "${duble.output}"), "'duble'"),
        (("type: python", "type: pyton"), "'pyton'"),
    ],
)
def test_what_can_never_run_is_told(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    write(tmp_path / "f", flow__dag__yaml=DAG.replace(*change), double__py=DOUBLE)
    result = run("check", "f", code=1)
    assert "does not run" in result.stdout
    assert told in result.stdout


def test_a_part_of_prompt_flow_that_there_is_not_needs_an_adaptation(tmp_path: Path) -> None:
    code = "from promptflow.executor import x\nfrom promptflow.tools.common import y\n" + DOUBLE
    write(tmp_path / "f", flow__dag__yaml=DAG, double__py=code)
    result = run("check", "f", code=1)
    assert "needs an adaptation" in result.stdout
    assert "double.py:1: It imports 'promptflow.executor'" in result.stdout
    assert "promptflow.tools.common" not in result.stdout


def test_a_check_runs_nothing(tmp_path: Path) -> None:
    code = "open('was-run', 'w').close()\n" + DOUBLE
    write(tmp_path / "f", flow__dag__yaml=DAG, double__py=code)
    run("check", "f")
    assert not (tmp_path / "was-run").exists()


def test_flows_are_listed_and_shown(tmp_path: Path) -> None:
    write(tmp_path / "f", flow__dag__yaml=DAG, double__py=DOUBLE)
    run("new", "bend", "--kind", "flex")
    rows = json.loads(run("list", "--json").stdout)
    kinds = {row["path"]: row["kind"] for row in rows}
    assert kinds == {"f": "dag", "bend": "flex", "bend/ask.prompty": "prompty"}
    assert "double.py" in run("show", "f").stdout
    assert json.loads(run("show", "f", "--json").stdout)["nodes"][0]["name"] == "double"


def test_help_imports_neither_yaml_nor_the_gateway() -> None:
    code = (
        "import sys\nfrom farthing.cli.main import root\n"
        "try:\n    root(['flow', '--help'], prog_name='farthing')\nexcept SystemExit:\n    pass\n"
        "bad = {'ruamel', 'jinja2', 'aiohttp', 'farthing.gateway'} & set(sys.modules)\nassert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- a gateway that runs already ---


def test_a_gateway_that_owns_the_database_is_asked(tmp_path: Path) -> None:
    run("new", "mine", "--model", "sim/small")
    _streaming_chat(tmp_path)
    program = [sys.executable, "-c", "from farthing.cli.main import main; main()"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FARTHING_")}
    with subprocess.Popen(
        [*program, "up", "--port", "0", "--json"],
        env={**clean, "NO_PROXY": "*"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            line = ("test", "mine", "--inputs", "question=Hello you", "--json")
            figures = json.loads(run(*line).stdout)
            told = run("test", "talk", "--interactive", stdin="Tell me more\n")
        finally:
            process.send_signal(signal.SIGTERM)
    assert "Hello you" in figures["outputs"]["answer"]
    assert "Tell me more" in told.stdout
    assert figures["calls"] == 1
    assert figures["input_tokens"] > 0
    assert float(figures["cost_dollars"]) > 0


def test_an_address_without_a_gateway_is_named() -> None:
    run("new", "mine", "--model", "sim/small")
    with pytest.raises(FarthingError, match=r"127\.0\.0\.1:9 cannot be reached"):
        run("test", "mine", "--inputs", "question=a", "--url", "http://127.0.0.1:9")


READS = """from pathlib import Path

from promptflow.core import tool

@tool
def double(n: int) -> int:
    return n * int(Path("notes/factor.txt").read_text())
"""


@pytest.mark.parametrize("more", [(), ("--isolate", "1")])
def test_functions_find_their_files_from_the_flows_folder(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    write(tmp_path / "f", flow__dag__yaml=DAG, double__py=READS)
    write(tmp_path / "f" / "notes", factor__txt="2")
    write(tmp_path, lines__jsonl='{"n": 4}\n{"n": 5}\n')
    assert run("test", "f", "--inputs", "n=3").stdout == "twice: 6\n"
    assert run("test", "f", "--node", "double", "--inputs", "n=3").stdout.strip().endswith("6")
    run("run", "f", "--data", "lines.jsonl", "--name", "r", "--export", "out", *more)
    assert '"twice": 10' in (tmp_path / "out" / "outputs.jsonl").read_text()
    assert Path.cwd() == tmp_path
