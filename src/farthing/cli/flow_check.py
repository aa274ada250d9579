"""Shows what a look at a project found: which flows run, and what the others need, with file and line."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farthing.cli.output import print_json

if TYPE_CHECKING:
    from farthing.flows.check.check import Checked
    from farthing.flows.check.findings import Finding

_VERDICTS = {"runs": ("✓", "green"), "does not run": ("✗", "red")}
_MARKS = {"broken": ("✗", "red"), "note": ("·", None)}


def check_all(paths: Sequence[Path], config: Path | None) -> list[Checked]:
    """Each flow at or below the paths. Raises FlowFormatError when a path is not there."""
    from farthing.flows.check.check import check, find_flows
    from farthing.flows.check.findings import Known
    from farthing.flows.jobs import project_connections

    files = [file for path in paths for file in find_flows(path)]
    names = frozenset(project_connections().names())
    known = Known(connections=names, why_no_model=_why_no_model(config))
    return [check(file, known) for file in files]


def show_checked(checked: Sequence[Checked], *, as_json: bool, with_notes: bool = True) -> bool:
    """Print the report. Returns whether everything runs."""
    if as_json:
        print_json(
            [
                {"path": each.path, "kind": each.kind, "runs": each.runs, "findings": each.findings}
                for each in checked
            ]
        )
        return all(each.runs for each in checked)
    for each in checked:
        what = "runs" if each.runs else _needs(each)
        mark, colour = _VERDICTS.get(what, ("!", "yellow"))
        click.echo(f"{click.style(mark, fg=colour)} {_short(each.path)} ({each.kind}): {what}")
        for finding in each.findings:
            if with_notes or finding.kind != "note":
                click.echo(_line(finding, each.path))
    ready = sum(each.runs for each in checked)
    if not checked:
        click.echo("No flow is there: no flow.dag.yaml, no flow.flex.yaml, no .prompty file.")
    elif len(checked) > 1:
        click.echo(f"\n{ready} of {len(checked)} flows run here as they are.")
        _show_what_to_get(checked)
    return ready == len(checked)


def _show_what_to_get(checked: Sequence[Checked]) -> None:
    """All that the flows lack, once each, so that it can be got in one go."""
    found = [finding for each in checked for finding in each.findings]
    install = "pip install "
    packages = {f.hint.removeprefix(install) for f in found if f.kind == "package"}
    if packages:
        click.echo(f"Packages: {install}{' '.join(sorted(packages))}")
    for title, kind in (("Models", "model"), ("Connections", "connection")):
        names = {f.subject for f in found if f.kind == kind}
        if names:
            click.echo(f"{title}: {', '.join(sorted(names))}")


def _needs(checked: Checked) -> str:
    kinds = {each.kind for each in checked.findings} - {"note"}
    if "broken" in kinds:
        return "does not run"
    words = {
        "package": "a package",
        "connection": "a connection",
        "model": "a model",
        "adaptation": "an adaptation",
    }
    return "needs " + ", ".join(word for kind, word in words.items() if kind in kinds)


def _line(finding: Finding, path: str) -> str:
    mark, colour = _MARKS.get(finding.kind, ("!", "yellow"))
    place = _short(finding.path or path) + (f":{finding.line}" if finding.line else "")
    hint = f" {finding.hint}" if finding.hint else ""
    ends = "" if finding.hint.endswith((".", "?", "!")) or not finding.hint else "."
    return f"    {click.style(mark, fg=colour)} {place}: {finding.message}{hint}{ends}"


def _short(path: str) -> str:
    """The path from here, when it is below here."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return path


def _why_no_model(config: Path | None) -> Callable[[str], str | None]:
    from farthing.base.clock import SystemClock
    from farthing.base.config.loader import load
    from farthing.core.errors import UnknownModelError
    from farthing.providers.catalogue import Catalogue
    from farthing.providers.detect import keyed
    from farthing.providers.directory import build_directory

    # Local servers are not looked for: a report must not depend on what happens to listen.
    settings = load(config, os.environ).settings
    directory = build_directory(
        settings,
        catalogue=Catalogue.load(),
        clock=SystemClock(),
        environ=os.environ,
        detected=keyed(os.environ) if settings.server.detect else (),
    )

    def why(name: str) -> str | None:
        try:
            directory.route(name)
        except UnknownModelError:
            return f'Set a provider\'s key, or name what serves it in farthing.toml: aliases."{name}" = "…"'
        return None

    return why
