"""What `farthing pf flow` does: init, save, test, validate."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import click

from farthing.base import runtime
from farthing.cli.output import note
from farthing.core.errors import FlowError

#: What the original writes into flows that it makes.
_DEPLOYMENT = "gpt-35-turbo"


def init_flow(
    path: Path,
    *,
    kind: str,
    entry: str | None,
    function: str | None,
    prompt_template: dict[str, str],
    connection: str | None,
    deployment: str | None,
    yes: bool,
) -> None:
    """Make a flow's folder; with `entry`, around a function that is there. Raises FlowError."""
    from farthing.cli.flow_starters import how_to_try, write_starter
    from farthing.cli.pf_entry import write_around

    if entry or prompt_template:
        if not entry or not function:
            raise FlowError(
                "A flow around a file needs both --entry and --function.",
                hint="Example: --entry intent.py --function extract_intent",
            )
        made = write_around(path, entry, function, prompt_template)
    else:
        if path.is_dir() and not yes and not click.confirm(f"Write into {path}, which is there?"):
            click.echo("Nothing was written.")
            return
        made = write_starter(path, kind, deployment or _DEPLOYMENT, into_existing=True)
    if connection:
        note(f"'{connection}' is not needed: models are asked through this gateway.")
    click.echo(f"Made the flow {path}: {', '.join(file.name for file in made)}")
    if not entry:
        click.echo(f"Try it: farthing pf flow test --flow {how_to_try(path, kind)}")


def save_flow(entry: str, code: Path, path: Path | None) -> None:
    """Write flow.flex.yaml for a function or class; with `path`, beside a copy of the code. Raises FlowError."""
    module, colon, name = entry.partition(":")
    source = code / f"{module.replace('.', '/')}.py"
    if not colon or not name:
        raise FlowError(f"'{entry}' is no entry.", hint="Write module:function or module:Class.")
    if not source.is_file():
        raise FlowError(
            f"There is no {source}.", hint="Name the folder with the code: --code FOLDER."
        )
    target = path or code
    if path is not None and path.resolve() != code.resolve():
        if path.exists() and any(path.iterdir()):
            raise FlowError(f"{path} is not empty.", hint="Name a folder that is not there yet.")
        skipped = shutil.ignore_patterns("__pycache__", ".git", ".venv", ".farthing")
        shutil.copytree(code, path, ignore=skipped, dirs_exist_ok=True)
    file = target / "flow.flex.yaml"
    if file.exists():
        raise FlowError(f"{file} is there already.", hint="Change its entry: by hand.")
    file.write_text(f"entry: {entry}\n", encoding="utf-8")
    click.echo(f"Saved the flow {target}.")


def test_flow(path: str, how: str, **told: Any) -> None:
    """Test a flow as the original does: outputs as JSON, or a conversation. how: once, terminal, page."""
    from farthing.cli.flow import trial_of
    from farthing.cli.flow_test import converse, plain, try_once

    detail: Path | None = told.pop("detail")
    input_file: str | None = told.pop("input_file")
    if input_file and not told["inputs"]:
        told["inputs"] = (input_file,)
    with flow_at(path) as found:
        trial = trial_of(found, **told)
        if how == "page":
            _chat_in_page(trial)
            return
        if how == "terminal":
            asyncio.run(converse(trial))
            return
        report = asyncio.run(try_once(trial))
    outputs = plain(report.tried.line.outputs)
    shown = outputs.get("output") if trial.node is not None else outputs
    text = json.dumps(shown, indent=4, ensure_ascii=False)
    click.echo(shown if isinstance(shown, str) else text)
    if detail is not None:
        detail.mkdir(parents=True, exist_ok=True)
        (detail / "flow.output.json").write_text(text + "\n", encoding="utf-8")


def _chat_in_page(trial: Any) -> None:
    from farthing.cli.flow_serve import serve_trial

    runtime.run(serve_trial(trial, host="localhost", port=0))


class flow_at:  # noqa: N801 -- read as a function: `with flow_at(path) as found`
    """The path of what `--flow` names, for the block; `module:function` is a flex flow made for it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._made: Path | None = None

    def __enter__(self) -> Path:
        module, colon, name = self._path.partition(":")
        source = Path(f"{module.replace('.', '/')}.py")
        if not colon or not name.isidentifier() or not source.is_file():
            return Path(self._path)
        # A name of its own, so that a flow.flex.yaml that is there is left alone.
        self._made = Path(f".{name}.flow.flex.yaml")
        self._made.write_text(f"entry: {self._path}\n", encoding="utf-8")
        return self._made

    def __exit__(self, *_: object) -> None:
        if self._made is not None:
            self._made.unlink(missing_ok=True)


def validate_flow(source: Path) -> bool:
    """Report whether a flow can be read and its files are whole; what it needs to run is noted only."""
    from farthing.cli.flow_check import check_all

    checked = check_all([source], None)
    if not checked:
        raise FlowError(f"{source} has no flow.", hint="Name a folder with a flow.dag.yaml.")
    faults = [each for flow in checked for each in flow.findings if each.kind == "broken"]
    for each in faults:
        place = each.path + (f":{each.line}" if each.line else "")
        click.echo(f"{place}: {each.message} {each.hint}".rstrip())
    if not faults:
        click.echo(f"{source} is valid.")
    return not faults
