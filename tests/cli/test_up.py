"""`farthing up`, `ask` and `doctor` as a person runs them: as processes, in an empty folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = [sys.executable, "-c", "from farthing.cli.main import main; main()"]
#: An environment without keys, proxies or settings.
CLEAN = {"PATH": os.environ["PATH"], "NO_PROXY": "*", "FARTHING_SERVER__DETECT": "false"}


def farthing(
    *arguments: str, cwd: Path, stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=cwd,
        env={**CLEAN, "HOME": str(cwd), **environ},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def up(cwd: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    """A gateway as a process; what it said when it was ready."""
    process = subprocess.Popen(
        [*PROGRAM, "up", "--port", "0", "--json", *arguments],
        cwd=cwd,
        env={**CLEAN, "HOME": str(cwd)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            pytest.fail(process.communicate()[1])
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors


def test_it_starts_without_a_question_and_ends_on_sigterm(tmp_path: Path) -> None:
    with up(tmp_path) as said:
        assert said["needs_key"] is False
        assert "sim/small@eastus" in said["simulated"]
        with urllib.request.urlopen(said["url"] + "/ready", timeout=10) as reply:
            assert json.load(reply)["ready"] is True
    assert not list((tmp_path / ".farthing").glob("*.url"))


def test_a_crash_would_leave_no_memory_image_behind(tmp_path: Path) -> None:
    with up(tmp_path) as said:
        limits = Path(f"/proc/{said['pid']}/limits")
        if not limits.exists():
            pytest.skip("only Linux shows another process's limits")
        line = next(line for line in limits.read_text().splitlines() if "core file" in line)
        assert line.split()[4:6] == ["0", "0"]


def test_a_question_goes_through_the_gateway_that_owns_the_database(tmp_path: Path) -> None:
    with up(tmp_path) as said:
        asked = farthing("ask", "What is a farthing?", "-m", "sim/small", "--json", cwd=tmp_path)
        assert asked.returncode == 0, asked.stderr
        assert json.loads(asked.stdout)["is_simulated"] is True
        with urllib.request.urlopen(said["url"] + "/admin/spend?by=model", timeout=10) as reply:
            assert json.load(reply)[0]["calls"] == 1


def test_a_question_is_answered_without_a_gateway_and_says_that_it_is_simulated(
    tmp_path: Path,
) -> None:
    asked = farthing("ask", "-m", "sim/small", cwd=tmp_path, stdin="What is a farthing?")
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.strip()
    assert "SIMULATED" in asked.stderr
    assert "tokens" in asked.stderr


def test_an_unknown_model_names_the_nearest(tmp_path: Path) -> None:
    asked = farthing("ask", "Hi", "-m", "sim/smal", cwd=tmp_path)
    assert asked.returncode == 1
    assert "sim/small" in asked.stderr
    assert "Traceback" not in asked.stderr


def test_no_question_says_how_to_ask_one(tmp_path: Path) -> None:
    asked = farthing("ask", cwd=tmp_path)
    assert asked.returncode == 2
    assert "farthing ask" in asked.stderr


def test_a_gateway_that_is_not_there_is_named(tmp_path: Path) -> None:
    asked = farthing("ask", "Hi", "--url", "http://127.0.0.1:9", "-m", "x", cwd=tmp_path)
    assert asked.returncode == 1
    assert "http://127.0.0.1:9" in asked.stderr


def test_the_doctor_finds_nothing_wrong_in_an_empty_folder(tmp_path: Path) -> None:
    seen = farthing("doctor", "--json", cwd=tmp_path, FARTHING_SERVER__PORT="0")
    findings = json.loads(seen.stdout)
    assert seen.returncode == 0
    assert {finding["level"] for finding in findings} <= {"ok", "warn"}
    assert {"python", "settings", "database", "providers", "port"} <= {
        finding["subject"] for finding in findings
    }


def test_the_doctor_says_where_a_mistake_is_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "farthing.toml").write_text("[server]\nprot = 4000\n")
    seen = farthing("doctor", cwd=tmp_path)
    assert seen.returncode == 1
    assert "farthing.toml:2" in seen.stdout
    assert "port" in seen.stdout


def test_the_doctor_warns_of_a_key_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / "farthing.toml"
    file.write_text('[providers.mine]\ntype = "openai"\nkey = "sk-not-a-real-key"\n')
    file.chmod(0o644)
    seen = farthing("doctor", cwd=tmp_path, FARTHING_SERVER__PORT="0")
    assert "chmod 600" in seen.stdout
    assert "sk-not" not in seen.stdout


def test_other_machines_are_not_let_in_without_a_key(tmp_path: Path) -> None:
    started = farthing("up", "--host", "0.0.0.0", "--port", "0", cwd=tmp_path)
    assert started.returncode == 1
    assert "farthing keys create" in started.stderr


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with up(tmp_path) as said:
        port = said["url"].rpartition(":")[2]
        other = tmp_path / "other"
        other.mkdir()
        started = farthing("up", "--port", port, cwd=other)
        assert started.returncode == 1
        assert f"Port {port} on 127.0.0.1 is in use" in started.stderr
