"""`farthing flow`: make, look at, try and run flows."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from farthing.base import runtime
from farthing.cli.output import json_option, note, print_json, print_table
from farthing.cli.spaced import SpacedCommand, many, pairs

F = TypeVar("F", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)
_KINDS = ("standard", "chat", "evaluation", "flex", "prompty")


@click.group()
def flow() -> None:
    """Make, check, try and run flows: flow.dag.yaml, flow.flex.yaml and .prompty, as prompt flow has them."""


def _gateway_options(command: F) -> F:
    config = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option(
            "--config",
            type=config,
            help="Settings file, instead of farthing.toml in this folder.",
        ),
        click.option("--key", envvar="FARTHING_KEY", help="Key for a gateway that runs already."),
        click.option("--url", help="Ask the gateway at this address instead."),
    ):
        command = option(command)
    return command


def _environment_options(command: F) -> F:
    for option in (
        click.option(
            "--env",
            is_flag=False,
            flag_value=".env",
            metavar="[FILE]",
            help="Read variables from this file; alone, from .env.",
        ),
        many(
            "--environment-variables",
            metavar="NAME=VALUE …",
            help="Set them first; '${connection.key}' is looked up.",
        ),
    ):
        command = option(command)
    return command


def _flow_options(command: F) -> F:
    for option in (
        _environment_options,
        many(
            "--init",
            metavar="NAME=VALUE … | FILE",
            help="What the class of a flex flow is made with.",
        ),
        click.option(
            "--variant",
            metavar="'${node.variant}'",
            help="Run this variant of a node; several with blanks between.",
        ),
    ):
        command = option(command)
    return command


@flow.command("test", cls=SpacedCommand)
@click.argument("path", type=_PATH, default=".")
@many("--inputs", "-i", metavar="NAME=VALUE … | FILE", help="The line to try.")
@click.option("--node", help="Try this node alone, its inputs given by --inputs.")
@click.option("--interactive", is_flag=True, help="Talk to a chat flow here in the terminal.")
@_flow_options
@_gateway_options
@json_option
def test(path: Path, interactive: bool, as_json: bool, **told: Any) -> None:
    """Try one line of the flow at PATH (this folder): outputs, metrics, time and cost.

    \b
    farthing flow test my-flow --inputs question="What is a farthing?"
    farthing flow test my-flow --inputs data.jsonl --variant '${ask.brief}'
    farthing flow test my-flow --node ask --inputs question=Hello
    """
    from farthing.cli.flow_test import converse, show, try_once

    trial = trial_of(path, **told)
    if interactive:
        asyncio.run(converse(trial))
    else:
        show(asyncio.run(try_once(trial)), as_json=as_json)


def trial_of(
    path: Path,
    *,
    inputs: Sequence[str] = (),
    init: Sequence[str] = (),
    environment_variables: Sequence[str] = (),
    env: str | None = None,
    **more: Any,
) -> Any:
    """The options of a command as a `flow_test.Trial`. Raises FlowInputError, click.UsageError."""
    from farthing.cli.flow_test import Trial
    from farthing.flows.jobs import read_dotenv, read_inputs

    return Trial(
        path=path,
        inputs=read_inputs(inputs) if inputs else {},
        init=read_inputs(init) if init else {},
        environment={
            **(read_dotenv(Path(env)) if env else {}),
            **pairs(environment_variables, "--environment-variables"),
        },
        **more,
    )


@flow.command("run", cls=SpacedCommand)
@click.argument("path", type=_PATH, default=".")
@click.option("--data", type=_PATH, help="Lines: jsonl, csv, tsv, json, parquet, or a folder.")
@click.option("--run", "source_run", help="Take rows from this earlier run, e.g. to evaluate it.")
@many("--column-mapping", metavar="INPUT='${data.column}' …", help="Where inputs come from.")
@many("--connections", metavar="NODE.FIELD=VALUE …", help="Another connection or model for a node.")
@click.option("-n", "--name", help="The run's name. Default: flow, variant and time.")
@click.option("--resume-from", help="Go on with this run: good lines are kept.")
@click.option(
    "--isolate",
    is_flag=False,
    flag_value="auto",
    metavar="[N|line]",
    help="Run lines in N processes, one at a time in each; line: each line in a new one.",
)
@click.option("--export", type=_PATH, help="Write the run's folder here as prompt flow has it.")
@_flow_options
@_gateway_options
@json_option
def run(path: Path, as_json: bool, export: Path | None, **told: Any) -> None:
    """Run the flow at PATH over data; failed lines are listed and do not stop it. Ctrl-C leaves it resumable.

    \b
    farthing flow run my-flow --data data.jsonl --name first
    farthing flow run eval-flow --data data.jsonl --run first \\
        --column-mapping answer='${run.outputs.answer}' truth='${data.truth}'
    """
    from farthing.cli.flow_run import order_of, run_order, show_run

    order = order_of(path, **told)
    done = runtime.run(run_order(order, export=export, quiet=as_json))
    show_run(done, as_json=as_json)
    sys.exit(0 if done.status == "completed" else 1)


@flow.command("check")
@click.argument("paths", type=_PATH, nargs=-1)
@click.option("--config", type=_PATH, help="Settings file, instead of farthing.toml.")
@json_option
def check(paths: tuple[Path, ...], config: Path | None, as_json: bool) -> None:
    """Report what runs at or below PATHS (this folder), and what needs a package, connection, model or change.

    Files are read and nothing is run. Exit code 1 if something does not run as it is.
    """
    from farthing.cli.flow_check import check_all, show_checked

    checked = check_all(paths or (Path(),), config)
    sys.exit(0 if show_checked(checked, as_json=as_json) else 1)


@flow.command("new")
@click.argument("path", type=_PATH, required=False)
@click.option("--kind", type=click.Choice(_KINDS), default="standard", show_default=True)
@click.option(
    "--template",
    metavar="NAME",
    help="A whole flow with data, in place of a small one; see --list.",
)
@click.option("--model", help="The model that it asks. Default: one that can be called here.")
@click.option("--cheap-model", help="Of a template: the cheap one beside it. Default: as --model.")
@click.option("--list", "is_list", is_flag=True, help="List the templates and write nothing.")
@json_option
def new(path: Path | None, is_list: bool, as_json: bool, **told: Any) -> None:
    """Write a flow into a new folder PATH, ready to be tried: a small one, or a template.

    \b
    farthing flow new my-flow
    farthing flow new my-lessons --template lesson
    farthing flow new --list
    """
    if is_list:
        _list_templates(as_json=as_json)
    elif path is None:
        raise click.UsageError("Name the new folder: farthing flow new PATH.")
    else:
        _write_new(path, as_json=as_json, **told)


def _list_templates(*, as_json: bool) -> None:
    from farthing.cli.flow_templates import templates

    found = templates()
    if as_json:
        print_json([{"template": name, "description": told} for name, told in found.items()])
    else:
        print_table(["template", "what it does"], [list(each) for each in found.items()])


def _write_new(
    path: Path,
    *,
    kind: str,
    template: str | None,
    model: str | None,
    cheap_model: str | None,
    as_json: bool,
) -> None:
    from farthing.cli.flow_starters import how_to_try, write_starter
    from farthing.cli.flow_templates import CHEAP, RICH, write_template

    if template is None and cheap_model is not None:
        raise click.UsageError("--cheap-model is for a template: add --template NAME.")
    asked = model or _model_here()
    if template is not None:
        # Here only simulated ones can be called: the template's two, whose prices differ, show more.
        is_simulated = model is None and asked.partition("/")[0] == "sim"
        made = write_template(
            path,
            template,
            cheap=cheap_model or (CHEAP if is_simulated else asked),
            rich=RICH if is_simulated else asked,
        )
    else:
        made = write_starter(path, kind, asked)
    if as_json:
        what = {"template": template} if template else {"kind": kind}
        print_json({"path": str(path), **what, "files": [str(file) for file in made]})
        return
    for file in made:
        click.echo(str(file))
    note(f"Try it: farthing flow test {how_to_try(path, 'standard' if template else kind)}")


def _model_here() -> str:
    from farthing.base.clock import SystemClock
    from farthing.base.config.loader import load
    from farthing.cli.example import example_model
    from farthing.providers.catalogue import Catalogue
    from farthing.providers.detect import keyed
    from farthing.providers.directory import build_directory

    settings = load(None, os.environ).settings
    return example_model(
        build_directory(
            settings,
            catalogue=Catalogue.load(),
            clock=SystemClock(),
            environ=os.environ,
            detected=keyed(os.environ) if settings.server.detect else (),
        )
    )


@flow.command("list")
@click.argument("folder", type=_PATH, default=".")
@click.option("--runs", is_flag=True, help="The runs of this project, the newest first.")
@json_option
def list_(folder: Path, runs: bool, as_json: bool) -> None:
    """List the flows at or below FOLDER (this one), or the runs."""
    if runs:
        from farthing.cli.flow_run import list_runs

        list_runs(as_json=as_json)
        return
    from farthing.cli.flow_show import described

    rows = described(folder)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["flow", "kind", "inputs", "outputs", "nodes"],
        [[r["path"], r["kind"], r["inputs"], r["outputs"], r["nodes"]] for r in rows],
        empty="No flow is there. `farthing flow new NAME` makes one.",
    )


@flow.command("show")
@click.argument("what")
@json_option
def show_(what: str, as_json: bool) -> None:
    """Show a flow's inputs, nodes in their order, outputs and variants; or a run, by its name."""
    if Path(what).exists():
        from farthing.cli.flow_show import show_flow

        show_flow(Path(what), as_json=as_json)
        return
    from farthing.cli.flow_run import find_run, show_run

    show_run(asyncio.run(find_run(what)), as_json=as_json)


