"""The command's root: names every command, imports only the one that is called."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from farthing import __version__
from farthing.base.runtime import spare_the_collector
from farthing.core.errors import FarthingError, did_you_mean

#: command → (module:attribute, one line of help). The help lines live here so that `--help` imports nothing.
COMMANDS = {
    "up": ("farthing.cli.up:up", "Start the gateway."),
    "demo": (
        "farthing.cli.demo:demo",
        "Watch the gateway at work on simulated regions, without a key.",
    ),
    "ask": ("farthing.cli.ask:ask", "Ask a model one question."),
    "flow": ("farthing.cli.flow:flow", "Make, check, try, run and serve flows."),
    "pf": ("farthing.cli.pf:pf", "Prompt flow's commands, as its READMEs and scripts type them."),
    "doctor": ("farthing.cli.doctor:doctor", "Explain what is wrong here and how to fix it."),
    "config": ("farthing.cli.config:config", "Check, show and import settings."),
    "sim": ("farthing.cli.sim:sim", "Run simulated regional deployments."),
    "keys": ("farthing.cli.keys:keys", "Create, list, rotate and revoke API keys."),
    "budget": ("farthing.cli.budget:budget", "Set and show budgets."),
    "spend": ("farthing.cli.spend:spend", "Show what was spent, by key, model, team, tag or day."),
    "prices": ("farthing.cli.prices:prices", "Show, compare and import prices."),
    "models": ("farthing.cli.models:models", "List the models that can be called here."),
    "completion": ("farthing.cli.completion:completion", "Print the shell completion script."),
    "version": ("farthing.cli.version:version", "Show the version and where things are."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], COMMANDS) or "`farthing --help` lists the commands."
            ctx.fail(f"There is no command '{args[0]}'. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="farthing %(version)s")
def root() -> None:
    """The right answer for the fewest tokens. Start with `farthing up`."""


def main() -> None:
    """Run the command; a FarthingError becomes one sentence on standard error and exit code 1."""
    spare_the_collector()
    try:
        root(prog_name="farthing")
    except FarthingError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
