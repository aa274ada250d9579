"""`farthing pf`: every command line that prompt flow's READMEs type is understood, and does what it did."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from farthing.cli.pf import pf
from farthing.core.errors import FarthingError, FlowError

LINES = (Path(__file__).parents[1] / "flows" / "pf_lines.txt").read_text().splitlines()


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "farthing.toml").write_text(
        '[server]\ndetect = false\n[providers.sim]\ntype = "sim"\nscenario = "demo"\n'
    )
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, code: int = 0, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(pf, arguments, input=stdin)
    if isinstance(result.exception, FarthingError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def parsed(line: str) -> click.Context:
    """The context of the command that a line names, parsed to its end and not run."""
    words = shlex.split(line)[1:]
    context = pf.make_context("pf", words)
    while isinstance(context.command, click.Group) and (rest := words_of(context)):
        name, command, more = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, more, parent=context)
    return context


def words_of(context: click.Context) -> list[str]:
    return [*context._protected_args, *context.args]


def test_there_are_enough_lines_to_mean_something() -> None:
    assert len(set(LINES)) >= 150


@pytest.mark.parametrize("line", LINES)
def test_every_line_is_understood(line: str) -> None:
    if line in ("pf --version", "pf -v"):  # answered while it is parsed
        assert run(line.split()[1]).exit_code == 0
        return
    context = parsed(line)
    assert not isinstance(context.command, click.Group) or len(shlex.split(line)) == 2
    if context.command.name != "export":
        assert not context.args


def test_an_option_takes_every_word_up_to_the_next() -> None:
    context = parsed("pf run create --flow . --column-mapping a='${data.a}' b=-1 --stream --data d")
    assert context.params["column_mapping"] == ("a=${data.a}", "b=-1")
    assert context.params["stream"]


def test_a_long_option_may_be_cut_short() -> None:
    assert parsed("pf run visualize --name a,b").params["names"] == "a,b"


def test_env_alone_means_the_file_dotenv() -> None:
    assert parsed("pf flow test --flow f --env --inputs a=1").params["env"] == ".env"


def test_an_option_that_there_is_not_names_the_nearest() -> None:
    result = run("flow", "test", "--flow", "f", "--varient", "x", code=2)
    assert "--variant" in result.output


def test_a_group_alone_shows_its_help_and_ends_well() -> None:
    assert "create" in run("run").output
    assert "flow" in run().output


def test_the_version_names_prompt_flows() -> None:
    assert json.loads(run("version").stdout)["promptflow"] == "1.18.5"
    assert run("--version").stdout == run("version").stdout


@pytest.mark.parametrize(
    ("line", "code", "advice"),
    [
        ("service start", 0, "farthing up"),
        ("service status", 1, "farthing doctor"),
        ("upgrade", 0, "pip install"),
        ("trace delete", 0, "not kept"),
        ("flow export --source .", 2, "flow build"),
        ("config set telemetry.enabled=true", 0, "Nothing is reported"),
    ],
)
def test_what_there_is_not_says_what_to_do(line: str, code: int, advice: str) -> None:
    assert advice in run(*line.split(), code=code).output


def test_a_workspace_cannot_be_the_source_of_connections() -> None:
    with pytest.raises(FlowError, match="workspace"):
        run("config", "set", "connection.provider=azureml://subscriptions/x")


def test_a_flow_is_made_tested_and_run() -> None:
    run("flow", "init", "--flow", "mine", "--deployment", "sim/small")
    answer = json.loads(run("flow", "test", "--flow", "mine", "--inputs", "question=Hi you").stdout)
    assert "Hi you" in answer["answer"]
    made = run("run", "create", "--flow", "mine", "--data", "mine/data.jsonl", "-n", "one")
    shown = json.loads(made.stdout)
    assert (shown["name"], shown["status"]) == ("one", "Completed")
    assert [row["name"] for row in json.loads(run("run", "list").stdout)] == ["one"]
    assert "outputs.answer" in run("run", "show-details", "-n", "one", "-r", "2").output
    assert json.loads(run("run", "show-metrics", "--name", "one").stdout) == {}


def test_an_evaluation_of_an_earlier_run_has_metrics_and_a_page(tmp_path: Path) -> None:
    run("flow", "init", "--flow", "mine", "--deployment", "sim/small")
    run("flow", "init", "--flow", "judge", "--type", "evaluation")
    run("run", "create", "--flow", "mine", "--data", "mine/data.jsonl", "-n", "one")
    mapping = ("answer=${run.outputs.answer}", "truth=${data.question}")
    judged = ("run", "create", "--flow", "judge", "--data", "mine/data.jsonl", "--run", "one")
    run(*judged, "--column-mapping", *mapping, "--name", "two")
    assert json.loads(run("run", "show-metrics", "-n", "two").stdout) == {"accuracy": 0.0}
    run("run", "visualize", "--names", "one,two", "--html-path", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "accuracy" in page
    assert "Incorrect" in page


def test_a_run_is_described_by_a_file(tmp_path: Path) -> None:
    run("flow", "init", "--flow", "judge", "--type", "evaluation")
    (tmp_path / "judge" / "run.yml").write_text(
        "flow: .\ndata: data.jsonl\nname: told\nruntime: r\ncolumn_mapping:\n  answer: ${data.answer}\n"
    )
    result = run("run", "create", "--file", "judge/run.yml", "--stream", "--set", "display_name=D")
    assert json.loads(result.stdout)["display_name"] == "D"
    assert "'runtime' is for runs in Azure" in result.stderr


def test_an_archived_run_is_not_listed_until_it_is_restored() -> None:
    run("flow", "init", "--flow", "judge", "--type", "evaluation")
    run("run", "create", "--flow", "judge", "--data", "judge/data.jsonl", "-n", "one")
    run("run", "archive", "-n", "one")
    assert json.loads(run("run", "list").stdout) == []
    assert len(json.loads(run("run", "list", "--archived-only").stdout)) == 1
    run("run", "restore", "-n", "one")
    run("run", "update", "-n", "one", "--set", "display_name=First", "tags.by=me")
    (listed,) = json.loads(run("run", "list").stdout)
    assert (listed["display_name"], listed["tags"]) == ("First", {"by": "me"})
    run("run", "delete", "-n", "one", "-y")
    assert json.loads(run("run", "list").stdout) == []


def test_a_run_without_a_source_of_lines_says_so() -> None:
    run("flow", "init", "--flow", "judge", "--type", "evaluation")
    with pytest.raises(FlowError, match="no lines"):
        run("run", "create", "--flow", "judge")
    with pytest.raises(FlowError, match="one of"):
        run("run", "create", "--flow", "judge", "--resume-from", "x")


def test_validation_ends_with_1_for_a_flow_that_cannot_run(tmp_path: Path) -> None:
    run("flow", "init", "--flow", "judge", "--type", "evaluation")
    assert "is valid" in run("flow", "validate", "--source", "judge").output
    (tmp_path / "judge" / "grade.py").write_text("def grade(answer):\n    return 1\n")
    assert "grade.py" in run("flow", "validate", "--source", "judge", code=1).output


def test_a_function_is_tested_without_a_file_for_it(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("def greet(name: str) -> str:\n    return f'Hello {name}'\n")
    result = run("flow", "test", "--flow", "hello:greet", "--inputs", "name=Ada")
    assert "Hello Ada" in result.stdout
    assert not list(tmp_path.glob("*.yaml"))
    assert not list(tmp_path.glob(".*.yaml"))


def test_a_connection_is_made_shown_changed_and_deleted_and_its_secret_never_shown(
    tmp_path: Path,
) -> None:
    (tmp_path / "c.yml").write_text(
        "name: mine\ntype: azure_open_ai\napi_key: <user-input>\napi_base: https://a\napi_type: azure\n"
    )
    made = run(
        "connection", "create", "-f", "c.yml", "--set", "api_key=s3cret", "api_base=https://b"
    )
    run("connection", "update", "-n", "mine", "--set", "api_base=https://c")
    shown = run("connection", "show", "-n", "mine")
    assert json.loads(shown.stdout)["api_base"] == "https://c"
    listed = run("connection", "list")
    assert "s3cret" not in made.output + shown.output + listed.output
    assert "s3cret" in (tmp_path / ".farthing" / "connections.yaml").read_text()
    run("connection", "delete", "-n", "mine", "--yes")
    assert json.loads(run("connection", "list").stdout) == []


def test_a_dotenv_file_makes_a_custom_connection(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_KEY=s3cret\n")
    result = run("connection", "create", "-f", ".env", "--name", "custom")
    assert json.loads(result.stdout)["type"] == "custom"
    assert "s3cret" not in result.output


def test_a_folder_for_a_container_has_no_secret_in_it(tmp_path: Path) -> None:
    run("flow", "init", "--flow", "judge", "--type", "evaluation")
    (tmp_path / "c.yml").write_text("name: m\ntype: serp\napi_key: s3cret\n")
    run("connection", "create", "-f", "c.yml")
    run("flow", "build", "--source", "judge", "--output", "out", "--format", "docker")
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert {"Dockerfile", "start.sh", "m.yaml", "flow.dag.yaml"} <= {file.name for file in files}
    assert not [file for file in files if b"s3cret" in file.read_bytes()]


def test_a_tool_is_written_and_valid(tmp_path: Path) -> None:
    run("tool", "init", "--tool", "mine")
    assert "is valid" in run("tool", "validate", "--source", "mine.py").output
    run("tool", "validate", "--source", "nowhere.py", code=1)
    run("flow", "init", "--flow", "judge", "--type", "evaluation")
    listed = json.loads(run("tool", "list", "--flow", "judge").stdout)
    search = listed["package"]["promptflow.tools.serpapi.SerpAPI.search"]
    assert search["inputs"]["engine"]["enum"] == ["google", "bing"]
    assert set(listed["code"]) == {"grade.py", "accuracy.py"}


def test_a_flow_is_made_around_a_function_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "intent.py").write_text("def find(text: str, chat_prompt: str):\n    return text\n")
    (tmp_path / "p.jinja2").write_text("Hi")
    around = ("--entry", "intent.py", "--function", "find", "--prompt-template")
    run("flow", "init", "--flow", ".", *around, "chat_prompt=p.jinja2")
    result = run("flow", "test", "--flow", ".", "--inputs", "text=Hello")
    assert json.loads(result.stdout) == {"output": "Hello"}


def test_a_function_is_saved_as_a_flex_flow(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("def greet(name: str) -> str:\n    return name\n")
    run("flow", "save", "--entry", "hello:greet", "--path", "saved")
    assert (tmp_path / "saved" / "flow.flex.yaml").read_text() == "entry: hello:greet\n"


def test_a_flow_is_served_until_it_is_ended() -> None:
    run("flow", "init", "--flow", "judge", "--type", "evaluation")
    program = [sys.executable, "-c", "from farthing.cli.main import main; main()"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FARTHING_")}
    with subprocess.Popen(
        [*program, "pf", "flow", "serve", "--source", "judge", "--port", "0"],
        env={**clean, "NO_PROXY": "*"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            found = re.search(r"served at (http://\S+?):? ", process.stderr.readline())
            assert found is not None
            body = json.dumps({"answer": "a", "truth": "A"}).encode()
            kind = {"content-type": "application/json"}
            request = urllib.request.Request(f"{found[1]}/score", data=body, headers=kind)
            with urllib.request.urlopen(request, timeout=10) as reply:
                answer = json.load(reply)
        finally:
            process.send_signal(signal.SIGINT)
    assert answer == {"grade": "Correct"}
