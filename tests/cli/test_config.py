"""`farthing config`, `version` and `completion`, as a person and as a program call them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from farthing.base.config import check as check_settings
from farthing.cli.main import root
from farthing.core.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FARTHING_CONFIG", raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(root, list(arguments), prog_name="farthing")


def test_check_prints_every_mistake_with_its_place_and_exits_1(folder: Path) -> None:
    (folder / "farthing.toml").write_text("[server]\nprot = 1\n[cache]\nttl_s = 0\n")
    result = run("config", "check")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("farthing.toml:2:1: There is no setting 'server.prot'.")
    assert lines[1].startswith("farthing.toml:4:1: cache.ttl_s expects a number > 0")
    assert "2 mistakes." in result.stderr


def test_check_as_json_is_for_programs(folder: Path) -> None:
    (folder / "bad.toml").write_text("[server]\nprot = 1\n")
    result = run("config", "check", "bad.toml", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert (report["mistakes"][0]["line"], report["mistakes"][0]["column"]) == (2, 1)


def test_check_without_a_file_says_so() -> None:
    result = run("config", "check")
    assert result.exit_code == 0
    assert "No farthing.toml here" in result.stdout


def test_show_masks_secrets_and_tells_origins(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "farthing.toml").write_text('[providers.p]\ntype = "openai"\nkey = "sk-canary"\n')
    monkeypatch.setenv("FARTHING_SERVER__PORT", "4500")
    result = run("config", "show", "--changed")
    assert "canary" not in result.output
    assert "server.port" in result.stdout
    assert "environment variable FARTHING_SERVER__PORT" in result.stdout
    rows = json.loads(run("config", "show", "--json").stdout)["settings"]
    assert {"name": "server.host", "text": '"127.0.0.1"', "origin": "default"} in rows


def test_init_writes_settings_that_pass_the_check_and_never_overwrites(folder: Path) -> None:
    assert run("config", "init").exit_code == 0
    assert check_settings(folder / "farthing.toml", {}) == []
    result = run("config", "init")
    assert isinstance(result.exception, ConfigError)
    assert "was left as it is" in str(result.exception)


def test_what_the_starter_shows_in_comments_also_passes_the_check(folder: Path) -> None:
    run("config", "init")
    path = folder / "farthing.toml"
    lines = path.read_text().splitlines()
    is_code = [line.startswith("# ") and ("=" in line or line.startswith("# [")) for line in lines]
    words = "With the keys in the environment and|Any setting can also|server.detect = true"
    code = [
        line[2:] if flag and not any(word in line for word in words.split("|")) else line
        for line, flag in zip(lines, is_code, strict=True)
    ]
    path.write_text("\n".join(code))
    assert [str(error) for error in check_settings(path, {})] == []


def test_import_writes_settings_and_reports_by_line(folder: Path) -> None:
    (folder / "litellm.yaml").write_text(
        "model_list:\n  - model_name: m\n    litellm_params: {model: openai/gpt-4o, timeout: 3}\n"
    )
    result = run("config", "import", "litellm.yaml")
    assert result.exit_code == 0
    assert "litellm.yaml:3: timeout: timeouts are set for all deployments" in result.stderr
    assert check_settings(folder / "farthing.toml", {}) == []
    printed = run("config", "import", "litellm.yaml", "-o", "-")
    assert printed.stdout == (folder / "farthing.toml").read_text()


def test_version_says_where_things_are() -> None:
    facts = json.loads(run("version", "--json").stdout)
    assert facts["storage"] == "sqlite:.farthing/farthing.db"
    assert facts["settings"] is None
    assert "package" in run("version").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_FARTHING_COMPLETE" in result.stdout
    assert json.loads(run("completion", shell, "--json").stdout)["shell"] == shell
