"""A page that shows runs side by side: one HTML file, nothing loaded from elsewhere."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farthing.core.errors import FlowError

if TYPE_CHECKING:
    from farthing.cli.flow_run import Done
    from farthing.flows.batch.records import Line

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem; } h1 { font-size: 1.3rem; } caption { text-align: left; font-weight: 600; padding: .5rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin-bottom: 2rem; }
th, td { border: 1px solid #8886; padding: .4rem .6rem; text-align: left; vertical-align: top;
  max-width: 36rem; white-space: pre-wrap; overflow-wrap: anywhere; }
th { position: sticky; top: 0; background: Canvas; } .failed { color: #c0392b; }
"""


def visualize_runs(names: list[str], target: Path | None) -> None:
    """Write the page and say where it is. Raises NotFoundError, FlowError."""
    from farthing.cli.pf_run import runs_by_name

    if not names:
        raise FlowError("No run is named.", hint="Write --names first,second.")
    runs = runs_by_name(names)
    file = target or Path(".farthing") / "pages" / f"{'-'.join(names)[:80]}.html"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page(runs), encoding="utf-8")
    except OSError as error:
        raise FlowError(
            f"{file} cannot be written: {error.strerror}.", hint="Name a file: --html-path."
        ) from error
    click.echo(f"Open it in a browser: {file.resolve().as_uri()}")


def page(runs: list[tuple[Done, list[Line]]]) -> str:
    """The whole page. Every text of the user's is escaped."""
    names = ", ".join(done.run.name for done, _ in runs)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{escape(names)}</title><style>{_STYLE}</style><h1>{escape(names)}</h1>",
        _metrics(runs),
        _lines(runs),
        "</html>",
    ]
    return "\n".join(parts)


def _metrics(runs: list[tuple[Done, list[Line]]]) -> str:
    keys = list(dict.fromkeys(key for done, _ in runs for key in done.run.metrics))
    head = ["run", "status", "lines", "failed", "tokens", *keys]
    rows = []
    for done, _ in runs:
        run = done.run
        metrics = [f"{run.metrics[key]:g}" if key in run.metrics else "" for key in keys]
        tokens = f"{run.input_tokens + run.output_tokens:,}"
        lines = f"{run.completed + run.failed:,}"
        rows.append([run.name, run.status, lines, f"{run.failed:,}", tokens, *metrics])
    return _table("Runs", head, rows)


def _lines(runs: list[tuple[Done, list[Line]]]) -> str:
    from farthing.cli.pf_run import details_of

    by_number: dict[int, dict[str, str]] = {}
    for done, lines in runs:
        for line in lines:
            row = by_number.setdefault(line.number, {})
            for key, value in details_of(line).items():
                # Runs on the same data share their inputs; what they gave is told apart.
                shared = key == "line" or (key.startswith("inputs.") and row.get(key) == value)
                is_only = len(runs) == 1 or (key.startswith("inputs.") and key not in row)
                row[key if shared or is_only else f"{done.run.name}: {key}"] = value
    rows = [by_number[number] for number in sorted(by_number)]
    head = list(dict.fromkeys(key for row in rows for key in row))
    return _table("Lines", head, [[row.get(key, "") for key in head] for row in rows])


def _table(title: str, head: list[str], rows: list[list[str]]) -> str:
    heads = "".join(f"<th scope=col>{escape(each)}" for each in head)
    body = "".join(
        "<tr>" + "".join(_cell(key, value) for key, value in zip(head, row, strict=True))
        for row in rows
    )
    return (
        f"<div class=wide><table><caption>{escape(title)}</caption>"
        f"<thead><tr>{heads}<tbody>{body}</table></div>"
    )


def _cell(key: str, value: str) -> str:
    mark = " class=failed" if key.endswith("error") and value else ""
    return f"<td{mark}>{escape(value)}"
