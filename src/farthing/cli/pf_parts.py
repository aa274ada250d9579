"""What the commands of `farthing pf` have in common: how groups behave, options of every command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from farthing.cli.spaced import SpacedCommand, many

F = TypeVar("F", bound=Callable[..., Any])

#: The version of prompt flow whose commands these are.
COMPATIBLE = "1.18.5"

NAME = click.option("-n", "--name", required=True)
SET = many("--set", "changes", metavar="KEY=VALUE …")
YES = click.option("-y", "--yes", "--assume-yes", is_flag=True, help="Do not ask.")


class PfGroup(click.Group):
    """A group that shows its help, and ends well, when it is called alone."""

    command_class = SpacedCommand

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Group`."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit(0)
        return super().parse_args(ctx, args)


PfGroup.group_class = PfGroup


def common(command: F) -> F:
    """The options that every command of the original takes; they change nothing here."""
    for option in (
        click.option("--user-agent", hidden=True, expose_value=False),
        click.option("-d", "--debug", is_flag=True, expose_value=False, hidden=True),
        click.option("--verbose", is_flag=True, expose_value=False, hidden=True),
    ):
        command = option(command)
    return command
