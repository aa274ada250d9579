"""The README's tour and the guides' settings and examples are what really happens."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from farthing.accounts.schema import MIGRATIONS
from farthing.base.config.loader import examination
from farthing.base.telemetry.access_log import AccessLine
from tests.cli.test_up import CLEAN, farthing, up
from tests.house.source import ROOT

#: A mark, if there is one, the language, the text.
BLOCK = re.compile(r"^(?:<!-- (\w+) -->\n)?```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Given by chance or by the clock: ids, secrets, the region that was drawn, times.
VOLATILE = re.compile(
    r"\b(?:call|key|chatcmpl)[_-]\w+|fk-[\w-]{43}|(?<=@)\w+|(?<=127\.0\.0\.1:)\d+|\d+\.\d+ s\b"
)
GUIDES = sorted(ROOT.glob("docs/guide/*.md"))


def blocks(page: Path, language: str, mark: str = "") -> list[str]:
    """The fenced blocks of a language; with a mark, those that `<!-- mark -->` stands above."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for given, name, text in found if name == language and mark in (given, "")]


def tour() -> list[tuple[str, list[str]]]:
    """Each command of the README's tour, with the output that stands below it."""
    steps: list[tuple[str, list[str]]] = []
    for line in "".join(blocks(ROOT / "README.md", "console", "tour")).splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    return steps


def is_told(line: str, output: str) -> bool:
    """Whether the output has this line; `…` stands for anything in its place."""
    pieces = (re.escape(VOLATILE.sub("~", piece)) for piece in line.split("…"))
    return re.search(f"^{'.*'.join(pieces)}$", VOLATILE.sub("~", output), re.MULTILINE) is not None


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="The tour uses curl, which is not here.")
def test_the_tour_of_the_readme_is_what_happens(tmp_path: Path) -> None:
    (start, greeting), *steps = tour()
    assert start == "farthing up"
    command = tmp_path / "bin" / "farthing"
    command.parent.mkdir()
    program = shlex.quote("from farthing.cli.main import main; main()")
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {program} "$@"\n')
    command.chmod(0o755)
    place = {**CLEAN, "HOME": str(tmp_path), "PATH": f"{command.parent}:{os.environ['PATH']}"}
    with up(tmp_path) as gateway:
        port = gateway["url"].rpartition(":")[2]
        script = ["exec 2>&1"]
        for number, (line, _) in enumerate(steps):
            script += [line.replace(":4000/", f":{port}/"), f"echo; echo '@@{number}'"]
            if line.startswith("farthing budget set"):
                # A running gateway sees a new budget within a second; a reader takes longer.
                script.append("sleep 1.1")
        run = subprocess.run(
            ["sh", "-c", "\n".join(script)],
            cwd=tmp_path,
            env=place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    outputs = re.split(r"@@\d+\n", run.stdout.replace("\r", ""))
    assert len(outputs) == len(steps) + 1, run.stdout
    strange = [
        f"$ {line}\nsays no {expected!r} but\n{output}"
        for (line, lines), output in zip(steps, outputs[:-1], strict=True)
        for expected in lines
        if expected and not is_told(expected, output)
    ]
    assert not strange, "\n".join(strange)
    assert greeting[0].startswith("farthing 0.")


def test_the_greeting_of_the_readme_is_what_up_says(tmp_path: Path) -> None:
    _, greeting = tour()[0]
    process = subprocess.Popen(
        [sys.executable, "-c", "from farthing.cli.main import main; main()", "up", "--port", "0"],
        cwd=tmp_path,
        env={**CLEAN, "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "farthing spend" in line:
            break
    process.terminate()
    process.communicate(timeout=30)
    missing = [line for line in greeting if line and not is_told(line, "".join(said))]
    assert not missing, "".join(said)


@pytest.mark.parametrize(
    ("page", "number"),
    [
        pytest.param(page, number, id=f"{page.stem}-{number}")
        for page in GUIDES
        for number, _ in enumerate(blocks(page, "toml", "checked"))
    ],
)
def test_the_settings_of_the_guides_have_no_mistake(
    page: Path, number: int, tmp_path: Path
) -> None:
    text = blocks(page, "toml", "checked")[number]
    (tmp_path / "farthing.toml").write_text(text)
    secrets = dict.fromkeys(re.findall(r"env:(\w+)", text), "any")
    examined = examination(tmp_path / "farthing.toml", secrets)
    assert not examined.mistakes


def test_the_guide_for_litellm_shows_what_the_converter_does(tmp_path: Path) -> None:
    page = ROOT / "docs/guide/migrate-from-litellm.md"
    (tmp_path / "litellm.yaml").write_text(blocks(page, "yaml")[0])
    run = farthing("config", "import", "litellm.yaml", cwd=tmp_path)
    _, report = blocks(page, "console")[0].split("\n", 1)
    assert run.stdout + run.stderr == report
    assert (tmp_path / "farthing.toml").read_text() == blocks(page, "toml", "checked")[0]


def test_the_privacy_guide_names_every_column_and_every_field_of_the_access_log() -> None:
    told = set(re.findall(r"`(\w+)`", (ROOT / "docs/guide/privacy.md").read_text(encoding="utf-8")))
    kept = set(AccessLine.__struct_fields__)
    for statement in _statements():
        match = re.match(r"CREATE TABLE (\w+)\s*\((.*)\)\s*$", statement, re.DOTALL)
        if match:
            columns = re.findall(r"(?:^|,)\s*(\w+) (?:TEXT|INTEGER|BLOB)", match[2])
            assert columns
            kept |= {match[1], *columns}
    assert not kept - told


def _statements() -> list[str]:
    return [statement for migration in MIGRATIONS for statement in migration.statements]