@flow.command("variants", cls=SpacedCommand)
@click.argument("path", type=_PATH, default=".")
@many("--inputs", "-i", metavar="NAME=VALUE … | FILE", help="Compare on this one line.")
@click.option("--data", type=_PATH, help="Compare on all lines of this file or folder.")
@many("--column-mapping", metavar="INPUT='${data.column}' …", help="Where inputs come from.")
@many(
    "--matrix",
    alone="",
    metavar="['${node.v1,v2}' '${node.*}' …]",
    help="Every combination of these; alone, of all variants. Without it: one node at a time.",
)
@click.option("--node", help="Only the variants of this node.")
@click.option("--evaluate", type=_PATH, help="Run this evaluation flow over each of them.")
@many(
    "--evaluate-mapping", metavar="INPUT='${run.outputs.x}' …", help="Where its inputs come from."
)
@click.option(
    "-n", "--name", help="Of the comparison; the same again goes on with it, or shows it."
)
@click.option("--limit", type=click.IntRange(min=1), help="Take the first lines only, so many.")
@click.option("--yes", "is_sure", is_flag=True, help="Run it, however large it is.")
@click.option("--details", is_flag=True, help="Show each line's outputs, too.")
@click.option("--output", type=_PATH, help="Write all lines side by side to this .csv or .jsonl.")
@many("--connections", metavar="NODE.FIELD=VALUE …", help="Another connection or model for a node.")
@_environment_options
@_gateway_options
@json_option
def variants(path: Path, **told: Any) -> None:
    """Compare variants of the flow at PATH over lines; without --inputs and --data, list them.

    \b
    farthing flow variants my-flow --inputs question="What is a farthing?"
    farthing flow variants my-flow --data data.jsonl --matrix '${ask.*}' '${tone.warm,cool}' \\
        --name first --evaluate eval-flow --evaluate-mapping answer='${run.outputs.answer}'
    farthing flow variants --name first --details
    """
    from farthing.cli.flow_variants import asked_of, compare_or_show

    sys.exit(0 if compare_or_show(asked_of(path, **told)) else 1)


@flow.command("export")
@click.argument("path", type=_PATH, default=".")
@click.option("--to", type=click.Choice(("python",)), required=True, help="What to write it as.")
@click.option("--output", type=_PATH, help="The file. Default: the flow's name in this folder.")
@click.option("--variant", metavar="'${node.variant}'", help="Write this variant of a node.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@json_option
def export(path: Path, as_json: bool, **told: Any) -> None:
    """Write the flow at PATH (this folder) as one readable Python module that is the same flow.

    \b
    farthing flow export my-flow --to python --output mine.py
    farthing flow test mine.py --inputs question="What is a farthing?"
    """
    from farthing.cli.flow_export import export_flow

    export_flow(path, as_json=as_json, **told)


@flow.command("serve", cls=SpacedCommand)
@click.argument("path", type=_PATH, default=".")
@click.option("--port", type=int, default=8080, show_default=True)
@click.option("--host", default="localhost", show_default=True)
@_flow_options
@_gateway_options
def serve(path: Path, port: int, host: str, **told: Any) -> None:
    """Serve the flow at PATH: POST /score, /health, /swagger.json and a chat page at /."""
    from farthing.cli.flow_serve import serve_trial

    runtime.run(serve_trial(trial_of(path, **told), host=host, port=port))
